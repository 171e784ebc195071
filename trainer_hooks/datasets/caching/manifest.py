"""What an entry of the cache holds, written beside it, and whether it still holds that.

A manifest is lines: the SHA-256 of all that follows, then the entry as a whole, then one file each. So a look at the
first two tells what `cache ls` shows, and a few lines out of a million can be checked without reading the others.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

MANIFEST = "manifest"
FILES = "files"
_CHECKED = 20_000
# More of them would make a hit slow; then their size and time must do.
_HASHED_BYTES = 64 << 20
_DIGEST = 64
_PIECE = 256 << 10
_SECOND = 1_000_000_000
_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EINTR})


class FileRecord(msgspec.Struct, frozen=True):
    """One file: its path below the entry's files, size in bytes, when the store says it was modified, our own time."""

    path: str
    size: int
    modified: float
    mtime_ns: int
    sha256: str


_RECORD = msgspec.json.Decoder(FileRecord)


class About(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as a whole. `room` is what it takes on disk, in bytes; `annotations` are also among the files."""

    key: str
    dataset_id: str
    snapshot_id: str | None
    source: str
    format: str | None
    files: int
    size: int
    room: int
    missing: tuple[str, ...]
    annotations: tuple[FileRecord, ...]
    made: float


class Damage(Exception):
    """The entry isn't what it was when it was made; says in what."""


def write_manifest(folder: Path, about: About, records: Iterable[bytes]) -> None:
    """Write the manifest of the entry in that folder; the records are encoded, each with its newline."""
    digest = hashlib.sha256()
    with (folder / MANIFEST).open("wb") as file:
        file.write(b"0" * _DIGEST + b"\n")
        for line in itertools.chain([msgspec.json.encode(about) + b"\n"], records):
            digest.update(line)
            file.write(line)
        file.seek(0)
        file.write(digest.hexdigest().encode())


def read_about(folder: Path) -> About | None:
    """What the manifest there says of the whole, unchecked; None where it says nothing.

    Raises:
        OSError: if it can't be read for now, or not by this user.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            file.seek(_DIGEST + 1)
            return msgspec.json.decode(file.readline(), type=About)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def check(folder: Path) -> About:
    """The entry in that folder, if its manifest is whole and its files have the size and time that they had.

    Of more than 20,000 files so many are looked at, evenly chosen. Annotation files are also read.

    Raises:
        Damage: says what is wrong.
        OSError: if that can't be told for now, or not by this user.
    """
    with _opened(folder) as content:
        about, start = _about_in(content)
        for record in _all_of(content, start) if about.files <= _CHECKED else _some_of(content, start):
            _check_file(folder, record)
    read = 0
    for record in about.annotations:
        read += record.size
        if read <= _HASHED_BYTES:
            _check_content(folder, record)
    return about


def all_damage(folder: Path) -> Iterator[str]:
    """Everything that is wrong with the entry in that folder, every byte of it read."""
    try:
        with _opened(folder) as content:
            _, start = _about_in(content)
            records = _all_of(content, start)
    except Damage as damage:
        yield str(damage)
        return
    for record in records:
        try:
            _check_file(folder, record)
            _check_content(folder, record)
        except Damage as damage:  # noqa: PERF203 - all of them are wanted
            yield str(damage)
    known = {record.path for record in records}
    yield from (f"{path} is not the dataset's" for path in files_below(folder / FILES) if path not in known)


def files_below(folder: Path) -> Iterator[str]:
    """The paths of all files there, relative to it, in no order."""
    folders = [""]
    while folders:
        above = folders.pop()
        with os.scandir(folder / above) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    folders.append(f"{above}{item.name}/")
                else:
                    yield f"{above}{item.name}"


def record_of(file: Path, path: str, *, modified: float = 0.0) -> FileRecord:
    """Of that file as it is now, to lie at that path."""
    found = file.stat()
    return FileRecord(path, found.st_size, modified, found.st_mtime_ns, sha256_of(file))


def sha256_of(path: Path) -> str:
    """Of the file's content."""
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY)
    try:
        while piece := os.read(handle, _PIECE):
            digest.update(piece)
    finally:
        os.close(handle)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[mmap.mmap]:
    try:
        with (folder / MANIFEST).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
    except ValueError as error:
        raise Damage("its manifest is empty") from error
    except OSError as error:
        raise _as_damage(error, "its manifest") from error


def _about_in(content: mmap.mmap) -> tuple[About, int]:
    """The entry as a whole, and where the records begin."""
    with memoryview(content) as view:
        digest = hashlib.sha256(view[_DIGEST + 1 :]).hexdigest()
    if content[:_DIGEST] != digest.encode():
        raise Damage("its manifest is not as it was written")
    end = content.find(b"\n", _DIGEST + 1) + 1
    try:
        return msgspec.json.decode(content[_DIGEST + 1 : end], type=About), end
    except msgspec.MsgspecError as error:
        message = f"its manifest is of another version: {error}"
        raise Damage(message) from error


def _all_of(content: mmap.mmap, start: int) -> list[FileRecord]:
    with memoryview(content) as view:
        return _RECORD.decode_lines(view[start:])


def _some_of(content: mmap.mmap, start: int) -> Iterator[FileRecord]:
    """Those that lie nearest to evenly spread places of the manifest."""
    length, before = len(content) - start, -1
    for number in range(_CHECKED):
        line = content.rfind(b"\n", 0, start + number * length // _CHECKED) + 1
        if line != before:
            yield _RECORD.decode(content[line : content.find(b"\n", line)])
        before = line


def is_as_recorded(folder: Path, record: FileRecord) -> bool:
    """Whether the file has the size and time that are recorded of it."""
    try:
        _check_file(folder, record)
    except Damage:
        return False
    return True


def _check_file(folder: Path, record: FileRecord) -> None:
    try:
        found = os.stat(f"{folder}/{FILES}/{record.path}", follow_symlinks=False)  # noqa: PTH116 - for speed
    except OSError as error:
        raise _as_damage(error, record.path) from error
    if found.st_size != record.size:
        message = f"{record.path} has {found.st_size} bytes, not {record.size}"
        raise Damage(message)
    if not _is_same_time(found.st_mtime_ns, record.mtime_ns):
        message = f"{record.path} has been written to"
        raise Damage(message)


def _check_content(folder: Path, record: FileRecord) -> None:
    try:
        digest = sha256_of(folder / FILES / record.path)
    except OSError as error:
        raise _as_damage(error, record.path) from error
    if digest != record.sha256:
        message = f"{record.path} has another content than it had"
        raise Damage(message)


def _as_damage(error: OSError, what: str) -> Exception:
    """What it says of the file; the error itself where the trouble is this process's own."""
    return error if error.errno in _OWN_TROUBLE else Damage(f"{what}: {error.strerror}")


def _is_same_time(found: int, expected: int) -> bool:
    # Some file systems keep whole seconds, and show more only until the file is read from the disk again.
    return found == expected or (found % _SECOND == 0 and found // _SECOND == expected // _SECOND)
