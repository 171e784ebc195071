"""What can be told of images without Pillow; and of ordinary JPEG and PNG files the size, in a fifth of its time.

There may be millions, and Pillow would take about as long for each as all else that a conversion does with it. Whatever
is out of the ordinary, such as an orientation, is left to Pillow.
"""

from __future__ import annotations

import os
import struct

ENOUGH = 4096
"""How many bytes of a file are to be given; in nearly all, the size stands in these."""

SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".dng",
        ".heic",
        ".heif",
        ".jp2",
        ".jpeg",
        ".jpeg2000",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""Of files that are images, in lower case."""

_START_OF_JPEG, _END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_IN_PNG = struct.Struct(">II")
_CHUNK = struct.Struct(">I4s")
_SEGMENT = struct.Struct(">BBH")
_SIZE_IN_JPEG = struct.Struct(">HH")
# A frame: its size is there. C4, C8 and CC among these are no frames.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# Exif, with an orientation in it perhaps; what has no length; what fills.
_OUT_OF_THE_ORDINARY = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xE1, 0xFF})
_APP2 = 0xE2  # of an MPO, and of colour profiles


def is_jpeg(head: bytes) -> bool:
    """Whether a file that begins so is a JPEG."""
    return head.startswith(_START_OF_JPEG)


def ends_well(handle: int) -> bool:
    """Whether the JPEG ends as one should: Ultralytics writes one anew, in its place, that doesn't."""
    size = os.fstat(handle).st_size
    return os.pread(handle, len(_END_OF_JPEG), max(size - len(_END_OF_JPEG), 0)) == _END_OF_JPEG


def size_in(head: bytes) -> tuple[int, int] | None:
    """Width and height by the beginning of a file; None where Pillow is to look."""
    try:
        if is_jpeg(head):
            return _jpeg(head)
        return _png(head) if head.startswith(_PNG) else None
    except struct.error:  # it goes on behind what was given
        return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    position = 2
    width = height = marker = 0
    # To where the scan starts: an orientation may stand behind the frame, too.
    while marker != _SCAN:
        prefix, marker, length = _SEGMENT.unpack_from(head, position)
        if prefix != 0xFF or marker in _OUT_OF_THE_ORDINARY:  # noqa: PLR2004 - a marker begins so
            return None
        if marker == _APP2 and head[position + 4 : position + 8] == b"MPF\0":
            return None
        if marker in _FRAMES:
            height, width = _SIZE_IN_JPEG.unpack_from(head, position + 5)
        position += 2 + length
    return (width, height) if width and height else None


def _png(head: bytes) -> tuple[int, int] | None:
    width, height = _SIZE_IN_PNG.unpack_from(head, 16)
    position = len(_PNG)
    kind = b""
    while kind != b"IDAT":
        length, kind = _CHUNK.unpack_from(head, position)
        if kind == b"eXIf":
            return None
        position += 12 + length
    return (width, height) if width and height else None
