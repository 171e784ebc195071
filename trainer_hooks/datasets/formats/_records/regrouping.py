"""Annotations in no order, as COCO's own files have them: found for each group of images, whichever chunk they lie in.

Else every job would read nearly every chunk, and time would grow with the square of the dataset.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from trainer_hooks.datasets.json_arrays import JsonFile, Span
from trainer_hooks.datasets.model import Chunk

NOWHERE, UNREADABLE = -1, -2
"""In the place of an image: none is known; what is there is no annotation."""

_IMAGES_TOGETHER = 1000
# How often a file may be read over before it is worth while.
_OFTEN = 4


def is_scattered(chunks: Sequence[Chunk]) -> bool:
    """Whether most images have annotations in many chunks."""
    if len(chunks) <= _OFTEN:
        return False
    images = max(chunk.high for chunk in chunks) - min(chunk.low for chunk in chunks) + 1
    return sum(chunk.high - chunk.low + 1 for chunk in chunks) > _OFTEN * images


def regrouped(file: JsonFile, chunks: Sequence[Chunk], places: Sequence[array[int]]) -> list[Chunk]:
    """The same annotations in other chunks. `places` are those of the images, for each chunk's annotations."""
    groups: dict[int, array[int]] = {}
    limits: dict[int, tuple[int, int, int]] = {}
    for chunk, own in zip(chunks, places, strict=True):
        spans = file.spans(Span(chunk.start, chunk.end))
        for number, (span, place) in enumerate(zip(spans, own, strict=True), chunk.first):
            if place == NOWHERE:
                continue
            at = chunk.low if place == UNREADABLE else place
            group = at // _IMAGES_TOGETHER
            groups.setdefault(group, array("q")).extend((*span, number))
            low, high, size = limits.get(group, (at, at, 0))
            limits[group] = (min(low, at), max(high, at), size + span.end - span.start)
    found = []
    for group in sorted(groups):
        low, high, size = limits[group]
        found.append(Chunk(chunks[0].file, 0, size, 0, low, high, groups[group].tobytes()))
    return found


def picked_in(chunk: Chunk) -> list[tuple[int, Span]]:
    """The number of each annotation of such a chunk, and where it lies."""
    numbers = array("q", chunk.picked)
    thirds = zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
    return [(number, Span(start, end)) for start, end, number in thirds]
