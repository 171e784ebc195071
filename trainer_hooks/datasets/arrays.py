"""What needs numpy: masks as runs and as pixels. The one file that knows it.

Runs go down the columns, the first one outside the object, as COCO has them; the text form is COCO's own, six bits of
a difference to the run before the last in each character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from trainer_hooks.datasets.model import Box, Mask
from trainer_hooks.errors import DatasetError, MissingPackage

try:
    import numpy as np
except ImportError as error:
    _missing = 'masks need numpy: pip install "trainer-hooks[datasets]"'
    raise MissingPackage(_missing) from error

_LONGEST_RUN = 35  # bits: more than any image has pixels
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_QUOTE = 2
# By bytes: what goes in counts 1, what comes out -1.
_BRACKETS = np.zeros(256, np.int8)
_BRACKETS[list(b"{[")], _BRACKETS[list(b"}]")], _BRACKETS[ord('"')] = 1, -1, _QUOTE

_MOST_PIXELS = 178_956_970  # where Pillow, too, takes an image for an attack


def offset_in(view: memoryview, whole: memoryview) -> int:
    """Where a view of `whole` begins in it, in bytes."""
    return int(_address(view) - _address(whole))


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0]) if len(view) else 0


def last_bracket(text: bytes) -> tuple[int, int]:
    """Behind the last bracket outside of JSON's texts: where that is, and how deep within brackets.

    `text` begins outside of everything, and may end anywhere.
    """
    if b"\\" in text:
        text = _ESCAPED.sub(b"__", text)
    places = np.flatnonzero(_BRACKETS[np.frombuffer(text, np.uint8)])
    kinds = _BRACKETS[np.frombuffer(text, np.uint8)[places]]
    is_quote = kinds == _QUOTE
    outside = ~is_quote & (np.cumsum(is_quote) % 2 == 0)
    if not outside.any():
        return 0, 0
    return int(places[outside][-1]) + 1, int(kinds[outside].sum())


def checked(mask: Mask) -> Mask:
    """The mask itself, if its runs are as long as its image.

    Raises:
        DatasetError: if they aren't, or the image is larger than any that is decoded.
    """
    if min(mask.width, mask.height) <= 0 or mask.width * mask.height > _MOST_PIXELS:
        message = f"a mask of {mask.width} x {mask.height} pixels can't be used"
        raise DatasetError(message)
    if any(run < 0 for run in mask.counts) or sum(mask.counts) != mask.width * mask.height:
        message = f"the runs of a mask are {sum(mask.counts)} pixels long, its image has {mask.width} x {mask.height}"
        raise DatasetError(message)
    return mask


def mask_bounds(mask: Mask) -> Box | None:
    """The smallest box around the mask; None where it is empty."""
    counts = np.asarray(mask.counts, np.int64)
    ends = np.cumsum(counts)
    begins, ends = ends[:-1:2][: len(counts[1::2])], ends[1::2]
    full = ends > begins
    begins, last = begins[full], ends[full] - 1
    if not len(begins):
        return None
    columns = begins // mask.height, last // mask.height
    # A run that goes on in the next column touches the bottom of the one and the top of the other.
    spans = columns[0] != columns[1]
    top = 0 if spans.any() else int((begins % mask.height).min())
    bottom = mask.height if spans.any() else int((last % mask.height).max()) + 1
    return float(columns[0].min()), float(top), float(columns[1].max() + 1), float(bottom)


def mask_area(mask: Mask) -> int:
    """How many pixels are in."""
    return sum(mask.counts[1::2])


def to_pixels(mask: Mask) -> Any:
    """An array of height x width bytes, 0 or 1."""
    inside = np.arange(len(mask.counts)) % 2
    return np.repeat(inside.astype(np.uint8), mask.counts).reshape(mask.width, mask.height).T


def from_pixels(pixels: Any) -> Mask:
    """The mask of everything in a height x width array that isn't 0."""
    height, width = pixels.shape
    flat = np.asarray(pixels, bool).T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return Mask(width, height, [0, *counts] if flat.size and flat[0] else counts)


def placed(pixels: bytes, size: tuple[int, int], corner: tuple[int, int], image: tuple[int, int]) -> Mask:
    """The mask of a piece of an image: a byte per pixel, row by row; what is over the image's edge is cut off.

    `size` and `image` are width and height, `corner` is where the piece has its left top.
    """
    piece = np.frombuffer(pixels, np.uint8).reshape(size[1], size[0])
    whole = np.zeros((image[1], image[0]), np.uint8)
    left, top = max(corner[0], 0), max(corner[1], 0)
    right, bottom = min(corner[0] + size[0], image[0]), min(corner[1] + size[1], image[1])
    if left < right and top < bottom:
        rows, columns = slice(top - corner[1], bottom - corner[1]), slice(left - corner[0], right - corner[0])
        whole[top:bottom, left:right] = piece[rows, columns]
    return from_pixels(whole)


def cut_out(mask: Mask) -> tuple[bytes, Box] | None:
    """The piece that `placed` takes, of 0 and 255, and the box it lies in; None of an empty mask."""
    box = mask_bounds(mask)
    if box is None:
        return None
    left, top, right, bottom = map(int, box)
    return (to_pixels(mask)[top:bottom, left:right] * np.uint8(255)).tobytes(), box


def union(masks: Sequence[Mask]) -> Mask:
    """What is in any of the masks of one image."""
    return from_pixels(np.logical_or.reduce([to_pixels(mask) for mask in masks]))


def outlines(mask: Mask) -> list[list[float]]:
    """The rings around the mask's parts, along the outer edges of their pixels, without their holes.

    Raises:
        MissingPackage: as `outlines_and_holes`.
    """
    return outlines_and_holes(mask)[0]


def outlines_and_holes(mask: Mask) -> tuple[list[list[float]], bool]:
    """The rings of `outlines`, and whether there are holes in them.

    Raises:
        MissingPackage: if OpenCV isn't installed.
    """
    try:
        import cv2
    except ImportError as error:
        message = "outlines of masks need OpenCV: pip install opencv-python-headless (ultralytics brings it along)"
        raise MissingPackage(message) from error
    box = mask_bounds(mask)
    if box is None:
        return [], False
    left, top, right, bottom = map(int, box)
    # OpenCV goes through the middles of pixels. Through those of quarters of pixels, its way rounds to the edges.
    quarters = to_pixels(mask)[top:bottom, left:right].repeat(2, axis=0).repeat(2, axis=1)
    found, above = cv2.findContours(np.ascontiguousarray(quarters), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    outer = [ring for ring, (_, _, _, within) in zip(found, above[0], strict=True) if within < 0]
    rings = [((ring.reshape(-1, 2) + 1) // 2 + (left, top)).reshape(-1).astype(float).tolist() for ring in outer]
    return rings, len(outer) < len(found)


def opencv_size(image: bytes) -> tuple[int, int] | None:
    """Width and height of what OpenCV makes of that file; None where it isn't installed, or makes nothing of it."""
    try:
        import cv2
    except ImportError:
        return None
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return None if pixels is None else (pixels.shape[1], pixels.shape[0])


def counts_of_text(text: str) -> list[int]:
    """The runs that COCO's text form tells.

    Raises:
        DatasetError: if it is none.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode(errors="replace"):
        piece = character - 48
        if not 0 <= piece < 64 or shift > _LONGEST_RUN:  # noqa: PLR2004 - six bits
            break
        value |= (piece & 31) << shift
        shift += 5
        if not piece & 32:
            if piece & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))  # noqa: PLR2004 - as COCO does
            value = shift = 0
    else:
        if not shift:
            return counts
    message = f"{text[:40]!r} is no mask in COCO's text form"
    raise DatasetError(message)


def text_of_counts(counts: list[int]) -> str:
    """COCO's text form of the runs."""
    text = bytearray()
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)  # noqa: PLR2004 - as COCO does
        more = True
        while more:
            piece = value & 31
            value >>= 5
            more = value != (-1 if piece & 16 else 0)
            text.append(48 + piece + (32 if more else 0))
    return text.decode()
