"""Boxes, rings and masks, against slow and plain ways to find the same."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainer_hooks.datasets.arrays import (
    counts_of_text,
    from_pixels,
    mask_area,
    mask_bounds,
    outlines,
    text_of_counts,
    to_pixels,
)
from trainer_hooks.datasets.geometry import area, bounds, clip_box, clip_ring, joined, rectangle, smallest_rectangle
from trainer_hooks.datasets.model import Mask
from trainer_hooks.errors import DatasetError

WIDTH, HEIGHT = 24, 16
coordinates = st.floats(-30, 60, allow_nan=False).map(lambda number: round(number, 2))
points = st.tuples(coordinates, coordinates)
rings = st.lists(points, min_size=3, max_size=9).map(lambda some: [number for point in some for number in point])
pixels = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=9).filter(
    lambda rows: len({len(row) for row in rows}) == 1
)


def winding(ring: list[float], x: float, y: float) -> int:
    """How often the ring goes around the point."""
    turns = 0
    corners = list(zip(ring[0::2], ring[1::2], strict=True))
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        if (ay <= y) != (by <= y) and (x < ax + (y - ay) * (bx - ax) / (by - ay)):
            turns += 1 if by > ay else -1
    return turns


def distance(ring: list[float], x: float, y: float) -> float:
    """From the point to the ring's nearest side."""
    corners = list(zip(ring[0::2], ring[1::2], strict=True))
    found = math.inf
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        share = 0.0 if length == 0 else min(max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0), 1)
        found = min(found, math.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay)))
    return found


@settings(max_examples=100, deadline=None)
@given(ring=rings, x=st.floats(0.01, WIDTH - 0.01), y=st.floats(0.01, HEIGHT - 0.01))
def test_a_clipped_ring_holds_what_the_ring_holds_of_the_image(ring: list[float], x: float, y: float) -> None:
    assume(distance(ring, x, y) > 0.01)
    clipped = clip_ring(ring, WIDTH, HEIGHT)
    assert winding(clipped, x, y) == winding(ring, x, y)


@settings(max_examples=100, deadline=None)
@given(ring=rings)
def test_a_clipped_ring_is_on_the_image(ring: list[float]) -> None:
    clipped = clip_ring(ring, WIDTH, HEIGHT)
    assert all(0 <= x <= WIDTH for x in clipped[0::2])
    assert all(0 <= y <= HEIGHT for y in clipped[1::2])
    inside = bounds([ring])
    if clip_box(inside, WIDTH, HEIGHT) == inside:
        assert clipped == ring


@settings(max_examples=100, deadline=None)
@given(box=st.tuples(coordinates, coordinates, coordinates, coordinates))
def test_a_clipped_box_is_what_both_have(box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = clip_box(box, WIDTH, HEIGHT)
    for x in np.linspace(0.25, WIDTH - 0.25, 10):
        for y in np.linspace(0.25, HEIGHT - 0.25, 10):
            was_in = box[0] < x < box[2] and box[1] < y < box[3]
            assert was_in == (left < x < right and top < y < bottom)


@given(ring=rings, dx=coordinates, dy=coordinates)
def test_an_area_is_the_same_wherever_it_lies(ring: list[float], dx: float, dy: float) -> None:
    moved = [number + (dy if place % 2 else dx) for place, number in enumerate(ring)]
    assert area(moved) == pytest.approx(area(ring), abs=1e-6)
    assert area([*ring[2:], *ring[:2]]) == pytest.approx(area(ring), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(ring=rings)
def test_the_smallest_rectangle_holds_all_and_none_of_another_direction_is_smaller(ring: list[float]) -> None:
    corners = smallest_rectangle(ring)
    assume(area(ring) > 1)
    for x, y in zip(ring[0::2], ring[1::2], strict=True):
        assert winding(corners, x, y) or distance(corners, x, y) < 0.01
    for angle in np.linspace(0, math.pi / 2, 40):
        across = [x * math.cos(angle) + y * math.sin(angle) for x, y in zip(ring[0::2], ring[1::2], strict=True)]
        down = [y * math.cos(angle) - x * math.sin(angle) for x, y in zip(ring[0::2], ring[1::2], strict=True)]
        other = (max(across) - min(across)) * (max(down) - min(down))
        assert area(corners) <= other + 0.01 * (len(ring) + math.sqrt(other))


@settings(max_examples=100, deadline=None)
@given(some=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=5))
def test_rings_joined_enclose_as_much_as_each_for_itself(some: list[tuple[int, int, int]]) -> None:
    lefts = [x + 100 * place for place, (x, _, _) in enumerate(some)]
    apart = [rectangle((left, y, left + size, y + size)) for left, (_, y, size) in zip(lefts, some, strict=True)]
    whole = joined(apart)
    assert area(whole) == pytest.approx(sum(map(area, apart)))
    assert bounds([whole]) == bounds(apart)


def test_two_long_rings_are_joined_in_no_time() -> None:
    turns = np.linspace(0, 2 * math.pi, 20_000, endpoint=False)
    one = np.stack([np.cos(turns), np.sin(turns)], axis=1).reshape(-1)
    whole = joined([one.tolist(), (one + 3).tolist(), (one - 3).tolist()])
    assert area(whole) == pytest.approx(3 * math.pi, rel=1e-3)


@settings(max_examples=80, deadline=None)
@given(rows=pixels)
def test_a_mask_says_the_same_as_its_pixels(rows: list[list[int]]) -> None:
    array = np.array(rows, np.uint8)
    mask = from_pixels(array)
    assert (to_pixels(mask) == array).all()
    assert mask_area(mask) == array.sum()
    assert counts_of_text(text_of_counts(mask.counts)) == mask.counts
    where = np.argwhere(array)
    if len(where):
        (top, left), (bottom, right) = where.min(0), where.max(0) + 1
        assert mask_bounds(mask) == (left, top, right, bottom)
    else:
        assert mask_bounds(mask) is None


@settings(max_examples=80, deadline=None)
@given(rows=pixels)
def test_outlines_hold_the_pixels_of_a_mask_and_its_holes(rows: list[list[int]]) -> None:
    array = np.array(rows, np.uint8)
    found = outlines(from_pixels(array))
    for y, row in enumerate(rows):
        for x, inside in enumerate(row):
            if inside:
                assert any(winding(ring, x + 0.5, y + 0.5) for ring in found)
    if not array.any():
        assert found == []
    else:
        assert bounds(found) == mask_bounds(from_pixels(array))


@given(counts=st.lists(st.integers(0, 10**6), max_size=12))
def test_the_text_form_of_runs_is_read_back(counts: list[int]) -> None:
    assert counts_of_text(text_of_counts(counts)) == counts


@given(text=st.text(max_size=30))
def test_any_text_is_runs_or_is_refused(text: str) -> None:
    with contextlib.suppress(DatasetError):
        assert all(isinstance(count, int) for count in counts_of_text(text))


def test_a_text_that_never_ends_a_run_is_refused_at_once() -> None:
    with pytest.raises(DatasetError):
        counts_of_text("o" * 3_000_000)


def test_runs_of_pycocotools_are_ours() -> None:
    mask = Mask(3, 4, [2, 3, 4, 3])
    assert to_pixels(mask).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 0, 1]]
