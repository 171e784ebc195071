"""Boxes and polygons in pixels.

What is computed is rounded to thousandths of a pixel, so that formats can write numbers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import mul

from trainer_hooks.datasets.model import Box

DIGITS = 3
# Of how many points the closest are looked for: time grows with the square.
_LOOKED_AT = 200
_ON_A_CIRCLE = 32


def bounds(rings: Iterable[Sequence[float]]) -> Box:
    """The smallest box around all points of the rings, each ring x, y, x, y and so on."""
    xs: list[float] = []
    ys: list[float] = []
    for ring in rings:
        xs += ring[0::2]
        ys += ring[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def area(ring: Sequence[float]) -> float:
    """What the ring encloses, in square pixels."""
    xs, ys = ring[0::2], ring[1::2]
    ahead: float = sum(map(mul, xs, [*ys[1:], ys[0]]))
    back: float = sum(map(mul, [*xs[1:], xs[0]], ys))
    return abs(ahead - back) / 2


def rectangle(box: Box) -> list[float]:
    """The box as a ring, clockwise from its left top."""
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def rounded_box(box: Box) -> Box:
    """A box that was computed."""
    left, top, right, bottom = box
    return round(left, DIGITS), round(top, DIGITS), round(right, DIGITS), round(bottom, DIGITS)


def clip_box(box: Box, width: float, height: float) -> Box:
    """What of the box lies on the image; of one beside it, something without an area."""
    left, top, right, bottom = box
    return (
        min(max(left, 0.0), width),
        min(max(top, 0.0), height),
        max(min(right, width), 0.0),
        max(min(bottom, height), 0.0),
    )


def clip_ring(ring: Sequence[float], width: float, height: float) -> list[float]:
    """What of the ring lies on the image (Sutherland and Hodgman); empty where nothing does."""
    points = list(zip(ring[0::2], ring[1::2], strict=True))
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        points = _clip_side(points, axis, limit, sign)
    return [round(number, DIGITS) for point in points for number in point]


def _clip_side(points: list[tuple[float, float]], axis: int, limit: float, sign: int) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for before, here in zip([*points[-1:], *points[:-1]], points, strict=True):
        was_in, is_in = (before[axis] - limit) * sign >= 0, (here[axis] - limit) * sign >= 0
        if was_in != is_in:
            share = (limit - before[axis]) / (here[axis] - before[axis])
            other = before[1 - axis] + share * (here[1 - axis] - before[1 - axis])
            kept.append((limit, other) if axis == 0 else (other, limit))
        if is_in:
            kept.append(here)
    return kept


def circle(centre: tuple[float, float], radius: float) -> list[float]:
    """A ring on that circle."""
    turns = (2 * math.pi * step / _ON_A_CIRCLE for step in range(_ON_A_CIRCLE))
    around = ((centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn)) for turn in turns)
    return [round(number, DIGITS) for point in around for number in point]


def joined(rings: Sequence[Sequence[float]]) -> list[float]:
    """One ring through all of them, for formats that hold one ring per object: there and back by the shortest way."""
    whole = list(rings[0])
    for ring in rings[1:]:
        here, there = _nearest(whole, ring)
        turned = [*ring[there:], *ring[: there + 2]]
        whole = [*whole[: here + 2], *turned, *whole[here:]]
    return whole


def _nearest(one: Sequence[float], other: Sequence[float]) -> tuple[int, int]:
    """Where in each of the two the points begin that are closest to each other; of many points, of some of them."""
    step_here, step_there = (2 * max(1, len(ring) // 2 // _LOOKED_AT) for ring in (one, other))
    return min(
        ((here, there) for here in range(0, len(one), step_here) for there in range(0, len(other), step_there)),
        key=lambda pair: (one[pair[0]] - other[pair[1]]) ** 2 + (one[pair[0] + 1] - other[pair[1] + 1]) ** 2,
    )


def smallest_rectangle(ring: Sequence[float]) -> list[float]:
    """The corners of the smallest rectangle around the ring, in any direction; one of its sides lies on the hull's."""
    hull = _hull(sorted(set(zip(ring[0::2], ring[1::2], strict=True))))
    if len(hull) < 3:  # noqa: PLR2004 - a point or a line
        return rectangle(bounds([ring]))
    sides = zip(hull, [*hull[1:], hull[0]], strict=True)
    return min((_around(hull, math.atan2(b[1] - a[1], b[0] - a[0])) for a, b in sides), key=area)


def _around(points: Sequence[tuple[float, float]], angle: float) -> list[float]:
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = [number for x, y in points for number in (x * cosine + y * sine, y * cosine - x * sine)]
    corners = rectangle(bounds([turned]))
    pairs = zip(corners[0::2], corners[1::2], strict=True)
    turned_back = ((x * cosine - y * sine, x * sine + y * cosine) for x, y in pairs)
    return [round(number, DIGITS) for point in turned_back for number in point]


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The convex hull of sorted points (Andrew's monotone chain)."""
    if len(points) < 3:  # noqa: PLR2004 - nothing to enclose
        return list(points)
    return [*_chain(points)[:-1], *_chain(points[::-1])[:-1]]


def _chain(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
