"""What is done to an annotation before it is written: made fit for its task and image, or dropped, with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainer_hooks.datasets.geometry import (
    area,
    bounds,
    clip_box,
    clip_ring,
    rectangle,
    smallest_rectangle,
)
from trainer_hooks.datasets.model import Annotation, Box, Class, Mask, Task
from trainer_hooks.datasets.report import Reporter
from trainer_hooks.errors import DatasetError

# In pixels: what is over the edge by less is rounding, and not worth telling.
_ROUNDING = 0.01
# What is smaller, in pixels a side and in shares of the image, is nothing in what formats write.
_SMALLEST, _SMALLEST_SHARE = 0.001, 1e-6
_TOO_SMALL = "it is too small to be written"
_NO_AREA = "its outline has no area: it is a line, or its sides cross"
_SHORTEST_RING = 6
_CORNERS = 8
_PER_KEYPOINT = 3
_VISIBILITIES = (0, 1, 2)


class Cleaner:
    """Cleans the annotations of one image after the other, for one task."""

    def __init__(self, task: Task, classes: Sequence[Class], reporter: Reporter) -> None:
        self._task = task
        counts = [len(one.keypoints) for one in classes]
        # A class that names none may have as many as any other.
        self._points = [_PER_KEYPOINT * (count or max(counts)) for count in counts]
        self._reporter = reporter

    def clean(self, found: Sequence[Annotation], file: str, width: float, height: float) -> list[Annotation]:
        """The annotations that are left, each with what the task needs, on an image of that many pixels."""
        if self._task == "classification":
            return list(found)
        kept: list[Annotation] = []
        for annotation in found:
            dropped = self._fit(annotation, file, width, height)
            if dropped:
                self._reporter.note("dropped", dropped, file, annotation.known_as)
            else:
                kept.append(annotation)
        return kept

    def _fit(self, annotation: Annotation, file: str, width: float, height: float) -> str | None:
        """Make the annotation fit; returns why it can't be."""
        if self._task == "detection" and annotation.box is not None:
            left, top, right, bottom = annotation.box
            is_inside = left >= 0 and top >= 0 and right <= width and bottom <= height  # as nearly all are
            if is_inside and not _is_speck(annotation.box, width, height):
                return None
        if not _is_finite(annotation):
            return "a number in it is not finite"
        try:
            outline = self._task in ("segmentation", "obb") and self._fit_outline(annotation, file, width, height)
            box = annotation.box if outline else self._own_box(annotation, file)
        except DatasetError as error:
            return str(error)
        if box is None:
            return "nothing of it is on the image" if outline else "it has no place on the image"
        if not outline:
            return self._fit_box(annotation, box, file, width, height)
        return _TOO_SMALL if _is_speck(box, width, height) else None

    def _own_box(self, annotation: Annotation, file: str) -> Box | None:
        """Its box; that of what else there is of it where it has none, or one without an area."""
        box = annotation.box
        if box is not None and box[0] < box[2] and box[1] < box[3]:
            return box
        around = _own_bounds(annotation)
        if box is None or around is None:
            return around or box
        self._reporter.note("repaired", "its box has no area: that of its points stands in", file, annotation.known_as)
        return around

    def _fit_box(self, annotation: Annotation, box: Box, file: str, width: float, height: float) -> str | None:
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            return "its box has no area"
        if left < 0 or top < 0 or right > width or bottom > height:
            clipped = clip_box(box, width, height)
            if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
                return "nothing of it is on the image"
            if max(-left, -top, right - width, bottom - height) > _ROUNDING:
                self._reporter.note("clipped", "box over the edge", file, annotation.known_as)
            box = clipped
        if _is_speck(box, width, height):
            return _TOO_SMALL
        annotation.box = box
        if self._task == "pose":
            return self._fit_keypoints(annotation, file, width, height)
        if self._task in ("segmentation", "obb"):
            self._reporter.note("repaired", "no outline: its box stands in", file, annotation.known_as)
            annotation.polygons = [rectangle(box)]
            annotation.corners = rectangle(box)
        return None

    def _fit_outline(self, annotation: Annotation, file: str, width: float, height: float) -> bool:
        """Whether it has an outline; without a box afterwards, none of it is on the image.

        Raises:
            DatasetError: if it can't be its outline.
        """
        if annotation.mask is not None:
            self._fit_mask(annotation, width, height)
        elif self._task == "obb" and annotation.corners and len(annotation.corners) == _CORNERS:
            box = clip_box(bounds([annotation.corners]), width, height)
            annotation.box = box if box[0] < box[2] and box[1] < box[3] else None
        elif not self._fit_polygons(annotation, file, width, height):
            return False
        if self._task == "obb" and annotation.corners:
            self._fit_corners(annotation, file, width, height)
        return True

    def _fit_mask(self, annotation: Annotation, width: float, height: float) -> None:
        from trainer_hooks.datasets.arrays import checked, mask_bounds, outlines

        mask = checked(annotation.mask or Mask(0, 0, []))
        if (mask.width, mask.height) != (width, height):
            message = f"its mask is for {mask.width} x {mask.height} pixels, the image has {width:g} x {height:g}"
            raise DatasetError(message)
        annotation.box = mask_bounds(mask)
        if self._task == "obb" and annotation.box and not annotation.crowd:
            annotation.mask, annotation.polygons = None, outlines(mask)
            annotation.corners = _smallest_around(annotation.polygons)

    def _fit_polygons(self, annotation: Annotation, file: str, width: float, height: float) -> bool:
        """Whether there are any."""
        rings = annotation.polygons or ([annotation.corners] if annotation.corners else [])
        whole = [ring for ring in rings if len(ring) >= _SHORTEST_RING and len(ring) % 2 == 0]
        if len(whole) < len(rings):
            self._reporter.note("dropped", "polygon of less than three points", file, annotation.known_as)
        if not whole:
            return False
        annotation.box = bounds(whole)
        annotation.polygons = self._clip_rings(whole, annotation, file, width, height)
        if self._task == "obb":
            annotation.corners = _smallest_around(annotation.polygons)
        return True

    def _fit_corners(self, annotation: Annotation, file: str, width: float, height: float) -> None:
        """Kept as they are where they are over the edge: cut off, they would be no rectangle any more.

        Where its middle or its size are beyond the image's, Ultralytics would refuse all that is on the image.
        """
        left, top, right, bottom = bounds([annotation.corners or ()])
        is_inside = 0 <= left + right <= 2 * width and 0 <= top + bottom <= 2 * height
        if annotation.box and not (is_inside and right - left <= width and bottom - top <= height):
            self._reporter.note("clipped", "oriented box over the edge", file, annotation.known_as)
            annotation.corners = rectangle(annotation.box)

    def _clip_rings(
        self, given: list[list[float]], annotation: Annotation, file: str, width: float, height: float
    ) -> list[list[float]]:
        """Those that are left on the image; the annotation's box, which is theirs, becomes that of what is left."""
        left, top, right, bottom = annotation.box or (0, 0, 0, 0)
        over = max(-left, -top, right - width, bottom - height)
        rings = [clip_ring(ring, width, height) for ring in given] if over > 0 else given
        areas = [area(ring) if ring else 0 for ring in rings]
        kept = [ring for ring, enclosed in zip(rings, areas, strict=True) if enclosed > 0]
        if not kept:
            message = "nothing of it is on the image" if any(map(area, given)) else _NO_AREA
            raise DatasetError(message)
        annotation.area = sum(areas)
        if over > 0:
            annotation.box = bounds(kept)
            if over > _ROUNDING:
                self._reporter.note("clipped", "polygon over the edge", file, annotation.known_as)
        return kept

    def _fit_keypoints(self, annotation: Annotation, file: str, width: float, height: float) -> str | None:
        points = annotation.keypoints
        if not points:
            return None
        count = self._points[annotation.label]
        if any(points[count + 2 :: _PER_KEYPOINT]):
            return "it has more keypoints than its class"
        points[count:] = []
        points += [0.0] * (count - len(points))
        for place in range(0, len(points) - 2, _PER_KEYPOINT):
            x, y, visibility = points[place : place + _PER_KEYPOINT]
            if visibility not in _VISIBILITIES:
                visibility = 2.0 if visibility > 0 else 0.0
                points[place + 2] = visibility
                self._reporter.note("repaired", "visibility of a keypoint", file, annotation.known_as)
            if visibility == 0:
                points[place : place + 2] = [0.0, 0.0]
            elif not (0 <= x <= width and 0 <= y <= height):
                points[place : place + _PER_KEYPOINT] = [0.0, 0.0, 0.0]
                self._reporter.note("dropped", "keypoint outside the image", file, annotation.known_as)
        return None


def _is_speck(box: Box, width: float, height: float) -> bool:
    left, top, right, bottom = box
    across, down = max(_SMALLEST, _SMALLEST_SHARE * width), max(_SMALLEST, _SMALLEST_SHARE * height)
    return right - left < across or bottom - top < down


def _smallest_around(rings: Sequence[Sequence[float]]) -> list[float]:
    return smallest_rectangle([number for ring in rings for number in ring])


def _own_bounds(annotation: Annotation) -> Box | None:
    """The box around what the annotation has instead of one."""
    if annotation.mask is not None:
        from trainer_hooks.datasets.arrays import checked, mask_bounds

        return mask_bounds(checked(annotation.mask))
    rings = [ring for ring in annotation.polygons or [] if len(ring) >= _SHORTEST_RING and len(ring) % 2 == 0]
    if annotation.corners:
        rings.append(annotation.corners)
    return bounds(rings) if rings else _around_keypoints(annotation.keypoints)


def _around_keypoints(points: Sequence[float] | None) -> Box | None:
    seen = [points[at : at + 2] for at in range(0, len(points or ()), _PER_KEYPOINT) if points and points[at + 2]]
    return bounds(seen) if seen else None


def _is_finite(annotation: Annotation) -> bool:
    # One sum of all: a number that isn't finite makes it such, too.
    total = sum(annotation.box or ()) + sum(annotation.corners or ()) + sum(annotation.keypoints or ())
    for ring in annotation.polygons or ():
        total += sum(ring)
    return math.isfinite(total)
