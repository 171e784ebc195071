"""What formats of one file per image have in common: folders full of files, what they are called, and their classes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats import Request
from trainer_hooks.datasets.heads import SUFFIXES
from trainer_hooks.datasets.json_arrays import decode_file
from trainer_hooks.datasets.model import BACKGROUND, Class
from trainer_hooks.datasets.naming import safe_name
from trainer_hooks.datasets.report import Reporter
from trainer_hooks.datasets.splitting import split_named
from trainer_hooks.errors import DatasetError

UNWANTED = -2
"""In place of a label: of a class that nobody has asked for."""

# Folders that only say what is in them.
_SAY_NOTHING = frozenset({"images", "data"})
_SPLIT_DEPTH = 2
_ENOUGH = 1 << 16


def walk(root: str, reporter: Reporter, below: str = "") -> dict[str, list[str]]:
    """The names of the files in each folder at and below `below`, in order; folders are relative to the root.

    Links to folders are followed, but for those that lead to where it goes anyway: these are told. What is hidden is
    passed over, and what macOS puts into archives.

    Raises:
        DatasetError: if a folder can't be read, or a name is no text.
    """
    found = {}
    top = f"{root}/{below}" if below else root
    links = _Links(top)
    for folder, folders, files in os.walk(top, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if _is_shown(name, folder) and name != "__MACOSX")
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        if links.lead_here_too(folder):
            reporter.note("told", "a link to a folder that is read anyway", inside)
            folders.clear()
            continue
        found["" if inside == "." else inside] = sorted(name for name in files if _is_shown(name, folder))
    return found


class _Links:
    """Finds where links lead in a circle, or to what has a path of its own."""

    def __init__(self, top: str) -> None:
        self._top = os.path.realpath(top)
        self._seen: set[tuple[int, int]] = set()

    def lead_here_too(self, folder: str) -> bool:
        """Whether the folder is, by a link, one that is gone through under another path."""
        if os.path.islink(folder) and os.path.realpath(folder).startswith(f"{self._top}/"):  # noqa: PTH114 - as all here
            return True
        there = os.stat(folder)  # noqa: PTH116
        key = there.st_dev, there.st_ino
        is_seen = key in self._seen
        self._seen.add(key)
        return is_seen


def _refuse(error: OSError) -> None:
    message = f"{error.filename} can't be read as a folder: {error.strerror}"
    raise DatasetError(message) from error


def _is_shown(name: str, folder: str) -> bool:
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            message = f"{os.fsencode(f'{folder}/{name}')!r}: its name is no UTF-8: rename it"
            raise DatasetError(message) from error
    return not name.startswith(".")


def joined_path(folder: str, name: str) -> str:
    """The name in that folder, which may be the root itself."""
    return f"{folder}/{name}" if folder else name


def is_image(name: str) -> bool:
    """Whether a file of that name is an image that trainers read."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def content_of(path: str) -> bytes:
    """A small file's content, by the system's calls: for each of a million, the layers above them would be felt.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        DatasetError: if it is no file that can be read.
    """
    try:
        # Without blocking: opening a FIFO would wait for who writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return _all_of(handle)
        finally:
            os.close(handle)
    except FileNotFoundError:
        if not os.path.islink(path):  # noqa: PTH114
            raise
        wrong = "it is a link to nothing"
    except (OSError, ValueError) as error:
        wrong = str(error)
    else:
        wrong = "it is no file"
    message = f"{path} can't be read: {wrong}"
    raise DatasetError(message)


def _all_of(handle: int) -> bytes:
    content = os.read(handle, _ENOUGH)
    if len(content) == _ENOUGH:
        pieces = [content]
        while piece := os.read(handle, _ENOUGH):
            pieces.append(piece)
        content = b"".join(pieces)
    return content


class EntryNames:
    """Names of images by where they lie; no two images have the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, file: str, name: str) -> str:
        """The name, or where another image has it, all of the path."""
        if name in self._taken:
            name = file
        self._taken.add(name)
        return safe_name(name, file)


def told_by_path(file: str) -> tuple[str, str | None]:
    """The name of the image at that path, without folders that say nothing of it, and the split that a folder tells."""
    *folders, last = file.split("/")
    split = None
    kept = []
    for depth, folder in enumerate(folders):
        if split is None and depth < _SPLIT_DEPTH and split_named(folder):
            split = split_named(folder)
        elif folder not in _SAY_NOTHING:
            kept.append(folder)
    return "/".join([*kept, last]), split


class _Named(msgspec.Struct):
    name: str
    idx: int | None = None
    id: int | None = None
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


def listed_classes(root: Path, files: Sequence[str]) -> list[Class]:
    """The classes in their order, by the first of these files that is there; none where there is none.

    JSON: a list of names, or of objects with `name`, and `idx` and `keypoints` where there are any; or an object with
    such a list as `classes`, in `class_summary` perhaps; or one of numbers by name, or of names by number. Else text, a
    name a line.

    Raises:
        DatasetError: if it is nothing of the kind.
    """
    for name in files:
        path = root / name
        if path.is_file():
            found = _of_json(decode_file(path, name, Any), name) if path.suffix == ".json" else _of_text(path)
            return [one for name, one in {one.name: one for one in found}.items() if name not in BACKGROUND]
    return []


def _of_text(path: Path) -> list[Class]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    # LabelMe's own files of labels have one for what is to be ignored.
    return [Class(line.strip()) for line in lines if line.strip() and line.strip() != "__ignore__"]


def _of_json(given: Any, shown: str) -> list[Class]:
    if isinstance(given, dict):
        given = given.get("class_summary", given)
    if isinstance(given, dict) and "classes" in given:
        given = given["classes"]
    try:
        if isinstance(given, dict):
            return [Class(name) for name in _by_number(given)]
        if given and isinstance(given[0], str):
            return [Class(name) for name in msgspec.convert(given, list[str])]
        named = msgspec.convert(given, list[_Named])
    except (msgspec.ValidationError, ValueError, TypeError, LookupError) as error:
        message = f"{shown} can't be used: {error}; write a list of the classes' names"
        raise DatasetError(message) from error
    numbers = [one.id if one.idx is None else one.idx for one in named]
    if None not in numbers:
        named = [named[place] for place in sorted(range(len(named)), key=lambda place: numbers[place] or 0)]
    return [Class(one.name, one.keypoints, one.skeleton) for one in named]


def _by_number(given: dict[str, Any]) -> list[str]:
    if all(isinstance(number, int) for number in given.values()):
        return sorted(given, key=lambda name: given[name])
    names = {int(number): msgspec.convert(name, str) for number, name in given.items()}
    return [names[number] for number in sorted(names)]


def numbered(names: Iterable[str], request: Request, *, are_all: bool = True) -> tuple[list[str], dict[str, int]]:
    """The classes of the conversion, and the label of each name that the source has.

    Unless these `are_all` that it will ever have, others may be asked for, too.
    """
    known = [name for name in names if name not in BACKGROUND]
    if are_all:
        request.check_classes(known)
    wanted = list(request.classes) if request.classes is not None else known
    places = {name: place for place, name in enumerate(wanted)}
    return wanted, {name: places.get(name, UNWANTED) for name in known}
