"""Whole files or none: writing into place by rename, and copying as cheaply as the file system can."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_COPY_AT_ONCE = 1 << 30
_BLOCK = 512  # what st_blocks counts in, on every file system
_PIECE = 1 << 20
_LOCK_POLL = 0.01
_TEMPORARY_NAME = re.compile(r"\..+\.[0-9a-f]{16}")


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file's content so that any reader, at any time, sees the old or the new one, whole."""
    with replacing(path) as temporary, open(temporary, "wb", opener=_open_no_link) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it doesn't."""
    # Not tempfile's: those are readable by their owner alone, and what takes its place here is as the umask wants it.
    temporary = path.with_name(f".{path.name[:50]}.{secrets.token_hex(8)}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:  # Ctrl-C, too
        temporary.unlink(missing_ok=True)
        raise


def _open_no_link(path: str, flags: int) -> int:
    """In a folder that others may write to, the name may be a link of theirs by now."""
    return os.open(path, flags | os.O_NOFOLLOW)


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` has left in that folder in processes that were killed.

    For whoever is alone in replacing files there, by a lock: it would take away what another one is about to put into
    place. What can't be removed stays: it only costs room.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY_NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> int:
    """Copy the content, by reference where the file system can, else within the kernel; returns the bytes copied.

    The target is the caller's own: on an error it is left half-written for the caller to remove. What is no regular
    file is refused without waiting for it; what there is no room for, before a byte is written.

    Raises:
        OSError: as of reading, writing or a full disk.
    """
    with open(source, "rb", opener=_open_regular) as reader, target.open("wb") as writer:
        if _reference(reader.fileno(), writer.fileno()):
            return os.fstat(writer.fileno()).st_size
        check_room(_size_on_disk(reader.fileno()), writer.fileno())
        if not (_copy_around_holes(reader.fileno(), writer.fileno()) or _kernel_copy(reader.fileno(), writer.fileno())):
            shutil.copyfileobj(reader, writer, length=1 << 20)
            writer.flush()
        return os.fstat(writer.fileno()).st_size


def append_file(source: Path, target: BinaryIO) -> int:
    """Write the content of a regular file behind what is in `target`; returns its size.

    Not within the kernel, which is slower at it where the one doesn't lie in its blocks as the other does.

    Raises:
        OSError: as `copy_file`.
    """
    before = target.tell()
    with open(source, "rb", opener=_open_regular) as reader:
        shutil.copyfileobj(reader, target, length=_PIECE)
    return target.tell() - before


def clone_file(source: Path, target: Path) -> bool:
    """Make `target` by reference: it shares the blocks on the disk, and no change. Else it isn't there, and False.

    Raises:
        OSError: as of opening them; also if the target is there.
    """
    with open(source, "rb", opener=_open_regular) as reader, target.open("xb") as writer:
        cloned = _reference(reader.fileno(), writer.fileno())
    if not cloned:
        target.unlink()
    return cloned


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[bool]:
    """Hold the lock on that file, which is made if need be; where the file system has no locks, go on without.

    Yields whether it is held.

    Raises:
        TimeoutError: if another process has held it for `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        deadline = time.monotonic() + timeout
        while (held := try_lock(file.fileno(), fcntl.LOCK_EX)) is False:
            if time.monotonic() >= deadline:
                message = f"another process holds {path}"
                raise TimeoutError(message)
            time.sleep(_LOCK_POLL)
        yield held is True


def try_lock(handle: int, kind: int) -> bool | None:
    """Whether flock has given it: `LOCK_EX` or `LOCK_SH`; None where the file system has no locks."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sync_file(path: Path) -> None:
    """Wait until the file's (or directory's) content is on the disk, not just in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_regular(path: str, flags: int) -> int:
    # Else opening a FIFO waits for who writes to it, and reading a device may have no end.
    handle = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "it is no regular file", path)


def check_room(size: int, target: int) -> None:
    """Raise the error of a full disk where so much can't fit: filled first, it would hurt the training's own files."""
    disk = os.fstatvfs(target)
    if size > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size_on_disk(source: int) -> int:
    """The file's size, without its holes."""
    status = os.fstat(source)
    return min(status.st_size, status.st_blocks * _BLOCK)


def _copy_around_holes(source: int, target: int) -> bool:
    """Copy nothing but what isn't a hole, where the file is mostly one; whether it was."""
    status = os.fstat(source)
    # Also below its size are the blocks of compressed files, but not by so much.
    if status.st_blocks * _BLOCK >= status.st_size // 2:
        return False
    try:
        os.fdatasync(source)  # what is yet to get its blocks may look like a hole
    except OSError:
        return False
    for start, end in _extents(source, status.st_size):
        position = start
        while position < end and (piece := os.pread(source, min(_PIECE, end - position), position)):
            position += os.pwrite(target, piece, position)
    os.ftruncate(target, status.st_size)
    return True


def _extents(source: int, size: int) -> Iterator[tuple[int, int]]:
    """From where to where the file holds data; all of it where the file system doesn't tell."""
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


def _reference(source: int, target: int) -> bool:
    # File systems say in many ways that they can't; where the trouble is a real one, the next way of copying meets it.
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _kernel_copy(source: int, target: int) -> bool:
    copy_range = getattr(os, "copy_file_range", None)
    if copy_range is None:
        return False
    copied = 0
    try:
        while step := copy_range(source, target, _COPY_AT_ONCE):
            copied += step
    except OSError:
        if copied == 0:  # as above
            return False
        raise
    # Some file systems (procfs, a few FUSE ones) answer 0 for a file that isn't empty: read it the ordinary way then.
    return copied > 0
