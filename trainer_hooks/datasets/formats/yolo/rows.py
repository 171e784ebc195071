"""The rows of YOLO's label files as annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainer_hooks.datasets.formats._layout import UNWANTED
from trainer_hooks.datasets.geometry import DIGITS, bounds, rounded_box
from trainer_hooks.datasets.model import Annotation, Box, Task
from trainer_hooks.datasets.report import Reporter

# How far beside the image Ultralytics lets a point be, in shares of the image.
_SLACK = 0.01
_BOX_COLUMNS, _CORNER_COLUMNS, _SHORTEST_POLYGON = 5, 9, 7
_SEEN = 2.0


class Rows:
    """Reads the files of one dataset. `labels` are the conversion's by the number in a row, `points` is `kpt_shape`."""

    def __init__(self, task: Task, labels: Sequence[int], points: tuple[int, int] | None, reporter: Reporter) -> None:
        self._task = task
        self._labels = labels
        self._count, self._dimensions = points or (0, 0)
        self._pose_columns = _BOX_COLUMNS + self._count * self._dimensions
        self._with_outline = task in ("segmentation", "obb")
        self._reporter = reporter

    def read(self, content: bytes, shown: str, width: int, height: int) -> list[Annotation]:
        """The annotations of an image of that size; rows that are none are noted."""
        lines = content.decode("utf-8-sig", "replace").splitlines()
        found: list[Annotation] = []
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            if not line or line.isspace():
                continue
            annotation = "the same row twice" if line in seen else self._row(number, line, width, height)
            seen.add(line)
            if isinstance(annotation, str):
                self._reporter.note("dropped", annotation, shown, f"#{number}")
            elif annotation.label == UNWANTED:
                self._reporter.count("dropped", "of a class that was not asked for")
            elif annotation.label >= 0:  # else it is the background
                found.append(annotation)
        return found

    def _row(self, number: int, line: str, width: int, height: int) -> Annotation | str:
        """One row, or what is wrong with it."""
        try:
            kind, *values = map(float, line.split())
        except ValueError:
            return "it is no row of numbers"
        if not math.isfinite(sum(values)):
            return "a number in it is not finite"
        if not (0 <= kind < len(self._labels) and kind.is_integer()):
            return "there is no such class"
        annotation = Annotation(number, self._labels[int(kind)])
        if self._task == "classification":
            return annotation
        return self._fill(annotation, values, width, height) or annotation

    def _fill(self, annotation: Annotation, values: list[float], width: int, height: int) -> str | None:
        columns = 1 + len(values)
        is_box = columns == _BOX_COLUMNS
        if self._count and columns == self._pose_columns:
            points, values = values[4:], values[:4]
            is_box = True
            if self._task == "pose":
                annotation.keypoints = self._keypoints(points, width, height)
        elif self._task == "pose" or (not is_box and (columns < _SHORTEST_POLYGON or columns % 2 == 0)):
            return f"a row of {columns} columns"
        # Oriented boxes are whole over the edge, too: how far is looked at when they are cleaned.
        is_oriented = self._task == "obb" and columns == _CORNER_COLUMNS
        if not is_oriented and (min(values) < -_SLACK or max(values) > 1 + _SLACK):
            return "its numbers are no shares of the image"
        if is_box:
            annotation.box = _box(values, width, height)
        else:
            self._fill_outline(annotation, values, width, height)
        return None

    def _fill_outline(self, annotation: Annotation, values: list[float], width: int, height: int) -> None:
        ring = [0.0] * len(values)
        ring[0::2] = [round(x * width, DIGITS) for x in values[0::2]]
        ring[1::2] = [round(y * height, DIGITS) for y in values[1::2]]
        if not self._with_outline:
            annotation.box = bounds([ring])
            return
        if self._task == "obb" and 1 + len(values) == _CORNER_COLUMNS:
            annotation.corners = ring
        else:
            annotation.polygons = [ring]

    def _keypoints(self, values: list[float], width: int, height: int) -> list[float]:
        found: list[float] = []
        for at in range(0, len(values), self._dimensions):
            x, y, *rest = values[at : at + self._dimensions]
            # Without a third number, a point in the corner, or outside, is one that isn't labelled.
            visibility = rest[0] if rest else _SEEN * (x >= 0 and y >= 0 and (x, y) != (0, 0))
            found += [round(x * width, DIGITS), round(y * height, DIGITS), visibility]
        return found


def _box(values: Sequence[float], width: int, height: int) -> Box:
    x, y, across, down = values
    box = ((x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height)
    return rounded_box(box)
