"""What leaves the cache, and when: by last use, never while it is in use, never more than is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.datasets.caching.manifest import About, read_about
from trainer_hooks.datasets.caching.workplace import is_left, silence, workplaces
from trainer_hooks.datasets.locks import LEASE, alone_with, is_in_use, only_one

ENTRIES = "entries"
LOCKS = "locks"
TRASH = "trash"
DAMAGED = "damaged"
# What a killed process left may be taken over by the next job; after a day it only costs room.
_LEFT_FOR = 86_400.0
_WAIT = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """An entry on disk; `about` is None where it has no manifest, or none that says anything."""

    path: Path
    about: About | None
    last_used: float

    @property
    def key(self) -> str:
        """What it is an entry for."""
        return self.path.name.partition(".")[0]

    @property
    def room(self) -> int:
        """Bytes on disk."""
        return self.about.room if self.about else 0

    @property
    def count(self) -> int:
        """How many files it has on disk."""
        return self.about.files if self.about else 0

    @property
    def is_damaged(self) -> bool:
        """Whether somebody has found it so."""
        return self.about is None or (self.path / DAMAGED).exists()


def all_held(root: Path) -> list[Held]:
    """All entries, the one longest unused first; damaged ones, which nobody will use again, before all others."""
    held = []
    with contextlib.suppress(FileNotFoundError):
        for path in (root / ENTRIES).iterdir():
            with contextlib.suppress(OSError):  # another user's, perhaps
                held.append(Held(path, read_about(path), last_used(path)))
    return sorted(held, key=lambda entry: (not entry.is_damaged, entry.last_used))


def last_used(entry: Path) -> float:
    """When a job last began or ended with it, in seconds since 1970."""
    with contextlib.suppress(OSError):
        return (entry / LEASE).stat().st_mtime
    return 0.0


def in_use(held: Iterable[Held], *, keep: Path | None = None) -> list[Held]:
    """Those that nothing will remove now."""
    return [entry for entry in held if entry.path == keep or is_in_use(entry.path)]


def make_room(root: Path, limit: float, *, files: int = 0, keep: Path | None = None) -> list[Held]:
    """Remove damaged entries, then others until the rest takes no more than `limit` bytes; returns the removed.

    At least so many `files` go.

    Those in use stay, and so does `keep`: then it is less than was asked for, and it is for the caller to say so.
    """
    removed: list[Held] = []
    with _one_at_a_time(root):  # else two would each remove what one was to
        held = all_held(root)
        room = sum(entry.room for entry in held)
        for entry in held:
            if room <= limit and files <= 0 and not entry.is_damaged:
                break
            if entry.path != keep and _throw_away(root, entry.path):
                room -= entry.room
                files -= entry.count
                removed.append(entry)
    empty_trash(root)
    for entry in removed:
        _log.info("dataset %s left the cache", entry.about.dataset_id if entry.about else entry.key)
    return removed


def remove_leftovers(root: Path, *, older_than: float = _LEFT_FOR) -> None:
    """Remove what killed processes have begun and nobody has taken over for so many seconds."""
    for workplace in workplaces(root):
        if is_in_use(workplace) or not is_left(workplace) or silence(workplace) < older_than:
            continue
        key = workplace.name.partition(".")[0]
        with contextlib.suppress(OSError), only_one(root / LOCKS / key, lambda: False) as is_nobodys:
            if is_nobodys:
                to_trash(root, workplace)
    empty_trash(root)


def quarantine(root: Path, entry: Path) -> None:
    """Take care that nobody begins with that entry any more."""
    if not _throw_away(root, entry):
        with contextlib.suppress(OSError):
            (entry / DAMAGED).touch()
    empty_trash(root)


def to_trash(root: Path, folder: Path) -> bool:
    """Take the folder away at one instant; whether that could be done. Deleting it takes longer."""
    trash = root / TRASH
    try:
        trash.mkdir(exist_ok=True)
        folder.rename(trash / secrets.token_hex(8))
    except OSError:
        return False
    return True


def empty_trash(root: Path) -> None:
    """Delete what has been taken away, by this process or by one that was killed over it."""
    with contextlib.suppress(FileNotFoundError):
        for folder in (root / TRASH).iterdir():
            for inner, _, _ in os.walk(folder):
                with contextlib.suppress(OSError):
                    os.chmod(inner, 0o700)  # noqa: PTH101 - read-only directories keep their files
            shutil.rmtree(folder, ignore_errors=True)


def _throw_away(root: Path, entry: Path) -> bool:
    with alone_with(entry) as is_alone:
        return is_alone and to_trash(root, entry)


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    deadline = time.monotonic() + _WAIT
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a full disk has no room for a lock, and is why something is to go
            (root / LOCKS).mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_one(root / LOCKS / "eviction", lambda: time.monotonic() < deadline))
        yield
