"""The cache of datasets: shared by all jobs of a host, and by hosts that share its disk.

    entries/<key>.<token>/    whole: a manifest, the files (read-only), and the file whose lock says who uses it
    temp/<key>.<host>.<token>/  being made
    locks/<key>               there while somebody makes it
    trash/                    being deleted

An entry appears, and goes, by one rename. A key may have several entries: of a damaged one that is still in use, or
where two hosts can't see each other's locks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trainer_hooks.datasets.caching import eviction
from trainer_hooks.datasets.caching.eviction import DAMAGED, ENTRIES, LOCKS, TRASH
from trainer_hooks.datasets.caching.manifest import FILES, About, Damage, check
from trainer_hooks.datasets.caching.waiting import Waiting
from trainer_hooks.datasets.caching.workplace import FULL, TEMPORARY, Origin, Workplace, open_workplace, usable
from trainer_hooks.datasets.dataset import Dataset
from trainer_hooks.datasets.locks import Lease, new_lease, only_one, take_lease
from trainer_hooks.errors import DatasetError
from trainer_hooks.settings import Settings

_LAYOUT = 1
# Files: a lock, and a workplace with what is in it before it is known how many there will be.
_TO_BEGIN = 16
_GB = 1_000_000_000
_STALLED_AFTER = 600.0
_log = logging.getLogger(__name__)


def key_of(**asked: object) -> str:
    """The key of what these words and numbers say, all of them and nothing else."""
    return hashlib.sha256(msgspec.json.encode({"layout": _LAYOUT, **asked}, order="sorted")).hexdigest()


class Cache:
    """The cache that the settings name; another process is waited for until it shows no life for so many seconds."""

    def __init__(self, settings: Settings, *, stalled_after: float = _STALLED_AFTER) -> None:
        self._root = settings.cache_root
        self._limit = settings.dataset_cache_max_gb * _GB
        self._stalled_after = stalled_after

    def obtain(self, key: str, fill: Callable[[Workplace], Origin]) -> Dataset:
        """The entry of that key; where there is none, or a damaged one, `fill` is to put its files into a workplace.

        One process of the host does so, the others wait for it.

        Raises:
            InvalidSetting: if the cache's directory can't be used.
            DatasetError: if what has just been fetched is damaged again; and what `fill` raises.
            OSError: if there is no room on the disk (ENOSPC), or that of the disk.
        """
        return self._find(key) or self._made(key, fill)

    def reserve(self, size: int, files: int = 0) -> None:
        """See to it that a download of so many bytes and files has room; else datasets not in use go for it.

        Raises:
            OSError: ENOSPC, if it can't have any; then nothing has gone.
        """
        if self._lacking(size, files) == (0, 0):
            return
        eviction.remove_leftovers(self._root, older_than=0)
        bytes_, count = self._lacking(size, files)
        held = eviction.all_held(self._root)
        staying = {entry.path for entry in eviction.in_use(held)}
        unused = [entry for entry in held if entry.path not in staying]
        if bytes_ <= sum(entry.room for entry in unused) and count <= sum(entry.count for entry in unused):
            eviction.make_room(self._root, sum(entry.room for entry in held) - bytes_, files=count)
            bytes_, count = self._lacking(size, files)
        if bytes_ or count:
            message = f"{_shown_size(size)} in {files:,} files are to be fetched; {_shown_size(bytes_)} more are needed"
            raise OSError(errno.ENOSPC, f"{message}, and {count:,} more files" if count else message)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone afterwards: on the disk of the cache, or where that can only be read, elsewhere."""
        try:
            (self._root / TEMPORARY).mkdir(parents=True, exist_ok=True)
            self.reserve(0, _TO_BEGIN)
            folder = tempfile.TemporaryDirectory(prefix="scratch.", dir=self._root / TEMPORARY)
        except OSError as error:
            if error.errno in FULL:
                raise
            folder = tempfile.TemporaryDirectory()  # what is in the cache can be found all the same
        with folder as path, _full_disk_told(self._root):
            lease = new_lease(Path(path))
            try:
                yield Path(path)
            finally:
                lease.release()

    def _find(self, key: str) -> Dataset | None:
        for path in self._entries(key):
            lease = take_lease(path)
            if lease is None:
                continue
            try:
                about = check(path)
            except Damage as damage:
                lease.release()
                _log.warning("the dataset in %s is damaged and is fetched anew: %s", path, damage)
                eviction.quarantine(self._root, path)
                continue
            except OSError as error:
                lease.release()
                _log.warning("the dataset in %s can't be read and is fetched anew: %s", path, error.strerror)
                continue
            lease.note_use()
            return _dataset(path, about, lease)
        return None

    def _made(self, key: str, fill: Callable[[Workplace], Origin]) -> Dataset:
        with _full_disk_told(self._root):
            self._set_up()
        waiting = Waiting(self._root, key, self._stalled_after, lambda: bool(self._entries(key)))
        with contextlib.ExitStack() as stack:
            with usable(self._root):
                is_alone = stack.enter_context(only_one(self._root / LOCKS / key, waiting))
            dataset = self._find(key)  # what the one before has made
            if dataset is not None:
                return dataset
            stack.enter_context(_full_disk_told(self._root))
            with usable(self._root):
                workplace = stack.enter_context(open_workplace(self._root, key, take_over=is_alone))
            dataset = self._filled(key, workplace, fill)
        self._keep_limit(dataset)
        return dataset

    def _set_up(self) -> None:
        with usable(self._root):
            mode = stat.S_IMODE(self._root.stat().st_mode)
            for folder in (self._root / name for name in (ENTRIES, LOCKS, TEMPORARY, TRASH)):
                if not folder.is_dir():
                    folder.mkdir(exist_ok=True)
                    with contextlib.suppress(OSError):
                        folder.chmod(mode)  # a cache that all users may write to
                if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            eviction.remove_leftovers(self._root)
            self.reserve(0, _TO_BEGIN)

    def _filled(self, key: str, workplace: Workplace, fill: Callable[[Workplace], Origin]) -> Dataset:
        try:
            return self._finished(key, workplace, fill(workplace))
        except OSError as error:
            if error.errno in FULL:  # what has come would help the next attempt, but harms all others now
                eviction.to_trash(self._root, workplace.path)
                eviction.empty_trash(self._root)
            elif error.errno in (errno.ENOENT, None) and not workplace.path.exists():
                message = f"{workplace.path} was removed while the dataset was fetched into it: fetch it again"
                raise DatasetError(message) from error
            raise

    def _finished(self, key: str, workplace: Workplace, origin: Origin) -> Dataset:
        entry = self._root / ENTRIES / f"{key}.{secrets.token_hex(4)}"
        about, lease = workplace.finish(origin, entry)
        try:
            check(entry)
        except Damage as damage:
            lease.release()
            eviction.quarantine(self._root, entry)
            message = f"dataset {origin.dataset_id} was damaged as soon as it was fetched: {damage}; check that disk"
            raise DatasetError(message) from damage
        return _dataset(entry, about, lease)

    def _keep_limit(self, dataset: Dataset) -> None:
        try:
            self._shrink(dataset.path.parent)
        except OSError as error:
            _log.warning("the dataset cache %s can't be kept to its limit: %s", self._root, error)

    def _shrink(self, keep: Path) -> None:
        staying = sum(held.room for held in eviction.in_use(eviction.all_held(self._root), keep=keep))
        # Where the limit can't be kept, the others are no help: they keep it among themselves.
        limit = self._limit if staying <= self._limit else staying + self._limit
        eviction.make_room(self._root, limit, keep=keep)
        room = sum(held.room for held in eviction.all_held(self._root))
        if room > self._limit:
            _log.warning(
                "the dataset cache %s takes %s, over its limit of %s (DATASET_CACHE_MAX_GB), %s of it in use",
                self._root,
                _shown_size(room),
                _shown_size(self._limit),
                _shown_size(staying),
            )

    def _entries(self, key: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            names = sorted(name for name in os.listdir(self._root / ENTRIES) if name.startswith(key))  # noqa: PTH208
            paths = (self._root / ENTRIES / name for name in names)
            return [path for path in paths if not (path / DAMAGED).exists()]
        return []

    def _lacking(self, size: int, files: int) -> tuple[int, int]:
        """How many bytes and files there is no room for."""
        disk = os.statvfs(self._root)
        free = disk.f_favail if disk.f_files else files  # some file systems don't count
        return max(0, size - disk.f_bavail * disk.f_frsize), max(0, files - free)


@contextlib.contextmanager
def _full_disk_told(root: Path) -> Iterator[None]:
    """Inside, the error of a full disk gets its mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or error.filename == str(root):
            raise
        message = f"there is no room for the dataset ({error.strerror}): free some, or set DATASET_CACHE_DIR elsewhere"
        raise OSError(error.errno, message, str(root)) from error


def _dataset(entry: Path, about: About, lease: Lease) -> Dataset:
    return Dataset(entry / FILES, about.dataset_id, about.format, about.files, about.size, about.missing, lease)


def _shown_size(size: float) -> str:
    return f"{size / _GB:.3g} GB"
