"""COCO files as the cases need them: right, but for what a case makes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.datasets.cases.model import SIZE, Expected, Source, Thing, points, xywh

Record = dict[str, Any]
LEFT_OUT = object()
"""As a field's value: the record has no such field."""
ANNOTATIONS = "annotations/instances_train.json"
CATS_AND_DOGS = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})


class CocoFile:
    """An annotation file of the split "train" and its images, below images/."""

    def __init__(self, to: Source, categories: Sequence[Mapping[str, Any]] = CATS_AND_DOGS, first_id: int = 1) -> None:
        self.to = to
        self.categories = [dict(category) for category in categories]
        self.images: list[Record] = []
        self.annotations: list[Record] = []
        self.expected = Expected(classes=[category["name"] for category in categories])
        self._first_id = first_id

    def image(self, name: str, size: tuple[int, int] = SIZE, orientation: int = 1, **fields: Any) -> Record:
        """An image with its record; `fields` replace those of the record."""
        path = self.to.image(f"images/{name}", size, orientation)
        self.expected.images[path] = []
        return self.record(name, size, **fields)

    def record(self, name: str, size: tuple[int, int] = SIZE, **fields: Any) -> Record:
        """A record by itself, without a file."""
        given = {"id": self._first_id + len(self.images), "file_name": name, "width": size[0], "height": size[1]}
        self.images.append(_with(given, fields))
        return self.images[-1]

    def annotation(self, image: Record, name: str, bbox: Sequence[float], /, **fields: Any) -> None:
        """An annotation of which nothing is expected."""
        category = next((entry["id"] for entry in self.categories if entry["name"] == name), None)
        given = {
            "id": self._first_id + len(self.annotations),
            "image_id": image.get("id"),
            "category_id": category,
            "bbox": list(bbox),
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
        }
        self.annotations.append(_with(given, fields))

    def box(self, image: Record, name: str, bbox: tuple[float, float, float, float], /, **fields: Any) -> None:
        """An annotation that has to come through as it is."""
        self.annotation(image, name, bbox, **fields)
        self.expect(image, Thing(name, xywh(*bbox)))

    def polygon(self, image: Record, name: str, *outline: Sequence[float], **fields: Any) -> None:
        """An instance of one or several polygons that has to come through as it is."""
        xs = [x for flat in outline for x in flat[::2]]
        ys = [y for flat in outline for y in flat[1::2]]
        box = (min(xs), min(ys), max(xs), max(ys))
        bbox = (box[0], box[1], box[2] - box[0], box[3] - box[1])
        self.annotation(image, name, bbox, segmentation=[list(flat) for flat in outline], **fields)
        self.expect(image, Thing(name, box, polygons=tuple(points(flat) for flat in outline)))

    def expect(self, image: Record, *things: Thing) -> None:
        """That these have to be in the image."""
        self.expected.images[f"images/{image['file_name']}"].extend(things)

    def write(self, path: str = ANNOTATIONS, **top: Any) -> Expected:
        """Write the file; `top` are further fields of its top level."""
        content = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        self.to.json(path, _with(content, top))
        return self.expected


def _with(record: Record, fields: Mapping[str, Any]) -> Record:
    return {key: value for key, value in {**record, **fields}.items() if value is not LEFT_OUT}
