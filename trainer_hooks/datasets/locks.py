"""Locks between the processes of a host, by flock: the kernel ends them with their holder, however that dies.

On some network file systems flock does nothing, or holds on one host only. So nothing here is what keeps an entry whole
(its rename is); a lock that doesn't hold costs a second download.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer_hooks.files import try_lock

LEASE = "lease"
_POLL = 0.02
_PATIENCE = 10.0
_pause = threading.Event()


class Lease:
    """A share in an entry, which stays as long as one is held: by this process, or by one forked from it.

    It ends with the process, or by `release`; not with the object: a training holds paths, not objects of ours. A copy,
    in this process or another, is no share of its own.
    """

    def __init__(self, handle: int | None) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[type[Lease], tuple[None]]:
        """Of a copy: a handle's number is this object's to close, and in another process any other file's."""
        return Lease, (None,)

    def note_use(self) -> None:
        """Make this the time when the entry was last used."""
        with contextlib.suppress(OSError):  # of another user, or on a disk that can only be read
            os.utime(self._handle or -1)

    def release(self) -> None:
        """Give the share back; a second time does nothing."""
        self.note_use()
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def take_lease(folder: Path) -> Lease | None:
    """A share in the entry in that folder; None where it is gone, or is being removed."""
    path = folder / LEASE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    # Somebody who lists or removes entries has it to himself for a moment.
    deadline = time.monotonic() + _PATIENCE
    while try_lock(handle, fcntl.LOCK_SH) is False:
        if time.monotonic() > deadline:
            os.close(handle)
            return None
        _pause.wait(_POLL)
    if not _is_still(handle, path):
        os.close(handle)
        return None
    return Lease(handle)


def new_lease(folder: Path) -> Lease:
    """A share in a folder of this process's own, that others see it is in use."""
    handle = os.open(folder / LEASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try_lock(handle, fcntl.LOCK_SH)
    return Lease(handle)


@contextlib.contextmanager
def alone_with(folder: Path) -> Iterator[bool]:
    """Whether the entry in that folder is nobody else's: then nobody gets a share in it within the block."""
    path = folder / LEASE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        # Where there are no locks, nobody knows who uses it.
        yield try_lock(handle, fcntl.LOCK_EX) is True and _is_still(handle, path)
    finally:
        os.close(handle)


def is_in_use(folder: Path) -> bool:
    """Whether anybody holds a share in the entry in that folder."""
    for mode in (os.O_RDWR, os.O_RDONLY):  # NFS grants such a lock only to who may write
        with contextlib.suppress(OSError):
            handle = os.open(folder / LEASE, mode | os.O_CLOEXEC)
            break
    else:
        return False
    try:
        return try_lock(handle, fcntl.LOCK_EX) is False
    finally:
        os.close(handle)


@contextlib.contextmanager
def only_one(path: Path, keep_waiting: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock on that file, which is there only while somebody does; `keep_waiting` is asked again and again.

    Yields whether it is held: not where `keep_waiting` has said no, nor where the file system has no locks.
    """
    handle = _open_lock(path)
    try:
        while (got := try_lock(handle, fcntl.LOCK_EX)) is not None:
            if got and _is_still(handle, path):
                break
            if got:  # its last holder has removed the file
                os.close(handle)
                handle = _open_lock(path)
            elif not keep_waiting():
                break
            else:
                _pause.wait(_POLL)
        try:
            yield bool(got)
        finally:
            if got:
                path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _open_lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with contextlib.suppress(OSError):  # it is another user's
        os.fchmod(handle, 0o666)  # whatever the umask, for other users' jobs
    return handle


def _is_still(handle: int, path: Path) -> bool:
    """Whether the file that was opened is the one that lies there: a lock on a removed one excludes nobody."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
