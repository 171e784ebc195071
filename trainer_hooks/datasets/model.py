"""What every format is read into and written from: images, and what is on them, in pixels of the upright image."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from trainer_hooks.errors import InvalidSetting

Task = Literal["detection", "segmentation", "pose", "obb", "classification"]
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
BACKGROUND = ("__background__", "_background_")
"""Names by which formats mark images without objects: never a class."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

# What the platform, Ultralytics and others call the same five.
_TASKS: dict[str, Task] = {
    "detection": "detection",
    "object_detection": "detection",
    "detect": "detection",
    "segmentation": "segmentation",
    "instance_segmentation": "segmentation",
    "segment": "segmentation",
    "pose": "pose",
    "pose_estimation": "pose",
    "keypoint_detection": "pose",
    "obb": "obb",
    "oriented_detection": "obb",
    "classification": "classification",
    "image_classification": "classification",
    "classify": "classification",
}


def task_named(name: str) -> Task:
    """The task of that name, in any of the spellings in use.

    Raises:
        InvalidSetting: for a name nobody uses.
    """
    task = _TASKS.get(name.lower())
    if task is None:
        message = f"{name!r} is no task (known: {', '.join(get_args(Task))}, and what the platform calls them)"
        raise InvalidSetting(message)
    return task


def spellings(task: Task) -> list[str]:
    """All names of the task that are in use."""
    return [name for name, known in _TASKS.items() if known == task]


class Class(msgspec.Struct, frozen=True, array_like=True):
    """What objects are told apart by; `keypoints` names those that its objects have, `skeleton` joins them from 1."""

    name: str
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    supercategory: str = ""


class Mask(msgspec.Struct, array_like=True, gc=False):
    """An image's pixels, in or out: lengths of runs down the columns, the first run out (COCO's RLE)."""

    width: int
    height: int
    counts: list[int]


class Annotation(msgspec.Struct, gc=False):
    """One object, or with a label alone, what the image as a whole shows.

    `number` is its place in the source, counted from 1 and never twice. `polygons` are rings, each x, y, x, y, …; all
    of them are one object. `corners` are the eight numbers of an oriented box. `keypoints` are x, y, visibility (0 not
    labelled, 1 hidden, 2 visible), one after the other. `area` is that of the clean polygons. `crowd`: many
    objects, not told apart.
    """

    number: int
    label: int
    box: Box | None = None
    polygons: list[list[float]] | None = None
    mask: Mask | None = None
    corners: list[float] | None = None
    keypoints: list[float] | None = None
    area: float | None = None
    crowd: bool = False
    id: int | float | str | None = None
    attributes: dict[str, Any] | None = None

    @property
    def known_as(self) -> str:
        """How a report names it."""
        return f"#{self.number}" if self.id is None else str(self.id)


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One image as the source tells of it, before anybody has looked at it.

    `name` is the source's name for it, `/`-separated and safe; `file` where it lies, and `notes` where its annotations
    lie if they have a file of their own, both relative to the source's root. `width` and `height` are 0 where the
    source doesn't say.
    """

    name: str
    file: str
    id: int | float | str | None = None
    width: float = 0
    height: float = 0
    split: str | None = None
    notes: str | None = None


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """Bytes `start` to `end` of one of the source's files: annotations, the first of which is number `first`.

    They belong to images between the entries `low` and `high`, both included, and not to all of them. Where they don't
    lie in one piece, `picked` holds the start, end and number of each, as 64-bit integers of this machine, and `start`
    and `end` are only as far apart as all of them are long.
    """

    file: int
    start: int
    end: int
    first: int
    low: int
    high: int
    picked: bytes = b""


class Index(msgspec.Struct):
    """What a source holds, without the annotations themselves. `details` are the format's own: numbers, text, lists.

    `labels` are the classes present in each entry; empty where nobody has asked for them.
    """

    classes: list[Class]
    entries: list[Entry]
    chunks: list[Chunk] = []
    details: dict[str, Any] = {}
    labels: list[tuple[int, ...]] = []
