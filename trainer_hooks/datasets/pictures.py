"""Images as a trainer sees them before it decodes them. The one file that knows Pillow."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import warnings
from collections.abc import Sequence
from typing import IO, NamedTuple

from trainer_hooks.datasets.heads import ENOUGH, ends_well, is_jpeg, size_in
from trainer_hooks.errors import DatasetError, MissingPackage

try:
    from PIL import Image
except ImportError as error:
    _missing = 'datasets need Pillow: pip install "trainer-hooks[datasets]"'
    raise MissingPackage(_missing) from error

# As Pillow calls what trainers take; whatever else a file with one of these suffixes may hold, they refuse.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIF")
_ORIENTATION = 274
_ON_THEIR_SIDE = frozenset({5, 6, 7, 8})
# Of these OpenCV, with which trainers read, heeds the orientation in every version; of those, in later ones.
_TURNED_BY_READERS = frozenset({"JPEG", "MPO", "PNG", "AVIF"})
_TURNED_BY_SOME = frozenset({"WEBP", "TIFF"})
_MOST_PIXELS = 178_956_970  # from where on Pillow, too, takes an image for an attack
# What Pillow's readers raise where a file isn't what it seems.
_OF_READERS = (
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_NOT_MINE = (SyntaxError, IndexError, TypeError, struct.error)


class Picture(NamedTuple):
    """Width and height in pixels as a trainer sees it, upright; and whether its file is whole.

    Ultralytics writes a JPEG anew, in its place, that doesn't end as one should.
    """

    width: int
    height: int
    is_whole: bool


def look_at(path: str) -> Picture:
    """Read the image's head.

    Raises:
        DatasetError: if it is no image that can be read, or too large to be decoded.
        FileNotFoundError: if there is none.
    """
    try:
        # Without blocking: opening a FIFO would wait for who writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"{path} can't be opened: {error.strerror}"
        raise DatasetError(message) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            message = f"{path} is no file"
            raise DatasetError(message)
        head = os.pread(handle, ENOUGH, 0)
        size = size_in(head)
        if size is not None and size[0] * size[1] < _MOST_PIXELS:
            if is_jpeg(head):
                return Picture(*size, ends_well(handle))
            if b"eXIf" not in _tail(handle):  # where some tools write an orientation
                return Picture(*size, is_whole=True)
        return _look_closely(path, handle)
    finally:
        os.close(handle)


def _look_closely(path: str, handle: int) -> Picture:
    try:
        with os.fdopen(os.dup(handle), "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged Exif
            with _opened(file) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    message = f"{path} says that it has {width} x {height} pixels, more than are ever decoded"
                    raise DatasetError(message)
                if _lies(image) and _is_turned(image, file):
                    width, height = height, width
                is_one = image.format in ("JPEG", "MPO")
            return Picture(width, height, not is_one or ends_well(handle))
    except _OF_READERS as error:
        message = f"{path} can't be read as an image: {error}"
        raise DatasetError(message) from error


def _opened(file: IO[bytes], formats: Sequence[str] = _FORMATS) -> Image.Image:
    """The image, by Pillow's own readers of what trainers take.

    Not by `Image.open`: Ultralytics puts another in its place, which installs packages where an image can't be read.
    """
    Image.init()
    beginning = file.read(16)
    for name in formats:
        reader, accepts = Image.OPEN.get(name, (None, None))
        accepted = accepts is None or accepts(beginning)
        if reader is not None and accepted and not isinstance(accepted, str):  # a text tells what is missing
            file.seek(0)
            with contextlib.suppress(*_NOT_MINE):
                return reader(file, "")
    message = f"it is no {', '.join(formats)}"
    raise OSError(message)


def _lies(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE


def _is_turned(image: Image.Image, file: IO[bytes]) -> bool:
    if image.format not in _TURNED_BY_SOME:
        return image.format in _TURNED_BY_READERS
    from trainer_hooks.datasets.arrays import opencv_size

    file.seek(0)
    return opencv_size(file.read()) == (image.height, image.width)


def _tail(handle: int) -> bytes:
    return os.pread(handle, ENOUGH, max(os.fstat(handle).st_size - ENOUGH, 0))


def pixels_in(png: bytes, size: tuple[int, int]) -> bytes:
    """A mask's pixels, a byte each, row by row: 0 is out.

    Raises:
        DatasetError: if it is no PNG of that width and height.
    """
    try:
        with _opened(io.BytesIO(png), ["PNG"]) as image:
            if image.size != size:
                message = f"its mask has {image.width} x {image.height} pixels, its box {size[0]} x {size[1]}"
                raise DatasetError(message)
            pixels: bytes = image.convert("L").tobytes()
    except _OF_READERS as error:
        message = f"its mask is no PNG: {error}"
        raise DatasetError(message) from error
    return pixels


def png_of(pixels: bytes, size: tuple[int, int]) -> bytes:
    """The PNG that `pixels_in` reads."""
    file = io.BytesIO()
    Image.frombytes("L", size, pixels).save(file, "PNG")
    return file.getvalue()
