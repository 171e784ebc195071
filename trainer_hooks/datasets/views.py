"""The same files in a second place, whole; what is likely to be written to there is never a link to the first."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.datasets.heads import ENOUGH, SUFFIXES, ends_well, is_jpeg
from trainer_hooks.datasets.sharing import Sharing
from trainer_hooks.errors import DatasetError

_THERE = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
_STAGED = re.compile(r"\..+\.[0-9a-f]{16}")
# What is younger may be about to be locked.
_LEFT_AFTER = 60.0  # seconds


def link_tree(source: Path, target: Path) -> None:
    """Make `target` a folder of the same files; there whole, or not at all.

    An empty folder that is there already is filled, and stays the one it was: it may be a mount point.

    Raises:
        DatasetError: if something is there already.
        OSError: as of linking and copying.
    """
    place = target.resolve()
    fills = place.is_dir()
    try:
        if fills:
            _check_empty(place)
        home = place if fills else place.parent
        home.mkdir(parents=True, exist_ok=True)
        with staged(source, home, place.name) as made:
            if fills:
                _check_empty(place)
                for item in os.listdir(made):  # noqa: PTH208 - its name is all
                    (made / item).rename(place / item)
            else:
                made.rename(place)
    except OSError as error:
        if error.errno in _THERE:
            message = f"{target} is there already: remove it, or name another folder for the dataset"
            raise DatasetError(message) from error
        raise


@contextlib.contextmanager
def staged(source: Path, home: Path, name: str) -> Iterator[Path]:
    """The same files in a hidden folder in `home`, to be moved from there; what then is left of it goes.

    So does what killed processes have left of such folders of that `name`.

    Raises:
        OSError: as of linking and copying.
    """
    _remove_leftovers(home, name)
    folder = home / f".{name[:50]}.{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        with _locked(folder):
            _fill(str(source), str(folder), Sharing(f"from {source} to {home}"))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_empty(folder: Path) -> None:
    if any(not _STAGED.fullmatch(name) for name in os.listdir(folder)):  # noqa: PTH208 - as above
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))


def _remove_leftovers(home: Path, name: str) -> None:
    for folder in home.glob(f".{glob.escape(name[:50])}.{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):  # it is in use, or there are no locks to tell by
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _LEFT_AFTER:
                with _locked(folder, unsure=False):
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(folder: Path, *, unsure: bool = True) -> Iterator[None]:
    """Hold the folder's lock; `unsure`, also go on where there are none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(*((OSError,) if unsure else ())):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _fill(source: str, target: str, sharing: Sharing) -> None:
    with os.scandir(source) as found:
        for item in found:
            there = f"{target}/{item.name}"
            if item.is_dir():
                os.mkdir(there)  # noqa: PTH102 - a Path for each of a million files takes longer than linking it
                _fill(item.path, there, sharing)
            else:
                sharing.put(item.path, there, may_link=_may_be_linked(item.path))


def _may_be_linked(path: str) -> bool:
    """Not what is likely to be written to: annotations, and JPEGs that trainers repair."""
    if path[path.rfind(".") :].lower() not in SUFFIXES:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        return not is_jpeg(os.read(handle, ENOUGH)) or ends_well(handle)
    finally:
        os.close(handle)
