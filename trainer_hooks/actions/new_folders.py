"""Whole folders or none: made beside their place, under a name that nobody reads, and renamed when they are whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.files import try_lock

_PREFIX = ".new-"
_TEMPORARY = "trainer_hooks-model-"
# Between being made and being locked, a folder looks like one whose maker was killed.
_SETTLED_AFTER = 60.0


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent`, which is made if need be, to be renamed within the block; else it vanishes.

    What processes have left there that were killed is removed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent, _PREFIX)
    folder = parent / f"{_PREFIX}{secrets.token_hex(8)}"
    folder.mkdir()
    with _held(folder):
        yield folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder where temporary files go, for this user alone, which vanishes with the block.

    What processes have left there that were killed is removed.
    """
    _remove_leftovers(Path(tempfile.gettempdir()), _TEMPORARY)
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    with _held(folder):
        yield folder


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try_lock(handle, fcntl.LOCK_EX)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_leftovers(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another user's, where many have their temporary files
            if folder.stat().st_mtime < time.time() - _SETTLED_AFTER:
                _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # True alone: where there are no locks, it may well be somebody's.
        if try_lock(handle, fcntl.LOCK_EX) is True:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
