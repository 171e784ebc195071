"""LabelMe's shapes as annotations."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from typing import Any

from trainer_hooks.datasets.formats.labelme.files import Shape
from trainer_hooks.datasets.geometry import bounds, circle, rectangle, rounded_box
from trainer_hooks.datasets.model import Annotation, Box
from trainer_hooks.datasets.pictures import Picture, pixels_in
from trainer_hooks.errors import DatasetError

HIDDEN = "occluded"
"""The flag of a point that is there, but hidden."""

_Points = Sequence[tuple[float, float]]
_LABELLED, _SEEN = 1.0, 2.0


def fill(annotation: Annotation, shape: Shape, picture: Picture, *, with_outline: bool) -> None:
    """Fill in the shape's outline, if it is asked for and the shape has more than a box of one; else its box.

    Raises:
        DatasetError: if it can't be that shape.
    """
    needed, draw = OBJECT_SHAPES[shape.kind]
    if len(shape.points) < needed:
        message = f"{shape.kind} of less than {needed} points"
        raise DatasetError(message)
    draw(annotation, shape, picture, with_outline)


def _polygon(annotation: Annotation, shape: Shape, _: Picture, with_outline: bool) -> None:  # noqa: FBT001 - as all here
    if with_outline:
        annotation.polygons = [_ring(shape.points)]
    else:
        annotation.box = _bounds(shape.points)


def _rectangle(annotation: Annotation, shape: Shape, _: Picture, __: bool) -> None:  # noqa: FBT001
    annotation.box = _bounds(shape.points)


def _circle(annotation: Annotation, shape: Shape, _: Picture, with_outline: bool) -> None:  # noqa: FBT001
    centre, edge = shape.points[:2]
    radius = math.dist(centre, edge)
    if with_outline:
        annotation.polygons = [circle(centre, radius)]
    else:
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        annotation.box = rounded_box(box)


def _oriented(annotation: Annotation, shape: Shape, _: Picture, with_outline: bool) -> None:  # noqa: FBT001
    if with_outline:
        annotation.corners = _ring(shape.points)
    else:
        annotation.box = _bounds(shape.points)


def _mask(annotation: Annotation, shape: Shape, picture: Picture, with_outline: bool) -> None:  # noqa: FBT001
    left, top, right, bottom = (int(number) for number in _bounds(shape.points))
    # The second of its two points is the last pixel, not what lies behind it.
    size = (right + 1 - left, bottom + 1 - top)
    if not with_outline:
        annotation.box = (left, top, right + 1, bottom + 1)
    elif size[0] > picture.width or size[1] > picture.height:  # which may be more pixels than there is room for
        message = f"its mask has {size[0]} x {size[1]} pixels, its image {picture.width} x {picture.height}"
        raise DatasetError(message)
    else:
        from trainer_hooks.datasets.arrays import placed

        annotation.mask = placed(pixels_in(_png(shape), size), size, (left, top), (picture.width, picture.height))


def _png(shape: Shape) -> bytes:
    try:
        return base64.b64decode(shape.mask or "")
    except (binascii.Error, ValueError) as error:
        message = f"its mask is no Base64: {error}"
        raise DatasetError(message) from error


def _bounds(points: _Points) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _ring(points: _Points) -> list[float]:
    return [number for point in points for number in point]


OBJECT_SHAPES: dict[str, tuple[int, Callable[[Annotation, Shape, Picture, bool], None]]] = {
    "polygon": (3, _polygon),
    "rectangle": (2, _rectangle),
    "circle": (2, _circle),
    "mask": (2, _mask),
    "oriented_rectangle": (4, _oriented),
}
"""The types that enclose something: how many points they need, and what fills in an annotation."""


def attributes_of(shape: Shape) -> dict[str, Any] | None:
    """The flags that are set, and the description."""
    found = {name: value for name, value in (shape.flags or {}).items() if value}
    if shape.description:
        found["description"] = shape.description
    return found or None


def keypoint_of(shape: Shape) -> tuple[float, float, float]:
    """X, y, visibility of a point."""
    return *shape.points[0], _LABELLED if (shape.flags or {}).get(HIDDEN) else _SEEN


def joined_parts(parts: Sequence[Annotation], *, with_outline: bool) -> Annotation:
    """One object of all its parts; boxes make a box, where no outline is asked for."""
    first = parts[0]
    if len(parts) == 1:
        return first
    masks = [part.mask for part in parts if part.mask]
    boxes = [part.box for part in parts if part.box]
    if len(masks) == len(parts):
        from trainer_hooks.datasets.arrays import union

        first.mask = union(masks)
    elif len(boxes) == len(parts) and not with_outline:
        first.box = bounds(boxes)
    else:
        first.polygons = [ring for part in parts for ring in _rings(part)]
        first.box = first.mask = first.corners = None
    return first


def _rings(part: Annotation) -> list[list[float]]:
    if part.mask:
        from trainer_hooks.datasets.arrays import outlines

        return outlines(part.mask)
    if part.polygons:
        return part.polygons
    return [part.corners or rectangle(part.box or (0.0, 0.0, 0.0, 0.0))]
