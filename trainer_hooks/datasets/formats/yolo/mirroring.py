"""Which keypoint is which in a mirror, by their names. Ultralytics mirrors images where it is told, and only there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainer_hooks.datasets.jobs import Whole

_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# A lone letter is a side only where nothing but the ends of the name, or what parts words, is around it.
_SIDE = re.compile(r"left|right|(?<![^\W_])[lr](?![^\W_])")


def mirrored(whole: Whole) -> list[int] | None:
    """For each keypoint the place of its other side, as a YOLO source says, else by the names.

    None where neither tells: a list that swaps nothing would have images mirrored, and left taken for right.
    """
    if whole.source == "yolo":
        flip: list[int] | None = whole.details["flip_idx"]
        return flip
    named = [one.keypoints for one in whole.classes if one.keypoints]
    orders = [_by_names(names) for names in named]
    longest = max(orders, key=len, default=[])
    agreed = all(order and order == longest[: len(order)] for order in orders)
    return longest if agreed and longest != sorted(longest) else None


def _by_names(names: Sequence[str]) -> list[int]:
    """Nothing, where a name has a side of which there is no other."""
    known = {name.casefold(): place for place, name in enumerate(names)}
    others = [known.get(_SIDE.sub(lambda side: _OPPOSITE[side[0]], name)) for name in known]
    return [] if None in others or len(known) < len(names) else [place for place in others if place is not None]
