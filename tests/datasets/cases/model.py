"""What a case is: a little dataset, written into a folder, and what has to come of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

Point = tuple[float, float]
Box = tuple[float, float, float, float]
SIZE = (100, 80)
"""Width and height of an image whose size doesn't matter."""


@dataclass(frozen=True)
class Thing:
    """One object in an image, in pixels.

    Attributes:
        name: its class.
        box: left, top, right, bottom; None where only the class counts (classification).
        polygons: its outline, where one has to come through.
        keypoints: x, y and visibility; where that is 0, the place doesn't count.
        corners: of an oriented box, in any order.
        optional: whether to keep or to drop it is a matter of policy.
        crowd: as in COCO.
    """

    name: str
    box: Box | None = None
    polygons: tuple[tuple[Point, ...], ...] = ()
    keypoints: tuple[tuple[float, float, int], ...] = ()
    corners: tuple[Point, ...] = ()
    optional: bool = False
    crowd: bool = False


@dataclass
class Expected:
    """What a conversion has to give.

    Attributes:
        images: what is in each image, by its path in the source.
        classes: the names in their order; None where it doesn't count.
        splits: where images have to be; those not named may be anywhere.
        refusal: "never" must convert; "accepted" may be a clear error instead; "due" must be one.
        dropped: images that may be left out.
        outside: paths beside source and target which the case itself has written.
    """

    images: dict[str, list[Thing]] = field(default_factory=dict)
    classes: list[str] | None = None
    splits: dict[str, str] = field(default_factory=dict)
    refusal: str = "never"
    dropped: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Case:
    """One edge case of one conversion.

    Attributes:
        key: its short name, e.g. "C06".
        title: what is odd about it.
        source, target, task: as the conversion is told.
        write: writes the dataset and tells what has to come of it.
        arguments: what else the conversion is told; `assign` are the splits by image.
        peers: whether other tools are given it, too.
    """

    key: str
    title: str
    source: str
    target: str
    task: str
    write: Callable[[Source], Expected]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    peers: bool = True

    def make(self, folder: Path) -> tuple[Path, Expected]:
        """Write the dataset into `folder`/source; that path, and what has to come of it."""
        root = folder / "source"
        root.mkdir(parents=True)
        return root, self.write(Source(root))


class Source:
    """The folder of a dataset that is being written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, path: str, size: tuple[int, int] = SIZE, orientation: int = 1) -> str:
        """An image unlike any of another name; `size` as stored, which an `orientation` of 6 turns by 90 degrees."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Large blocks in few colours, so that JPEG's losses make no two alike.
        blocks = Image.frombytes("RGB", (4, 4), hashlib.sha384(path.encode()).digest())
        exif = Image.Exif()
        if orientation != 1:
            exif[0x0112] = orientation
        blocks.resize(size, Image.Resampling.NEAREST).save(target, exif=exif)
        return path

    def json(self, path: str, content: object) -> None:
        """A JSON file; NaN and infinity are written the way Python does."""
        self.text(path, json.dumps(content, ensure_ascii=False))

    def text(self, path: str, content: str) -> None:
        """A text file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


class Cases:
    """The cases of one conversion, in their order; a module of cases has one or more."""

    def __init__(self, source: str, target: str, task: str, *, peers: bool = True) -> None:
        self.source, self.target, self.task, self.peers = source, target, task, peers
        self._cases: list[Case] = []

    def add(
        self, key: str, title: str, **arguments: Any
    ) -> Callable[[Callable[[Source], Expected]], Callable[[Source], Expected]]:
        """The decorated function writes the case `key`."""

        def register(write: Callable[[Source], Expected]) -> Callable[[Source], Expected]:
            peers = self.peers and not arguments
            self._cases.append(Case(key, title, self.source, self.target, self.task, write, arguments, peers))
            return write

        return register

    def also(self, suffix: str, **changes: Any) -> Iterator[Case]:
        """The same cases under other keys, e.g. for another target."""
        for case in self:
            yield replace(case, key=case.key + suffix, **changes)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)


def xywh(x: float, y: float, width: float, height: float) -> Box:
    """COCO's box as left, top, right, bottom."""
    return (x, y, x + width, y + height)


def points(flat: Sequence[float]) -> tuple[Point, ...]:
    """x1, y1, x2, y2, … as points."""
    return tuple(zip(flat[::2], flat[1::2], strict=True))
