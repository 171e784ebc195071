"""Puts a dataset's files into a folder of the job's, file by file, and takes away what an earlier one had put there.

`.fetched` lists what is the dataset's. All else in the folder is somebody's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from trainer_hooks.datasets import Dataset
from trainer_hooks.datasets.caching.manifest import files_below
from trainer_hooks.datasets.views import staged
from trainer_hooks.errors import DatasetError
from trainer_hooks.files import locked, write_whole

_FETCHED = ".fetched"
_LOCK = ".fetched.lock"
_PATIENCE = 3600.0
_UNFINISHED = ""


def place(dataset: Dataset, folder: Path, *, alone: bool = False) -> str:
    """The dataset's files in that folder, in place of files of their names; `alone`, of all that is there.

    Behind a link nothing is removed but what a dataset before had put there.

    Raises:
        DatasetError: if a folder is where one of the files is to be.
        TimeoutError, OSError: if another process has been at it for an hour; as of linking and copying.
    """
    home = folder.resolve()  # in it, and never beside it: it may be a mount point
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / _LOCK, _PATIENCE):
        fetched, before = _marked(home)
        if fetched == str(dataset.path) and all(os.path.isfile(f"{home}/{name}") for name in before):  # noqa: PTH113 - for speed
            return str(folder)
        with staged(dataset.path, home, _FETCHED) as beside:
            if alone and not folder.is_symlink():
                _empty(home, {_FETCHED, _LOCK, beside.name})
            names = set(files_below(beside))
            _mark(home, _UNFINISHED, names | before)  # for the next one, if this one is killed
            _remove(home, before - names)
            _move(str(beside), str(home))
        _mark(home, str(dataset.path), names)
    return str(folder)


def _marked(home: Path) -> tuple[str, set[str]]:
    """Which dataset is there, and its files."""
    try:
        fetched, *names = (home / _FETCHED).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return _UNFINISHED, set()
    return (fetched if names else _UNFINISHED), set(names)


def _mark(home: Path, fetched: str, names: Iterable[str]) -> None:
    write_whole(home / _FETCHED, "\n".join([fetched, *sorted(names)]).encode())


def _empty(home: Path, kept: set[str]) -> None:
    for item in [item for item in home.iterdir() if item.name not in kept]:
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _remove(home: Path, names: Iterable[str]) -> None:
    """Those files, and the folders that are empty without them."""
    by_folder: dict[str, list[str]] = {}
    for path in names:
        name, _, file = path.rpartition("/")
        by_folder.setdefault(name, []).append(file)
    for name, files in by_folder.items():
        folder = home / name
        if folder.resolve() == folder and folder.is_dir():  # else something has taken its place that isn't ours
            for file in files:
                (folder / file).unlink(missing_ok=True)
            _remove_empty(folder, home)


def _remove_empty(folder: Path, home: Path) -> None:
    """The folder and those above it, below `home`, as far as nothing is in them."""
    while folder != home and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _move(source: str, target: str) -> None:
    """What lies in `source` into `target`: a folder that isn't there as a whole, a file over one of its name."""
    with os.scandir(source) as found:
        for item in list(found):
            there = f"{target}/{item.name}"
            is_folder_there = os.path.isdir(there) and not os.path.islink(there)  # noqa: PTH112, PTH114 - for speed
            if item.is_dir() and is_folder_there:
                _move(item.path, there)
            elif is_folder_there:
                message = f"{there} is a folder, and the dataset has a file of that name: move the folder away"
                raise DatasetError(message)
            else:
                _put(item, there)


def _put(item: os.DirEntry[str], there: str) -> None:
    if item.is_dir():
        Path(there).unlink(missing_ok=True)
    os.replace(item.path, there)  # noqa: PTH105 - for speed
