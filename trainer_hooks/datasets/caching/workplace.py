"""Where an entry of the cache is put together, out of sight, to be renamed whole when it is finished.

It is `temp/<key>.<host>.<token>/`. Each file that has come whole has its line in a journal. What a killed process
leaves is taken over by the next one that fetches the same: by a rename, which only one can win.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from trainer_hooks.datasets.caching.manifest import (
    FILES,
    About,
    FileRecord,
    files_below,
    is_as_recorded,
    write_manifest,
)
from trainer_hooks.datasets.locks import LEASE, Lease, take_lease
from trainer_hooks.errors import DatasetError, InvalidSetting
from trainer_hooks.files import sync_file, write_whole

TEMPORARY = "temp"
_JOURNAL = "journal"
_ALIVE = "alive"
# Whether another host still works on what it has begun, no lock tells here; so long without a sign of life, it doesn't.
_SILENCE = 600.0
_SHOWN_EVERY = 30.0
# No single step takes longer, be it planning, one file, or waiting for the disk: what does, hangs.
_LONGEST_STEP = 7200.0
_BLOCK = 4096
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Planned(Protocol):
    """A file that is wanted: where, of what size in bytes, and when the store says that its object was modified."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def modified(self) -> float: ...  # noqa: D102


P = TypeVar("P", bound=Planned)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is fetched; `missing` are the images that were named and aren't there."""

    dataset_id: str
    snapshot_id: str | None
    source: str
    format: str | None
    missing: tuple[str, ...] = ()


class Workplace:
    """One entry in the making, of which `count` files have come whole. `keep` may be called from any thread."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.files = path / FILES
        self.scratch = path / "scratch"
        self._key = key
        self._journal: int | None = None
        self._keeping = threading.Lock()
        self.count = self._size = self._room = 0
        self._annotations: list[FileRecord] = []

    def resume(self, wanted: Sequence[P]) -> list[P]:
        """Those of the wanted that aren't here, whole and of the same object, from an attempt that was cut off.

        All else that lies here is removed. Call it once, before the first `keep`.
        """
        for folder, _, _ in os.walk(self.files):
            os.chmod(folder, 0o755)  # noqa: S103, PTH101 - it may have been cut off in `finish`
        found = {record.path: record for record in self._recorded() if is_as_recorded(self.path, record)}
        here = {one.path: found[one.path] for one in wanted if one.path in found and _is_of(found[one.path], one)}
        for path in files_below(self.files):
            if path not in here:
                (self.files / path).unlink()
        journal = self.path / _JOURNAL
        write_whole(journal, b"".join(_line(record) for record in here.values()))
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        for record in here.values():
            self._add(record)
        return [one for one in wanted if one.path not in here]

    def keep(self, record: FileRecord) -> None:
        """This file has come whole, and nobody writes to it any more."""
        with self._keeping:
            if self._journal is None:
                raise RuntimeError("resume has not been called")
            os.write(self._journal, _line(record))  # not kept in memory: a kill must not lose it
            self._add(record)

    def take(self, file: Path, record: FileRecord) -> None:
        """Move a file in, under the record's path."""
        target = self.files / record.path
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        self.keep(record)

    def show_life(self) -> None:
        """Say to those who wait for this entry that it is being worked on."""
        with contextlib.suppress(OSError):
            os.utime(self.path / _JOURNAL)

    def finish(self, origin: Origin, entry: Path) -> tuple[About, Lease]:
        """Make this the entry at that path, whole and on the disk; with a share in it, taken before others see it.

        Raises:
            DatasetError: if there is no file.
        """
        about = self._about(origin)
        self._close()
        with (self.path / _JOURNAL).open("rb") as journal:
            write_manifest(self.path, about, journal)
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder, _, _ in os.walk(self.files):
            os.chmod(folder, 0o555)  # noqa: S103, PTH101 - for every job of this host to read
        _make_shared(self.path / LEASE)
        lease = take_lease(self.path)
        if lease is None:
            message = f"{self.path} was removed while it was made"
            raise OSError(message)
        _sync_file_system(self.path)
        self.path.rename(entry)
        sync_file(entry.parent)
        for name in (_JOURNAL, _ALIVE):
            (entry / name).unlink(missing_ok=True)
        return about, lease

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            os.close(journal)

    def _about(self, origin: Origin) -> About:
        if not self.count:
            message = f"there is no file in {origin.source}: check the dataset's id and the address"
            raise DatasetError(message)
        return About(
            key=self._key,
            dataset_id=origin.dataset_id,
            snapshot_id=origin.snapshot_id,
            source=origin.source,
            format=origin.format,
            files=self.count,
            size=self._size,
            room=self._room,
            missing=origin.missing,
            annotations=tuple(self._annotations),
            made=time.time(),
        )

    def _add(self, record: FileRecord) -> None:
        self.count += 1
        self._size += record.size
        self._room += room_of(record.size)
        if _holds_annotations(record.path):
            self._annotations.append(record)

    def _recorded(self) -> Iterator[FileRecord]:
        with contextlib.suppress(FileNotFoundError), (self.path / _JOURNAL).open("rb") as journal:
            for line in journal:
                with contextlib.suppress(msgspec.MsgspecError):  # cut off with its writer
                    yield msgspec.json.decode(line, type=FileRecord)


@contextlib.contextmanager
def usable(root: Path) -> Iterator[None]:
    """Inside, what is wrong with the cache's directory is said as InvalidSetting; it is made if need be."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        what = f" ({error.filename})" if error.filename not in (None, str(root)) else ""
        message = f"DATASET_CACHE_DIR names {str(root)!r}, which can't be used: {error.strerror}{what}; name another"
        raise InvalidSetting(message) from error


@contextlib.contextmanager
def open_workplace(root: Path, key: str, *, take_over: bool) -> Iterator[Workplace]:
    """A workplace for that key, of this process alone; with `take_over`, what another attempt has left, if any did.

    For `take_over` the caller must hold the lock of the key. After an error it stays, for the next attempt.
    """
    # Of which host it is, is told by its name: a kill can't part the two. Without the lock it is told by none, for then
    # nobody can tell by the lock that this process is gone.
    path = root / TEMPORARY / f"{key}.{this_host() if take_over else 'unlocked'}.{secrets.token_hex(8)}"
    left = (path for path in workplaces(root, key) if is_left(path)) if take_over else ()
    any(_renamed(before, path) for before in left)
    (path / FILES).mkdir(parents=True, exist_ok=True)  # one that was killed at once has left none
    (path / _ALIVE).touch()
    workplace = Workplace(path, key)
    over = threading.Event()
    threading.Thread(target=_show_life, args=(workplace, over), name="dataset", daemon=True).start()
    try:
        yield workplace
    finally:
        over.set()
        workplace._close()  # noqa: SLF001 - of this module


def _show_life(workplace: Workplace, over: threading.Event) -> None:
    """What is planned or finished brings no file for minutes; those who wait are to see that it goes on."""
    count, since = workplace.count, time.monotonic()
    while not over.wait(_SHOWN_EVERY):
        if workplace.count != count:
            count, since = workplace.count, time.monotonic()
        if time.monotonic() - since < _LONGEST_STEP:
            with contextlib.suppress(OSError):  # renamed, and about to be over
                os.utime(workplace.path / _ALIVE)


def workplaces(root: Path, key: str | None = None) -> list[Path]:
    """All workplaces there, or those of one key."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in (root / TEMPORARY).iterdir() if key in (None, path.name.partition(".")[0]))
    return []


def is_left(workplace: Path) -> bool:
    """Whether nobody is at work there any more, if nobody holds the lock of its key on this host."""
    return f".{this_host()}." in workplace.name or silence(workplace) > _SILENCE


def silence(workplace: Path) -> float:
    """Seconds since somebody was at work there, by the disk's own clock: that of another host may be another one."""
    try:
        with tempfile.TemporaryFile(dir=workplace.parent) as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:
        now = time.time()
    return abs(now - last_sign_of_life(workplace))  # a clock that was set back counts as well


def last_sign_of_life(workplace: Path) -> float:
    """When somebody was at work there, in seconds since 1970; 0 where nothing tells."""
    times = [0.0]
    for path in (workplace / _JOURNAL, workplace / _ALIVE):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    with contextlib.suppress(OSError):
        if len(times) == 1:
            times.append(workplace.stat().st_mtime)
    return max(times)


def files_so_far(workplace: Path) -> int:
    """How many files have come whole."""
    with contextlib.suppress(OSError):
        return (workplace / _JOURNAL).read_bytes().count(b"\n")
    return 0


def _holds_annotations(path: str) -> bool:
    """Whether that is the path of a file with the annotations of many images."""
    above, _, name = path.rpartition("/")
    return name.endswith(".json") and (above == "annotations" or (not above and name.startswith("annotations")))


def room_of(size: int) -> int:
    """What a file of that size takes on a disk."""
    return -(-size // _BLOCK) * _BLOCK


def _is_of(record: FileRecord, one: Planned) -> bool:
    return (record.size, record.modified) == (one.size, one.modified)


def _line(record: FileRecord) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def _renamed(before: Path, after: Path) -> bool:
    try:
        before.rename(after)
    except OSError:
        return False
    return True


@functools.cache
def this_host() -> str:
    """Which kernel this is: the one that knows who holds a lock, in whatever container."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = os.uname().nodename
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _make_shared(path: Path) -> None:
    path.touch()
    with contextlib.suppress(OSError):
        path.chmod(0o666)  # other users' jobs note there when they last used the entry


def _sync_file_system(path: Path) -> None:
    """Wait until all that was written is on the disk: at once, for a call per file would take minutes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(handle)
