"""Masks, with pycocotools as the judge: it wrote the format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as judge

from trainer_hooks.datasets.arrays import (
    checked,
    counts_of_text,
    from_pixels,
    last_bracket,
    mask_area,
    mask_bounds,
    outlines,
    outlines_and_holes,
    text_of_counts,
    to_pixels,
)
from trainer_hooks.datasets.model import Mask
from trainer_hooks.errors import DatasetError

# Of pycocotools, with any numpy of today.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

pixel_arrays = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


def judged(pixels: Any) -> dict[str, Any]:
    """The mask in COCO's text form."""
    rle: dict[str, Any] = judge.encode(np.asfortranarray(pixels))
    return rle


@given(pixel_arrays)
@settings(deadline=None)
def test_a_mask_goes_through_cocos_text_and_back_as_pycocotools_has_it(pixels: Any) -> None:
    mask = from_pixels(pixels)
    text = judged(pixels)["counts"].decode()
    assert text_of_counts(mask.counts) == text
    assert counts_of_text(text) == mask.counts
    assert (to_pixels(checked(mask)) == pixels).all()


@given(pixel_arrays)
@settings(deadline=None)
def test_area_and_bounds_are_those_of_pycocotools(pixels: Any) -> None:
    mask, rle = from_pixels(pixels), judged(pixels)
    assert mask_area(mask) == judge.area(rle)
    left, top, width, height = judge.toBbox(rle).tolist()
    assert mask_bounds(mask) == ((left, top, left + width, top + height) if pixels.any() else None)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=30))
def test_runs_of_any_length_go_through_text_and_back(counts: list[int]) -> None:
    assert counts_of_text(text_of_counts(counts)) == counts


def test_a_mask_of_a_large_image_is_the_same_as_pycocotools_has_it() -> None:
    pixels = np.zeros((1200, 900), np.uint8)
    pixels[100:700, 200:800] = 1
    pixels[300:400, 300:400] = 0
    assert text_of_counts(from_pixels(pixels).counts) == judged(pixels)["counts"].decode()


@given(st.integers(1, 12), st.integers(1, 12), st.lists(st.integers(0, 40), max_size=20))
def test_bounds_of_runs_of_no_length_are_those_of_their_pixels(width: int, height: int, counts: list[int]) -> None:
    counts.append(max(width * height - sum(counts), 0))
    mask = Mask(width, height, counts)
    if sum(counts) != width * height:
        with pytest.raises(DatasetError):
            checked(mask)
        return
    pixels = to_pixels(mask)
    ys, xs = np.nonzero(pixels)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
    bounds = mask_bounds(mask)
    if expected is not None and bounds is not None and (bounds[1], bounds[3]) == (0, height):
        # Runs that go on in the next column tell of all rows, as pycocotools has it.
        assert (bounds[0], bounds[2]) == (expected[0], expected[2])
    else:
        assert bounds == expected


@pytest.mark.parametrize("counts", [[5], [1, 1], [1, 7, 2], [-1, 10], []])
def test_runs_that_do_not_fill_their_image_are_refused(counts: list[int]) -> None:
    with pytest.raises(DatasetError, match="runs of a mask"):
        checked(Mask(3, 3, counts))


@pytest.mark.parametrize(("width", "height"), [(0, 10), (-3, -3), (20_000, 20_000)])
def test_a_mask_of_no_size_or_of_an_attacks_is_refused(width: int, height: int) -> None:
    with pytest.raises(DatasetError, match="can't be used"):
        checked(Mask(width, height, [width * height]))


@pytest.mark.parametrize("text", ["é", "\x00", "o", "1~", " "])
def test_a_text_that_is_no_mask_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match="no mask"):
        counts_of_text(text)


@given(st.text(max_size=60))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    try:
        counts = counts_of_text(text)
    except DatasetError:
        return
    assert all(isinstance(count, int) for count in counts)


@pytest.mark.parametrize(("top", "left", "height", "width"), [(0, 0, 1, 1), (3, 4, 5, 6), (0, 2, 12, 3), (9, 19, 3, 1)])
def test_the_outline_of_a_rectangle_is_its_edge(top: int, left: int, height: int, width: int) -> None:
    pixels = np.zeros((12, 20), np.uint8)
    pixels[top : top + height, left : left + width] = 1
    (ring,) = outlines(from_pixels(pixels))
    assert {(x, y) for x, y in zip(ring[0::2], ring[1::2], strict=True)} == {
        (left, top),
        (left + width, top),
        (left, top + height),
        (left + width, top + height),
    }


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25), st.integers(1, 12), st.integers(1, 12)), min_size=1))
@settings(deadline=None, max_examples=50)
def test_the_outlines_drawn_again_by_pycocotools_cover_the_mask(boxes: list[tuple[int, int, int, int]]) -> None:
    pixels = np.zeros((40, 40), np.uint8)
    for top, left, height, width in boxes:
        pixels[top : top + height, left : left + width] = 1
    drawn = judge.decode(judge.merge(judge.frPyObjects(outlines(from_pixels(pixels)), 40, 40)))
    # Holes are filled by outlines; everything else is there.
    assert (drawn[pixels == 1] == 1).mean() > 0.9


@pytest.mark.parametrize("has_hole", [False, True])
def test_what_is_in_a_hole_is_no_ring_of_its_own_and_holes_are_told(*, has_hole: bool) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[2:18, 2:18] = pixels[2:18, 22:38] = 1
    if has_hole:
        pixels[4:16, 4:16] = 0
        pixels[8:10, 8:10] = 1

    rings, has_holes = outlines_and_holes(from_pixels(pixels))

    assert sorted(min(ring) for ring in rings) == [2, 2]
    assert has_holes == has_hole


def test_an_empty_mask_has_no_outlines() -> None:
    assert outlines(Mask(4, 4, [16])) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", (0, 0)),
        (b"1, 2", (0, 0)),
        (b'{"a": [1, 2', (7, 2)),
        (b'{"a": "]}"}, "{', (11, 0)),
        (b'{"a": "\\"]}"}, {', (16, 1)),
        (b'{"a": "\\\\"}, {"b', (14, 1)),
        (b'"{', (0, 0)),
    ],
)
def test_the_last_bracket_outside_of_texts_is_found(text: bytes, found: tuple[int, int]) -> None:
    assert last_bracket(text) == found
