"""A conversion cut into jobs: what one process does by itself, whichever machine it is on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.model import Chunk, Class, Entry, SplitName, Task


class Planned(msgspec.Struct, array_like=True, gc=False):
    """One image on its way: `place` is its number among all images from 1, `name` what the target calls it."""

    entry: Entry
    split: SplitName
    name: str
    place: int


class Whole(msgspec.Struct):
    """What all jobs of a conversion have in common.

    `staging` is where the target is being built, and None where it is only to be seen what would come out; `folder` is
    its final place, and `details` are what the source's format has left in its index.
    """

    source: str
    root: str
    target: str
    task: Task
    classes: list[Class]
    staging: str | None
    folder: str
    details: dict[str, Any]
    max_missing: int

    @property
    def names(self) -> list[str]:
        """The classes' names, in their order."""
        return [one.name for one in self.classes]

    @property
    def keypoints(self) -> int:
        """How many keypoints each object has, in formats where all have as many."""
        return max((len(one.keypoints) for one in self.classes), default=0)

    @property
    def pieces(self) -> Path:
        """Where jobs leave what is put together at the end."""
        return Path(self.staging or "") / ".pieces"


class Job(msgspec.Struct):
    """Some of the images, in the order of the source, and the chunks that hold their annotations.

    `first` is the place of the first image among the source's entries, from 0, as chunks count.
    """

    number: int
    planned: list[Planned]
    chunks: list[Chunk]
    whole: Whole
    first: int
