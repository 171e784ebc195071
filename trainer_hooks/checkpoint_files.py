"""Is this checkpoint file complete? Told from its container alone: nothing in the file is ever unpickled or run.

- torch's zip format (and any other zip): the directory at the end is readable and every member's CRC is right.
- safetensors: the header's offsets cover the file, to the byte.
- tar: one header after the other up to the marks of its end, and nothing behind those; a folder is stored as one.
- pickle: ends with the opcode STOP. torch's old format: five whole pickles, then exactly the tensors they name.
- anything else: not empty, and not zeros where a magic number belongs.
"""

from __future__ import annotations

import hashlib
import os
import pickletools
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from trainer_hooks.errors import TrainerHooksError

_CHUNK = 1 << 20
_ZIP_MEMBER = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_SIZE = 22
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
_UTF8_NAME = 0x800
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # the format's own
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
# torch.serialization.MAGIC_NUMBER as a pickle; protocols from 4 on put a frame's length in front.
_LEGACY_TORCH = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
_ELEMENT_SIZES = (1, 2, 4, 8, 16)
_GUESSES_FOLLOWED = 10_000
# Files of these names begin with a magic number; zeros there are blocks that never reached the disk.
_NEVER_ZERO = frozenset({".pt", ".pth", ".ckpt", ".onnx", ".safetensors"})
_HEAD = 32
_OF_TORCH = frozenset({".pt", ".pth", ".bin", ".ckpt", ".safetensors"})
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_TAR_END_SIZE = 2 * tarfile.BLOCKSIZE
_LONGEST_TAR_END = 1 << 20  # programs fill the last record, which users may choose the size of
# What the tar module raises on a damaged archive, as found by flipping and cutting.
_TAR_ERRORS = (tarfile.TarError, ValueError, EOFError, OverflowError)
# What the zip module raises on a damaged archive, as found by flipping and cutting.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OverflowError, RuntimeError)


class DamagedCheckpoint(TrainerHooksError):
    """The file is not a whole checkpoint; the message says what is wrong with it."""


@dataclass(frozen=True)
class WholeFile:
    """A checkpoint file that was read from end to end and is complete. `size` is in bytes, `sha256` in hex."""

    size: int
    sha256: str


def examine(path: Path, suffix: str) -> WholeFile:
    """Read the file once; `suffix` is the one that the host gave it (".pt").

    Raises:
        DamagedCheckpoint: if it isn't complete.
        OSError: if it can't be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        sweep = _Sweep(file)
        head = file.read(_HEAD)
        _refuse_zeros(head, suffix)
        if suffix == ".safetensors" or _is_safetensors(head):
            _check_safetensors(file, size)
        elif head.startswith(_ZIP_MEMBER) or _ends_like_zip(file, size):
            _sweep_zip(sweep, file)
        elif _LEGACY_TORCH.match(head):
            _check_legacy_torch(file, size)
        elif _PICKLE.match(head):
            _check_pickle(file)
        elif suffix == ".tar" or _is_tar(file):
            _check_tar(file, size)
        return sweep.finish()


def examine_folder(folder: Path) -> None:
    """Look at each file in the folder, as far as its head and its end tell whether it is whole.

    Raises:
        DamagedCheckpoint: if one isn't.
        OSError: if one can't be read.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                _check_part(file, path.name)


class _Sweep:
    """Reads a file from start to end exactly once, hashing all of it; others may move the file's position meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the file's end."""
        self._file.seek(self.position)
        piece = self._file.read(size)
        self._digest.update(piece)
        self.position += len(piece)
        return piece

    def pass_over(self, size: int) -> int:
        """Read the next `size` bytes, or fewer at the file's end; returns their CRC-32."""
        crc = 0
        end = self.position + size
        while piece := self.take(min(_CHUNK, end - self.position)):
            crc = zlib.crc32(piece, crc)
        return crc

    def finish(self) -> WholeFile:
        while self.take(_CHUNK):
            pass
        return WholeFile(self.position, self._digest.hexdigest())


def _refuse_zeros(head: bytes, suffix: str) -> None:
    if not head:
        raise DamagedCheckpoint("the file is empty")
    if suffix in _NEVER_ZERO and not head.strip(b"\0"):
        message = f"the file begins with zeros, which no {suffix} file does"
        raise DamagedCheckpoint(message)


def _ends_like_zip(file: BinaryIO, size: int) -> bool:
    """Whether a zip's last record stands at the end, without a comment: that tells a zip whose beginning is damaged."""
    file.seek(max(0, size - _ZIP_END_SIZE))
    end = file.read(_ZIP_END_SIZE)
    return end.startswith(_ZIP_END) and end.endswith(b"\0\0")


def _sweep_zip(sweep: _Sweep, file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            for member in members:
                _sweep_member(sweep, member)
            _decompress(archive, members)
    except _ZIP_ERRORS as error:
        message = f"the zip container is damaged: {error}"
        raise DamagedCheckpoint(message) from error


def _sweep_member(sweep: _Sweep, member: zipfile.ZipInfo) -> None:
    if member.header_offset < sweep.position:
        message = f"{member.filename!r} overlaps the member before it"
        raise zipfile.BadZipFile(message)
    sweep.pass_over(member.header_offset - sweep.position)
    signature, name_size, extra_size = _LOCAL_HEADER.unpack(sweep.take(_LOCAL_HEADER.size))
    name = sweep.take(name_size).decode("utf-8" if member.flag_bits & _UTF8_NAME else "cp437")
    if signature != _ZIP_MEMBER or name != member.orig_filename:
        message = f"where {member.filename!r} should begin is something else"
        raise zipfile.BadZipFile(message)
    sweep.pass_over(extra_size)
    crc = sweep.pass_over(member.compress_size)
    # torch writes 0 where torch.serialization.set_crc32_options(False) has switched the computing off.
    if member.compress_type == zipfile.ZIP_STORED and crc != member.CRC != 0:
        message = f"the CRC of {member.filename!r} is wrong"
        raise zipfile.BadZipFile(message)


def _decompress(archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo]) -> None:
    """Read compressed members to their ends, where the zip module compares the CRC; torch writes none of these."""
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            message = f"{member.filename!r} is compressed by method {member.compress_type}, which no framework writes"
            raise zipfile.BadZipFile(message)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            with archive.open(member) as stream:
                while stream.read(_CHUNK):
                    pass


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int]


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _SAFETENSORS_HEADER_LIMIT


def _check_safetensors(file: IO[bytes], size: int) -> None:
    file.seek(0)
    header_size = int.from_bytes(file.read(8), "little")
    data_size = size - 8 - header_size
    if data_size < 0 or header_size > _SAFETENSORS_HEADER_LIMIT:
        message = f"the safetensors header says it is {header_size} bytes long, in a file of {size}"
        raise DamagedCheckpoint(message)
    try:
        header = msgspec.json.decode(file.read(header_size), type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        tensors = [msgspec.json.decode(raw, type=_Tensor) for raw in header.values()]
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"the safetensors header can't be read: {error}"
        raise DamagedCheckpoint(message) from error
    position = 0
    for begin, end in sorted(tensor.data_offsets for tensor in tensors):
        if begin != position or end < begin:
            message = f"the safetensors header leaves a gap or an overlap at byte {position} of the data"
            raise DamagedCheckpoint(message)
        position = end
    if position != data_size:
        message = f"the safetensors header describes {position} bytes of data, and {data_size} are there"
        raise DamagedCheckpoint(message)


def _check_pickle(file: BinaryIO) -> None:
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b".":  # STOP
        raise DamagedCheckpoint("the pickle has no end")


def _is_tar(file: BinaryIO) -> bool:
    file.seek(_TAR_MAGIC_AT)
    return file.read(len(_TAR_MAGIC)) == _TAR_MAGIC


def _check_tar(file: BinaryIO, size: int) -> None:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                part = archive.extractfile(member) if member.isreg() else None
                if part is not None:
                    _check_part(part, member.name)
            end = archive.offset  # where there is no further header, for whatever reason
    except _TAR_ERRORS as error:
        message = f"the tar is damaged: {error}"
        raise DamagedCheckpoint(message) from error
    if not _is_blank(file, end, size) or size - end < _TAR_END_SIZE:
        message = f"the tar has no end behind its {end} bytes"
        raise DamagedCheckpoint(message)


def _is_blank(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    return end - start <= _LONGEST_TAR_END and not file.read(end - start).strip(b"\0")


def _check_part(file: IO[bytes], name: str) -> None:
    """One file of several: not read to its end, but found torn where its own format shows it there."""
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 - a member's name is no path of this machine's
    if suffix not in _OF_TORCH:
        return
    head, size = file.read(_HEAD), file.seek(0, os.SEEK_END)
    try:
        _refuse_zeros(head, suffix)
        if suffix == ".safetensors":
            _check_safetensors(file, size)
        elif head.startswith(_ZIP_MEMBER):
            zipfile.ZipFile(file).close()
    except (DamagedCheckpoint, *_ZIP_ERRORS) as error:
        message = f"{name} in it is damaged: {error}"
        raise DamagedCheckpoint(message) from error


def _check_legacy_torch(file: BinaryIO, size: int) -> None:
    """Magic number, protocol, system, object and storage keys, a pickle each; then the storages, in the keys' order."""
    file.seek(0)
    try:
        for _ in range(3):
            _operations(file)
        lengths = set(_storage_lengths(_operations(file)))
        count = sum("UNICODE" in name for name, _ in _operations(file))
    except (ValueError, OverflowError, MemoryError) as error:
        message = f"a pickle in the file is damaged: {error}"
        raise DamagedCheckpoint(message) from error
    ends = {file.tell()}
    for _ in range(count):
        ends = {end for start in ends for end in _storage_ends(file, start, lengths) if end <= size}
        if len(ends) > _GUESSES_FOLLOWED:
            return
    if size not in ends:
        raise DamagedCheckpoint("the file does not end where its last tensor does")


def _operations(file: BinaryIO) -> list[tuple[str, object]]:
    """The opcodes of one pickle, and their arguments: read, not carried out."""
    return [(operation.name, argument) for operation, argument, _ in pickletools.genops(file)]


def _storage_lengths(operations: list[tuple[str, object]]) -> Iterator[int]:
    """How many elements the storages have: the last number in each persistent id."""
    length = 0
    for name, argument in operations:
        if isinstance(argument, int) and name.startswith(("BININT", "LONG")) and not name.endswith(("PUT", "GET")):
            length = argument
        elif name == "BINPERSID":
            yield length


def _storage_ends(file: BinaryIO, start: int, lengths: set[int]) -> Iterator[int]:
    """Where the storage at `start` may end. An element's size is told only to who unpickles, so each is a guess."""
    file.seek(start)
    length = int.from_bytes(file.read(8), "little")
    if length in lengths:
        yield from (start + 8 + length * size for size in _ELEMENT_SIZES)
