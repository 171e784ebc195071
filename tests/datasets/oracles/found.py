"""What a judge has found in a converted dataset, and how that differs from what was expected."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageStat

from tests.datasets.cases.model import Box, Expected, Point, Thing

TOLERANCE = 1.6
"""Pixels."""
_OVERLAP = 0.85
"""The least share that two outlines of one object have in common."""


class Unfit(Exception):
    """The trainer's own loader does not take the dataset as it is."""


@dataclass
class Seen:
    """An image in the converted dataset."""

    path: Path
    split: str
    things: list[Thing] = field(default_factory=list)


@dataclass
class Found:
    """A converted dataset. `task` is the conversion's."""

    task: str
    classes: list[str]
    images: list[Seen] = field(default_factory=list)


def differences(expected: Expected, found: Found, source: Path) -> list[str]:
    """In words, how what was found differs from what was expected; nothing where it is right."""
    by_content = {_content(source / path): path for path in expected.images if (source / path).exists()}
    wrong = []
    if expected.classes is not None and found.task != "classification" and found.classes != expected.classes:
        wrong.append(f"classes are {found.classes}, not {expected.classes}")
    seen: dict[str, Seen] = {}
    for image in found.images:
        path = by_content.get(_content(image.path))
        if path is None:
            wrong.append(f"{image.path.name} is no image of the source")
        elif path in seen and seen[path].path != image.path:
            wrong.append(f"{path} is there twice, in {seen[path].split} and in {image.split}")
        else:
            seen.setdefault(path, image)
            wrong.extend(f"{path}: {word}" for word in _of_image(expected, path, image, found.task))
    lost = set(expected.images) - set(seen) - expected.dropped
    return wrong + [f"{path} is lost" for path in sorted(lost)]


def _of_image(expected: Expected, path: str, image: Seen, task: str) -> Iterator[str]:
    split = expected.splits.get(path, image.split)
    if image.split != split:
        yield f"is in {image.split}, not in {split}"
    left = list(image.things)
    for thing in sorted(expected.images[path], key=lambda thing: thing.optional):
        match = next((other for other in left if _alike(thing, other, task)), None)
        if match is not None:
            left.remove(match)
        elif not thing.optional:
            yield f"no {thing.name} as expected: {_shown(thing, task)}, but {[_shown(other, task) for other in left]}"
    if left:
        yield f"not expected: {[_shown(other, task) for other in left]}"


def _alike(thing: Thing, other: Thing, task: str) -> bool:
    if thing.name != other.name or thing.crowd != other.crowd:
        return False
    if thing.corners:
        return _same_corners(thing.corners, other.corners)
    if task == "classification" or thing.box is None:
        return True
    if not _same_box(thing.box, other.box):
        return False
    if task == "segmentation" and thing.polygons:
        return _overlap(thing, other) >= _OVERLAP
    return task != "pose" or _same_keypoints(thing.keypoints, other.keypoints)


def _same_box(ours: Box, theirs: Box | None) -> bool:
    return theirs is not None and all(abs(a - b) <= TOLERANCE for a, b in zip(ours, theirs, strict=True))


def _same_corners(ours: Sequence[Point], theirs: Sequence[Point]) -> bool:
    """Whether they are the same points, in whatever order."""
    return any(
        all(
            abs(a - b) <= TOLERANCE
            for one, other in zip(ours, order, strict=False)
            for a, b in zip(one, other, strict=True)
        )
        for order in itertools.permutations(theirs)
        if len(order) == len(ours)
    )


def _same_keypoints(ours: Sequence[tuple[float, float, int]], theirs: Sequence[tuple[float, float, int]]) -> bool:
    if not ours:
        return all(v == 0 for _, _, v in theirs)
    return len(ours) == len(theirs) and all(
        v == w and (v == 0 or (abs(x - p) <= TOLERANCE and abs(y - q) <= TOLERANCE))
        for (x, y, v), (p, q, w) in zip(ours, theirs, strict=True)
    )


def _overlap(thing: Thing, other: Thing) -> float:
    one, two = _drawn(thing), _drawn(other)
    common = ImageStat.Stat(ImageChops.logical_and(one, two)).sum[0]
    either = ImageStat.Stat(ImageChops.logical_or(one, two)).sum[0]
    return common / either if either else 0.0


def _drawn(thing: Thing) -> Image.Image:
    mask = Image.new("1", (1000, 1000))
    for polygon in thing.polygons:
        part = Image.new("1", mask.size)
        ImageDraw.Draw(part).polygon([(x, y) for x, y in polygon], fill=1)
        mask = ImageChops.logical_or(mask, part)
    return mask


def _shown(thing: Thing, task: str) -> str:
    rounded = tuple(round(value, 1) for value in thing.box) if thing.box else ""
    extra = {
        "segmentation": f" {len(thing.polygons)} outlines",
        "pose": f" {thing.keypoints}",
        "obb": f" {[(round(x, 1), round(y, 1)) for x, y in thing.corners]}",
    }
    return f"{thing.name} {rounded}{extra.get(task, '')}"


def bounds(points: Sequence[Point]) -> Box:
    """The box around some points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return (min(xs), min(ys), max(xs), max(ys))


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
