"""The records of DICE: images that hold annotations, and what an annotation of any of its types comes to."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from trainer_hooks.datasets.formats._records.records import (
    AnnotationRecord,
    CategoryRecord,
    Head,
    Id,
    ImageRecord,
    has_area,
    key_of_name,
    keypoints_of,
    outline_of,
)
from trainer_hooks.datasets.formats._records.writing import placed
from trainer_hooks.datasets.geometry import circle
from trainer_hooks.datasets.jobs import Job
from trainer_hooks.datasets.json_arrays import elements, is_given
from trainer_hooks.datasets.model import Annotation, Task
from trainer_hooks.datasets.report import Reporter

BACKGROUND = CategoryRecord("__background__", id=-1)
"""The class that annotations have of images without objects."""

_T = TypeVar("_T")


class DiceImage(ImageRecord, gc=False):
    """One of `images`."""

    annotations: msgspec.Raw = msgspec.Raw()
    annotation: msgspec.Raw = msgspec.Raw()


class DiceHead(Head, gc=False):
    """What the index has to know of an annotation."""

    class_id: Id | None = None
    class_name: str | None = None
    is_background: bool | int | None = None

    def category_keys(self) -> tuple[Id | None, ...]:
        """By its id or its name."""
        return _category_keys(self)


class _Circle(msgspec.Struct):
    center: tuple[float, float]
    radius: float


class DiceRecord(AnnotationRecord, gc=False):
    """An annotation."""

    class_id: Id | None = None
    class_name: str | None = None
    is_background: bool | int | None = None
    bbox_format: str | None = None
    circle: _Circle | None = None
    polyline: msgspec.Raw = msgspec.Raw()
    geometry: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    mask_file: str | None = None

    def category_keys(self) -> tuple[Id | None, ...]:
        """By its id or its name."""
        return _category_keys(self)


def _category_keys(one: DiceHead | DiceRecord) -> tuple[Id | None, ...]:
    if one.is_background:
        return (BACKGROUND.id,)
    return (one.class_id, one.category_id, None if one.class_name is None else key_of_name(one.class_name))


def within(record: DiceImage, kind: type[_T]) -> list[_T | str]:
    """The annotations that an image holds; of one that isn't of that type, what is wrong with it."""
    found: list[_T | str] = []
    for raw in (record.annotations, record.annotation):
        if is_given(raw):
            content = bytes(raw)
            found += elements(content if content.startswith(b"[") else b"[%b]" % content, kind)
    return found


class Filling:
    """Fills in annotations from records, for the job's task."""

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self._task = job.whole.task
        self._names = job.whole.names
        self._reporter = reporter

    def fill(self, record: DiceRecord, annotation: Annotation) -> str | None:
        """Returns what is wrong where it can't."""
        name = self._names[annotation.label]
        if record.class_name not in (None, name):
            said = f"{name} by its id, {record.class_name} by its name"
            self._reporter.note("told", "two classes: that of its id counts", "", annotation.known_as, said)
        if self._task == "classification":
            return None
        for kind in ("polyline", "geometry"):
            if is_given(getattr(record, kind)):
                self._reporter.count("not held", f"{kind}{f' ({record.type})' if record.type else ''}")
        wrong = _box_of(record, annotation)
        if not wrong and (self._task in ("segmentation", "obb") or not has_area(annotation)):
            wrong = _circle_of(record, annotation) if record.circle is not None else outline_of(record, annotation)
        return wrong or (keypoints_of(record, annotation) if self._task == "pose" else None)


def _circle_of(record: DiceRecord, annotation: Annotation) -> str | None:
    if record.circle is None or record.circle.radius <= 0:
        return "its circle has no area"
    annotation.polygons = [circle(record.circle.center, record.circle.radius)]
    return None


def _box_of(record: DiceRecord, annotation: Annotation) -> str | None:
    if not record.bbox:
        return None
    if len(record.bbox) != 4:  # noqa: PLR2004 - two points, or one and a size
        return "its bbox has not four numbers"
    a, b, c, d = record.bbox
    form = record.bbox_format or "xywh"
    if form == "xywh":
        annotation.box = (a, b, a + c, b + d)
    elif form == "xyxy":
        annotation.box = (a, b, c, d)
    elif form == "cxcywh":
        annotation.box = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    else:
        return f"its bbox_format is {form!r} (known: xywh, xyxy, cxcywh)"
    return None


def written(annotation: Annotation, id_: Id, name: str, task: Task) -> dict[str, Any]:
    """The annotation as an image holds it, under that id, its class of that name."""
    record: dict[str, Any] = {
        "id": id_,
        "class_id": annotation.label,
        "class_name": name,
    }
    if task != "classification":
        record |= placed(annotation) | {"bbox_format": "xywh"}
        if task == "pose" and annotation.keypoints:
            record["keypoints"] = annotation.keypoints
            record["num_keypoints"] = sum(visibility > 0 for visibility in annotation.keypoints[2::3])
    if annotation.attributes:
        record["attributes"] = annotation.attributes
    return record
