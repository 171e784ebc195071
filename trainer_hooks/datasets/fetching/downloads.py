"""Many objects into one folder: in parallel, each whole, its size compared and its checksum taken."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from trainer_hooks.datasets.caching.manifest import FileRecord, record_of
from trainer_hooks.datasets.fetching.crew import THREADS, with_retries, work_through
from trainer_hooks.errors import DatasetError, ObjectMissing, StorageRefused
from trainer_hooks.storage import Storage, StoredObject

Progress = Callable[[int, int], None]

# A listing tells of 1,000 objects in the time of one question for one of them.
_LISTED_AT_LEAST = 10_000
_LISTED_FOR_ONE = 20
_READ_ONLY = 0o444
# Larger ones are for the storage to divide; and so many threads have so much in memory each.
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object, as the store told of it, and where in the folder its file goes."""

    storage: Storage
    key: str
    path: str
    size: int
    modified: float


class Download:
    """The download of many objects; `progress` is called with how many files and bytes have come, in `run`'s thread."""

    def __init__(self, folder: Path, keep: Callable[[FileRecord], None], progress: Progress | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._progress = progress
        self._lock = threading.Lock()
        self._made: set[str] = set()
        self._files = self._bytes = 0

    def run(self, wanted: Iterable[Wanted], *, threads: int = THREADS) -> None:
        """Download them all; each is given to `keep` when it has come whole, read-only, from one of the threads.

        Raises:
            DatasetError: if an object is another one by now than it was when it was listed, or gone.
            StorageError: as of `Storage.get`, when several attempts have failed.
            OSError: as of writing the files.
        """
        work_through(wanted, self._fetch, threads=threads, tick=self._tell)
        self._tell()

    def _fetch(self, one: Wanted, stopped: threading.Event) -> None:
        target = self._folder / one.path
        self._make_folder(target.parent)
        get = _at_once if one.size <= _SMALL else _by_the_storage
        try:
            record = with_retries(lambda: get(one, target), stopped)
        except ObjectMissing as error:
            message = f"{one.storage.uri(one.key)} was removed while the dataset was fetched; fetch it again"
            raise DatasetError(message) from error
        self._keep(record)
        with self._lock:
            self._files += 1
            self._bytes += one.size

    def _make_folder(self, folder: Path) -> None:
        name = str(folder)
        if name not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made.add(name)

    def _tell(self) -> None:
        if self._progress is not None:
            with self._lock:
                done = self._files, self._bytes
            self._progress(*done)


def _at_once(one: Wanted, target: Path) -> FileRecord:
    """Through memory. What a kill leaves half-written is in nobody's records, so it needs no second name."""
    content = one.storage.read(one.key)
    _check_size(one, len(content))
    handle = _created(target)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        os.fchmod(handle, _READ_ONLY)
    finally:
        os.close(handle)
    time = target.stat().st_mtime_ns  # now that it is closed: network file systems set it then
    return FileRecord(one.path, one.size, one.modified, time, hashlib.sha256(content).hexdigest())


def _by_the_storage(one: Wanted, target: Path) -> FileRecord:
    _check_size(one, one.storage.get(one.key, target).size)
    target.chmod(_READ_ONLY)
    return record_of(target, one.path, modified=one.modified)


def _check_size(one: Wanted, size: int) -> None:
    if size != one.size:
        message = (
            f"{one.storage.uri(one.key)} has {size} bytes, and had {one.size} when it was listed: the dataset was "
            "changed while it was fetched; fetch it again"
        )
        raise DatasetError(message)


def _created(target: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(target, flags, 0o600)
    except FileExistsError:  # of an attempt that was cut off
        target.unlink()
        return os.open(target, flags, 0o600)


def find_objects(storage: Storage, keys: Collection[str]) -> dict[str, StoredObject]:
    """Those of the keys that there is an object for, with what the store says of it.

    By listing where they lie together; one by one where there is far more beside them.

    Raises:
        StorageError: as of `Storage.list` and `Storage.stat`, when several attempts have failed.
    """
    sought = keys if isinstance(keys, (set, frozenset, dict)) else set(keys)
    if not sought:
        return {}
    try:
        found = with_retries(lambda: _listed(storage, sought))
    except StorageRefused:  # who may read objects needn't be allowed to list all that lies there
        found = None
    return _asked_for(storage, sought) if found is None else found


def list_objects(storage: Storage, prefix: str) -> Sequence[StoredObject]:
    """All objects below that prefix.

    Raises:
        StorageError: as of `Storage.list`, when several attempts have failed.
    """
    return with_retries(lambda: list(storage.list(prefix)))


def _listed(storage: Storage, sought: Collection[str]) -> dict[str, StoredObject] | None:
    """None where the listing is too long for what is sought."""
    found = {}
    limit = max(_LISTED_AT_LEAST, _LISTED_FOR_ONE * len(sought))
    beginning = commonprefix(list(sought))  # noqa: RUF071 - of keys, whose listing goes by characters
    for number, stored in enumerate(storage.list(beginning)):
        if number >= limit:
            return None
        if stored.key in sought:
            found[stored.key] = stored
    return found


def _asked_for(storage: Storage, sought: Collection[str]) -> dict[str, StoredObject]:
    found = {}

    def ask(key: str, stopped: threading.Event) -> None:
        with contextlib.suppress(ObjectMissing):
            found[key] = with_retries(lambda: storage.stat(key), stopped)

    work_through(sought, ask)
    return found
