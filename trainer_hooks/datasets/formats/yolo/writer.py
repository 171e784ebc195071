"""Writes YOLO datasets: `data.yaml`, images, and a file of rows for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats.yolo.mirroring import mirrored
from trainer_hooks.datasets.formats.yolo.source import label_path
from trainer_hooks.datasets.formats.yolo.yaml_files import yaml_of
from trainer_hooks.datasets.geometry import joined
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.model import SPLITS, Annotation, Mask, Task
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter

TASKS: tuple[Task, ...] = ("detection", "segmentation", "pose", "obb")

_SMALLEST_IMAGE = 10  # pixels a side; Ultralytics refuses smaller ones
_PER_KEYPOINT = 3
_MILLION = 1_000_000
_HALF_UP = _MILLION + 0.5
_NO_MIRROR = "no flip_idx: the names of the keypoints don't pair left and right, so that trainers mirror no image"
_encode = msgspec.json.Encoder().encode


class Writer:
    """One file of labels per image, an empty one where there is nothing on it."""

    def __init__(self, job: Job, reporter: Reporter, output: Output) -> None:
        self._reporter = reporter
        self._output = output
        self._keypoints = job.whole.keypoints
        self._row = {"detection": _box_row, "segmentation": _ring_row, "obb": _corner_row, "pose": self._pose_row}[
            job.whole.task
        ]
        if job.number == 0 and job.whole.task == "pose" and not mirrored(job.whole):
            reporter.note("told", _NO_MIRROR)

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str | None:
        """The labels of one image."""
        name = planned.entry.name
        if min(picture.width, picture.height) < _SMALLEST_IMAGE:
            self._reporter.note("dropped", "image of less than 10 pixels a side", name)
            return None
        path = f"images/{planned.split}/{planned.name}"
        rows = [row for one in annotations if (row := self._row_of(one, name, picture))]
        distinct = dict.fromkeys(rows)
        for _ in range(len(rows) - len(distinct)):
            self._reporter.note("dropped", "the same label twice", name)
        self._output.save(label_path(path), "".join(distinct).encode())
        return path

    def _row_of(self, annotation: Annotation, name: str, picture: Picture) -> str | None:
        if annotation.crowd:
            self._reporter.note("not held", "a crowd", name, annotation.known_as)
            return None
        if annotation.attributes:
            self._reporter.count("not held", "attributes")
        if annotation.mask is not None and self._row is _ring_row:
            self._outline(annotation, annotation.mask, name)
        row = self._row(annotation, picture.width, picture.height)
        if row is None:
            self._reporter.note("dropped", "its mask is empty", name, annotation.known_as)
        return row

    def _outline(self, annotation: Annotation, mask: Mask, name: str) -> None:
        from trainer_hooks.datasets.arrays import outlines_and_holes

        annotation.polygons, has_holes = outlines_and_holes(mask)
        if has_holes:
            self._reporter.note("not held", "holes of a mask", name, annotation.known_as)

    def _pose_row(self, annotation: Annotation, width: int, height: int) -> str | None:
        given = annotation.keypoints or []
        points = [*given, *[0.0] * (_PER_KEYPOINT * self._keypoints - len(given))]
        told = ""
        for at in range(0, len(points), _PER_KEYPOINT):
            x, y, visibility = points[at : at + _PER_KEYPOINT]
            told += f" {x / width:.6f} {y / height:.6f} {visibility:g}"
        box = _box_row(annotation, width, height)
        return f"{box[:-1]}{told}\n"


def _box_row(annotation: Annotation, width: int, height: int) -> str:
    left, top, right, bottom = annotation.box or (0.0, 0.0, 0.0, 0.0)
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    return f"{annotation.label} {x:.6f} {y:.6f} {(right - left) / width:.6f} {(bottom - top) / height:.6f}\n"


def _ring_row(annotation: Annotation, width: int, height: int) -> str | None:
    rings = annotation.polygons
    if not rings:
        return None
    return _points_row(annotation.label, rings[0] if len(rings) == 1 else joined(rings), width, height)


def _corner_row(annotation: Annotation, width: int, height: int) -> str | None:
    return _points_row(annotation.label, annotation.corners, width, height) if annotation.corners else None


def _points_row(label: int, ring: list[float], width: int, height: int) -> str:
    across, down = _MILLION / width, _MILLION / height
    # Millionths with a 1 before them: a list of them is encoded at once, and the row takes two thirds of the time.
    scaled = [_MILLION] * len(ring)
    scaled[0::2] = [int(x * across + _HALF_UP) for x in ring[0::2]]
    scaled[1::2] = [int(y * down + _HALF_UP) for y in ring[1::2]]
    if min(scaled) >= _MILLION and max(scaled) < 2 * _MILLION:
        return f"{label} 0.{_encode(scaled)[2:-1].replace(b',1', b' 0.').decode()}\n"
    return f"{label}{''.join(f' {(one - _MILLION) / _MILLION:.6f}' for one in scaled)}\n"


def finish(whole: Whole, jobs: int, report: Report) -> str:  # noqa: ARG001 - labels need no putting together
    """The `data.yaml`."""
    content: dict[str, Any] = {"path": whole.folder, "train": "images/train", "val": "images/val"}
    for split in SPLITS:
        (Path(whole.staging or "") / "images" / split).mkdir(parents=True, exist_ok=True)
    if not report.images.get("val"):
        content["val"] = "images/train"
    if report.images.get("test"):
        content["test"] = "images/test"
    content |= {"nc": len(whole.classes), "names": dict(enumerate(whole.names))}
    if whole.task == "pose":
        content["kpt_shape"] = [whole.keypoints, _PER_KEYPOINT]
        if flip := mirrored(whole):
            content["flip_idx"] = flip
        content["kpt_names"] = {
            label: _padded(one.keypoints, whole.keypoints) for label, one in enumerate(whole.classes)
        }
    (Path(whole.staging or "") / "data.yaml").write_text(yaml_of(content), encoding="utf-8")
    return "data.yaml"


def _padded(names: tuple[str, ...], count: int) -> list[str]:
    """As many names as all objects have keypoints."""
    return [*names, *map(str, range(len(names), count))]
