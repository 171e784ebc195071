"""What a model's file is on its way: a file as it is, a directory as a zip; and out of the zip again, whole."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer_hooks.actions.new_folders import new_folder, temporary_folder
from trainer_hooks.errors import BackendError
from trainer_hooks.files import sync_file

_PIECE = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows: the same files make the same archive
_READABLE = (stat.S_IFREG | 0o644) << 16
_EXECUTABLE = (stat.S_IFREG | 0o755) << 16
_MOST_FILES = 1_000_000


@dataclass(frozen=True)
class Packed:
    """One file and its size in bytes; `name` is what it is to be called. Each checksum is read when it is asked for."""

    file: Path
    name: str
    size: int

    @functools.cached_property
    def sha256(self) -> str:
        """In hexadecimal."""
        return sha256_of(self.file)

    @functools.cached_property
    def md5(self) -> str:
        """In hexadecimal; guards against accidents alone."""
        return _digest_of(self.file, hashlib.md5(usedforsecurity=False))


@contextlib.contextmanager
def pack(path: Path) -> Iterator[Packed]:
    """A file as it is; a directory, all that is in it, as a zip that goes when the block ends.

    Raises:
        BackendError: if it is empty, has a link that leads out of it, or a file in it changes meanwhile.
        OSError: if it can't be read, or there is no room for the zip.
    """
    if not path.is_dir():
        yield _described(path, path.name)
        return
    with temporary_folder() as folder:
        archive = folder / "model.zip"
        _write_zip(path, archive)
        yield _described(archive, f"{path.resolve().name}.zip")


def unpack(archive: Path, folder: Path) -> None:
    """Extract the zip into `folder`, which must not be there: whole, every checksum right, or not at all.

    Raises:
        BackendError: if it is damaged, or has what doesn't belong into a model: a place outside, a link, the same
            place twice, more than the disk has room for.
        OSError: if it can't be written.
    """
    with new_folder(folder.parent) as temporary:
        with _damage_told(archive), zipfile.ZipFile(archive) as opened:
            _check(opened, temporary)
            for member in opened.infolist():
                _extract(opened, member, temporary)
        temporary.rename(folder)


@contextlib.contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    """All that reading a zip has been seen to raise for a damaged one, as the one error that it is."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, EOFError, ValueError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # The way of bz2; the system's own errors have a number.
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> BackendError:
    return BackendError(f"{archive.name} can't be extracted: {error}; it is damaged, or no zip")


def sha256_of(path: Path) -> str:
    """The file's checksum, in hexadecimal."""
    return _digest_of(path, hashlib.sha256())


def _digest_of(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _described(path: Path, name: str) -> Packed:
    size = path.stat().st_size
    if not size:
        message = f"{path} is empty: that is no model"
        raise BackendError(message)
    return Packed(path, name, size)


def _write_zip(folder: Path, archive: Path) -> None:
    root = folder.resolve()
    names = sorted(_files_in(folder, root), key=lambda path: path.relative_to(folder).as_posix())
    if not names:
        message = f"{folder} has no files: that is no model"
        raise BackendError(message)
    before = _state_of(names)
    # Stored: weights don't get smaller, and trying costs minutes.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as opened:
        for path in names:
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            member.external_attr = _EXECUTABLE if os.access(path, os.X_OK) else _READABLE
            with path.open("rb") as source, opened.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _PIECE)
    changed = [path for path, state in _state_of(names).items() if state != before[path]]
    if changed:
        message = f"{changed[0]} changed while {folder} was packed: create the model when it is finished"
        raise BackendError(message)


def _state_of(files: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Size and time; a training that writes on, without a pause between, changes one of them."""
    found = {path: path.stat() for path in files}
    return {path: (one.st_size, one.st_mtime_ns) for path, one in found.items()}


def _files_in(folder: Path, root: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink():
            _check_link(path, root)
        if path.is_dir() and not path.is_symlink():
            yield from _files_in(path, root)
        elif path.is_file():
            yield path
        else:
            message = f"{path} is neither a file nor a folder of the model; remove it, or put a copy in its place"
            raise BackendError(message)


def _check_link(path: Path, root: Path) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        message = f"{path} leads out of the model, to {target}; put a copy in its place"
        raise BackendError(message)


def _check(opened: zipfile.ZipFile, folder: Path) -> None:
    """Refuse, before a byte is written, what could land elsewhere or fill the disk."""
    members = opened.infolist()
    _check_places(members)
    for member in members:
        _check_member(member)
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        message = f"{opened.filename} needs {needed:,} bytes when extracted, and {folder.parent} has {free:,} left"
        raise BackendError(message)


def _check_places(members: Sequence[zipfile.ZipInfo]) -> None:
    # Some file systems don't tell capitals from small letters.
    places = [PurePosixPath(member.filename.casefold()) for member in members]
    if len(members) > _MOST_FILES or len(set(places)) < len(places):
        raise zipfile.BadZipFile("it names a place twice, or too many of them")
    files = {place for place, member in zip(places, members, strict=True) if not member.is_dir()}
    below = next((place for place in places if not files.isdisjoint(place.parents)), None)
    if below is not None:
        message = f"it has '{below}' below what is a file"
        raise zipfile.BadZipFile(message)


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    mode = member.external_attr >> 16
    parts = PurePosixPath(name).parts
    outside = not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]
    if outside or (stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)):
        message = f"it holds {name!r}, which is outside of it or a link"
        raise zipfile.BadZipFile(message)


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    # Never more than the archive's own directory says, by which there is room: reading on checks the CRC.
    with opened.open(member) as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > member.file_size:
                message = f"{member.filename!r} is longer than the archive says"
                raise zipfile.BadZipFile(message)
            file.write(piece)
    if (member.external_attr >> 16) & stat.S_IXUSR:
        target.chmod(target.stat().st_mode | stat.S_IXUSR)
    sync_file(target)
