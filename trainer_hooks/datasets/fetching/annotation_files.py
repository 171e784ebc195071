"""The platform's annotation files: which one is of a task, what a version's hash covers, which images one names."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import get_args

import msgspec

from trainer_hooks.datasets.model import Task, spellings, task_named
from trainer_hooks.errors import DatasetError, InvalidSetting

_ANY_TASK = "annotations.json"
_TASK = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20


class _Image(msgspec.Struct):
    file_name: str


class _StorageInfo(msgspec.Struct):
    image_root: str | None = None


class _Annotations(msgspec.Struct):
    images: list[_Image]
    storage_info: _StorageInfo | None = None


def is_annotation_file(name: str) -> bool:
    """Whether a file of that base name is one, by the platform's rule."""
    return name.startswith("annotations") and name.endswith(".json")


def files_of_task(task: str | None, names: Collection[str], where: str) -> list[str]:
    """Those of the names that hold the task's annotations; of no task in particular, all of them.

    Raises:
        DatasetError: if the task can't be the name of one, or there are annotation files and none is the task's.
    """
    if task is None or not names:
        return sorted(names)
    if not _TASK.fullmatch(task):
        message = f"{task!r} can't be a task: write detection, segmentation, pose, obb or classification"
        raise DatasetError(message)
    sought = (*(f"annotations_{spelling}.json" for spelling in _spellings(task)), _ANY_TASK)
    found = [name for name in sought if name in names][:1]
    if not found:
        message = f"{where} has no annotations for {task!r} (it has: {', '.join(sorted(names))}): name one of these"
        raise DatasetError(message)
    return found


def canonical(task: str | None) -> str | None:
    """Our name of the task; the platform has some that aren't known here."""
    try:
        return None if task is None else task_named(task)
    except InvalidSetting:
        return task


def _spellings(task: str) -> list[str]:
    """All names of the task, ours and the given one first."""
    name = canonical(task)
    others = spellings(task_named(task)) if name != task or task in get_args(Task) else []
    return list(dict.fromkeys([name or task, task, *others]))


def version_hash_of(files: Iterable[Path]) -> str:
    """The SHA-256 over the content of all annotation files, one after the other by their base names."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.name):
        with file.open("rb") as content:
            while piece := content.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def named_images(file: Path, where: str) -> tuple[str | None, list[str]]:
    """The root that the images' names are relative to, where one is told, and the names.

    The annotations themselves are skipped, not kept in memory.

    Raises:
        DatasetError: if that can't be read; `where` is what the message calls the file.
    """
    try:
        with (
            file.open("rb") as content,
            mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            found = msgspec.json.decode(view[len(_BOM) :] if view[:3] == _BOM else view, type=_Annotations)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; mmap's of an empty file, too
        message = f"{where} is no annotation file that names its images: {error}; export it again"
        raise DatasetError(message) from error
    root = found.storage_info.image_root if found.storage_info else None
    return root, [image.file_name for image in found.images]
