"""Writes LabelMe's files, each beside its image."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats.labelme.shapes import HIDDEN
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.model import Annotation, Task
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture, png_of
from trainer_hooks.datasets.report import Report, Reporter

TASKS: tuple[Task, ...] = ("detection", "segmentation", "pose", "obb", "classification")

_VERSION = "7.0.0"
_PER_KEYPOINT = 3
_LABELLED = 1


class Writer:
    """One file per image, also where there is nothing on it."""

    def __init__(self, job: Job, reporter: Reporter, output: Output) -> None:
        self._task = job.whole.task
        self._classes = job.whole.classes
        self._reporter = reporter
        self._output = output

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str:
        """The image's file."""
        path = f"{planned.split}/{planned.name}"
        content = {
            "version": _VERSION,
            "flags": self._flags(annotations),
            "shapes": list(self._shapes(annotations, planned)),
            "imagePath": path.rpartition("/")[2],
            "imageData": None,
            "imageHeight": picture.height,
            "imageWidth": picture.width,
        }
        text = msgspec.json.format(msgspec.json.encode(content))
        self._output.save(f"{path.rpartition('.')[0]}.json", text)
        return path

    def _flags(self, annotations: Sequence[Annotation]) -> dict[str, bool]:
        if self._task != "classification":
            return {}
        present = {one.label for one in annotations}
        return {one.name: label in present for label, one in enumerate(self._classes)}

    def _shapes(self, annotations: Sequence[Annotation], planned: Planned) -> Iterator[dict[str, Any]]:
        if self._task == "classification":
            return
        for group, annotation in enumerate(annotations, 1):
            if annotation.crowd:
                self._reporter.note("not held", "a crowd", planned.entry.name, annotation.known_as)
                continue
            shapes = [*self._outlines(annotation), *self._keypoints(annotation)]
            for shape in shapes:
                shape["group_id"] = group if len(shapes) > 1 else None
            yield from shapes

    def _outlines(self, annotation: Annotation) -> Iterator[dict[str, Any]]:
        label = self._classes[annotation.label].name
        more = self._more(annotation)
        if self._task in ("segmentation", "obb"):
            if annotation.mask is not None:
                yield from _mask_shape(label, annotation, more)
            elif self._task == "obb" and annotation.corners:
                yield _shape(label, "oriented_rectangle", _points(annotation.corners), more)
            else:
                for ring in annotation.polygons or []:
                    yield _shape(label, "polygon", _points(ring), more)
        else:
            left, top, right, bottom = annotation.box or (0.0, 0.0, 0.0, 0.0)
            yield _shape(label, "rectangle", [(left, top), (right, bottom)], more)

    def _keypoints(self, annotation: Annotation) -> Iterator[dict[str, Any]]:
        if self._task != "pose" or not annotation.keypoints:
            return
        names, points = self._classes[annotation.label].keypoints, annotation.keypoints
        for place, at in enumerate(range(0, len(points), _PER_KEYPOINT)):
            x, y, visibility = points[at : at + _PER_KEYPOINT]
            if visibility:
                name = names[place] if place < len(names) else str(place + 1)
                flags = {HIDDEN: True} if visibility == _LABELLED else {}
                yield _shape(name, "point", [(x, y)], {"flags": flags})

    def _more(self, annotation: Annotation) -> dict[str, Any]:
        """The attributes that shapes have: flags, and a description."""
        given = annotation.attributes or {}
        flags = {name: value for name, value in given.items() if isinstance(value, bool)}
        description = given.get("description")
        held = len(flags) + isinstance(description, str)
        if held < len(given):
            self._reporter.count("not held", "attributes that are no flags")
        return {"flags": flags, "description": description if isinstance(description, str) else ""}


def _shape(label: str, kind: str, points: Sequence[Sequence[float]], more: dict[str, Any]) -> dict[str, Any]:
    shape = {"label": label, "points": points, "group_id": None, "shape_type": kind}
    return {**shape, "description": "", "flags": {}, "mask": None, **more}


def _points(ring: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(ring[0::2], ring[1::2], strict=True))


def _mask_shape(label: str, annotation: Annotation, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from trainer_hooks.datasets.arrays import cut_out

    cut = cut_out(annotation.mask) if annotation.mask else None
    if cut is not None:
        pixels, (left, top, right, bottom) = cut
        png = png_of(pixels, (int(right - left), int(bottom - top)))
        mask = base64.b64encode(png).decode()
        # The second point is the last pixel.
        yield _shape(label, "mask", [(left, top), (right - 1, bottom - 1)], {**more, "mask": mask})


def finish(whole: Whole, jobs: int, report: Report) -> str:  # noqa: ARG001 - all files are whole already
    """The order of the classes, and of their keypoints, in a file that the reader knows."""
    classes: list[Any] = list(whole.names)
    if whole.task == "pose":
        classes = [{"name": one.name, "keypoints": one.keypoints, "skeleton": one.skeleton} for one in whole.classes]
    (Path(whole.staging or "") / "classes.json").write_bytes(msgspec.json.encode(classes))
    return ""
