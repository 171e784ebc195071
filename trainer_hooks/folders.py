"""Checkpoints that are folders, as one file each: a tar without compression, packed whole or not at all; and back."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.checkpoint_files import DamagedCheckpoint
from trainer_hooks.files import append_file, check_room

SUFFIX = ".tar"
UNPACKED = f"*-{'?' * 12}"
"""What `unpacked_name` gives, as a pattern."""
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)


@dataclass(frozen=True)
class _Entry:
    """A file or folder in the folder, as it was found. `name` is relative; `size` is 0 for a folder."""

    name: str
    is_file: bool
    size: int
    mode: int
    modified: int
    inode: int

    @property
    def header(self) -> bytes:
        """What stands in front of the content."""
        info = tarfile.TarInfo(self.name)
        info.type = tarfile.REGTYPE if self.is_file else tarfile.DIRTYPE
        info.size, info.mode, info.mtime = self.size, self.mode, self.modified // 1_000_000_000
        # GNU's format has no limit of sizes and none of names, and needs no second header for either.
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")

    @property
    def padding(self) -> bytes:
        """What stands behind the content."""
        return bytes(-self.size % _BLOCK)


def size_of(path: str | os.PathLike[str]) -> int:
    """How many bytes the file has, or the folder as one file.

    Raises:
        OSError: as `pack`.
    """
    status = os.stat(path)  # noqa: PTH116 - a Path takes longer, and this is the training's time
    return _packed_size(_entries(Path(path))) if stat.S_ISDIR(status.st_mode) else status.st_size


def last_modified(path: Path) -> float:
    """When the file, or any file in the folder, was written last: in seconds, as of `os.stat`.

    Raises:
        OSError: as `pack`.
    """
    if not path.is_dir():
        return path.stat().st_mtime
    return max(entry.modified for entry in _entries(path) if entry.is_file) / 1e9


def pack(folder: Path, target: Path) -> int:
    """Write the folder's files and folders into the file `target`; returns its size in bytes.

    The target is the caller's own: on an error it is left half-written for the caller to remove.

    Raises:
        OSError: if there is no file in it, or something that is neither a file nor a folder (a link is not followed);
            if anything in it changed meanwhile; if it can't be read, or doesn't fit.
    """
    entries = _entries(folder)
    size = _packed_size(entries)
    with target.open("xb") as writer:
        check_room(size, writer.fileno())
        for entry in entries:
            writer.write(entry.header)
            if entry.is_file and append_file(folder / entry.name, writer) != entry.size:
                raise _rewritten(folder)
            writer.write(entry.padding)
        writer.write(_END)
    if _entries(folder) != entries:
        raise _rewritten(folder)
    return size


def is_packed(file: Path) -> bool:
    """Whether the file looks like what `pack` has written.

    Raises:
        OSError: if it can't be read.
    """
    return tarfile.is_tarfile(file)


def unpack(archive: Path, target: Path) -> None:
    """Make the folder `target` of what `pack` has written: it is there whole, or not at all.

    What is there already stays: another process has put the same there.

    Raises:
        DamagedCheckpoint: if the archive holds what `pack` would not have put into it.
        OSError: if it can't be written.
    """
    if target.is_dir():
        return
    arriving = target.with_name(f".{target.name}.{os.getpid()}.unpacked")
    shutil.rmtree(arriving, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:") as packed:
            packed.extractall(arriving, members=_only_files(packed), filter="data")
        arriving.rename(target)
    except tarfile.TarError as error:
        raise DamagedCheckpoint(str(error)) from error
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def unpacked_name(key: str, sha256: str) -> str:
    """How the folder of such a tar is called on this machine: by what is in it, since it can't be replaced at once."""
    return f"{Path(key).stem}-{sha256[:12]}"


def _only_files(packed: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in packed:
        if member.type not in _TYPES:
            message = f"{member.name!r} is neither a file nor a folder"
            raise DamagedCheckpoint(message)
        yield member


def _entries(folder: Path) -> list[_Entry]:
    """All that is in the folder, each folder before what is in it."""
    found = list(_walk(folder, ""))
    if not any(entry.is_file for entry in found):
        message = f"there is no file in {folder}"
        raise OSError(message)
    return found


def _walk(folder: Path, prefix: str) -> Iterator[_Entry]:
    with os.scandir(folder / prefix) as inside:
        paths = sorted(inside, key=lambda path: path.name)
    for path in paths:
        status = path.stat(follow_symlinks=False)
        name, is_file = f"{prefix}{path.name}", stat.S_ISREG(status.st_mode)
        if not (is_file or stat.S_ISDIR(status.st_mode)):
            message = f"{name!r} in it is neither a file nor a folder"
            raise OSError(message)
        size, mode = status.st_size if is_file else 0, stat.S_IMODE(status.st_mode)
        yield _Entry(name, is_file, size, mode, status.st_mtime_ns, status.st_ino)
        if not is_file:
            yield from _walk(folder, f"{name}/")


def _packed_size(entries: Sequence[_Entry]) -> int:
    return sum(len(entry.header) + entry.size + len(entry.padding) for entry in entries) + len(_END)


def _rewritten(folder: Path) -> OSError:
    message = f"{folder} was rewritten while it was copied"
    return OSError(message)
