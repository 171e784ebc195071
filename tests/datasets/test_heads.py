"""Sizes of images are those that Pillow finds, in every kind of JPEG and PNG, whole or damaged."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer_hooks.datasets.heads import ENOUGH, size_in
from trainer_hooks.datasets.pictures import look_at
from trainer_hooks.errors import DatasetError

TURNED = {5, 6, 7, 8}
# Before 13, which Python 3.10 can't have, Pillow aborts the process where this much stands before the picture.
WRITES_ANY_HEAD = int(PIL.__version__.partition(".")[0]) >= 13

# How JPEGs are written, and PNGs.
jpegs = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["RGB", "L", "CMYK"]),
        "progressive": st.booleans(),
        "optimize": st.booleans(),
        "quality": st.sampled_from([1, 50, 95, 100]),
        "restart_marker_blocks": st.sampled_from([0, 1, 4]),
        "comment": st.sampled_from([b"", b"made by hand", b"x" * 5000]),
        "icc_profile": st.sampled_from([b"", b"p" * 300, b"p" * 70_000]),
        "orientation": st.sampled_from([None, None, *range(10)]),
    }
).filter(lambda how: WRITES_ANY_HEAD or len(how["comment"]) < 5000 or len(how["icc_profile"]) < 70_000)
pngs = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
        "compress_level": st.integers(0, 9),
        "icc_profile": st.sampled_from([b"", b"p" * 300, b"p" * 70_000]),
        "orientation": st.sampled_from([None, None, *range(10)]),
    }
)
sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


def written(kind: str, size: tuple[int, int], how: dict[str, Any]) -> bytes:
    """A picture of that size."""
    options = {name: value for name, value in how.items() if name not in ("mode", "orientation") and value}
    if how["orientation"] is not None:
        exif = Image.Exif()
        exif[274] = how["orientation"]
        options["exif"] = exif
    buffer = io.BytesIO()
    Image.new(how["mode"], size).save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(content: bytes) -> tuple[int, int] | None:
    """The upright size; None where Pillow can't tell it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                turned = image.getexif().get(274) in TURNED
                return image.size[::-1] if turned else image.size
    except Exception:  # noqa: BLE001 - of whatever kind
        return None


def by_us(content: bytes) -> tuple[int, int] | None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            return look_at(file.name)[:2]
        except DatasetError:
            return None


@settings(max_examples=80, deadline=None)
@given(size=sizes, how=jpegs)
def test_the_size_of_any_jpeg_is_pillows(size: tuple[int, int], how: dict[str, Any]) -> None:
    content = written("JPEG", size, how)
    assert by_us(content) == by_pillow(content)


@settings(max_examples=80, deadline=None)
@given(size=sizes, how=pngs)
def test_the_size_of_any_png_is_pillows(size: tuple[int, int], how: dict[str, Any]) -> None:
    content = written("PNG", size, how)
    assert by_us(content) == by_pillow(content)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def starts_of_segments(content: bytes) -> list[int]:
    """Where segments begin, to that of the scan."""
    found, position = [], 2
    while content[position + 1] != 0xDA:
        found.append(position)
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return [*found, position]


exif = Image.Exif()
exif[274] = 6
INSERTED = [
    segment(0xE1, exif.tobytes()),  # Pillow writes the bytes with their "Exif\0\0"
    segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
    segment(0xE5, b"x" * 60_000),
    segment(0xEE, b"Adobe\0d\0\0\0\0\1"),
    segment(0xFE, b"comment"),
    segment(0xFE, b""),
    b"\xff",
    b"\xff\xff\xff",
]


def test_a_segment_counts_wherever_it_stands_before_the_scan() -> None:
    plain = written("JPEG", (40, 20), {"mode": "RGB", "orientation": None})
    for at in starts_of_segments(plain):
        for inserted in INSERTED:
            content = plain[:at] + inserted + plain[at:]
            assert by_us(content) == by_pillow(content), (at, inserted[:8])


@settings(max_examples=100, deadline=None)
@given(size=sizes, how=jpegs, place=st.integers(0, 20), inserted=st.sampled_from(INSERTED))
def test_whatever_stands_before_the_scan_of_a_jpeg(
    size: tuple[int, int], how: dict[str, Any], place: int, inserted: bytes
) -> None:
    content = written("JPEG", size, how)
    starts = starts_of_segments(content)
    at = starts[place % len(starts)]
    content = content[:at] + inserted + content[at:]
    assert by_us(content) == by_pillow(content)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), size=sizes, seed=st.integers(0, 2**32))
def test_a_damaged_image_has_the_size_that_pillow_finds_or_none(
    data: st.DataObject, size: tuple[int, int], seed: int
) -> None:
    kind, how = data.draw(st.one_of(st.tuples(st.just("JPEG"), jpegs), st.tuples(st.just("PNG"), pngs)))
    content = bytearray(written(kind, size, how))
    chance = random.Random(seed)
    for _ in range(chance.choice([0, 1, 3])):
        content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
    if chance.random() < 0.5:
        del content[chance.randrange(len(content)) :]
    ours, pillows = by_us(bytes(content)), by_pillow(bytes(content))
    assert ours is None or pillows is None or ours == pillows


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_an_orientation_in_a_png_counts_behind_any_other_chunk() -> None:
    plain = written("PNG", (40, 20), {"mode": "L", "orientation": None})
    at = plain.index(b"IDAT") - 4
    turned = plain[:at] + chunk(b"tEXt", b"a\0" + b"b" * 6000) + chunk(b"eXIf", exif.tobytes()[6:]) + plain[at:]
    assert by_us(turned) == by_pillow(turned) == (20, 40)


def test_ordinary_images_are_told_by_their_heads_alone() -> None:
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB")):
        how = {"mode": mode, "orientation": None}
        assert size_in(written(kind, (50, 30), how)[:ENOUGH]) == (50, 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG, late", "WEBP", "TIFF"])
def test_an_orientation_counts_where_the_readers_of_trainers_heed_it(tmp_path: Path, kind: str) -> None:
    imread = pytest.importorskip("ultralytics.utils.patches").imread
    for orientation in (1, 3, 6, 8):
        how = {"mode": "RGB", "orientation": orientation}
        content = written(kind.partition(",")[0], (40, 24), how)
        if kind == "PNG, late":
            at = content.index(b"eXIf") - 4
            end = at + 12 + int.from_bytes(content[at : at + 4], "big")
            content = content[:at] + content[end:-12] + content[at:end] + content[-12:]
        path = tmp_path / f"{orientation}.{kind[:3].lower()}"
        path.write_bytes(content)
        height, width = imread(str(path)).shape[:2]
        assert look_at(str(path))[:2] == (width, height), orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "MPO"])
def test_the_size_of_any_other_kind_is_as_ultralytics_finds_it(tmp_path: Path, kind: str) -> None:
    check_image = pytest.importorskip("ultralytics.data.utils").check_image
    for orientation in (None, 1, 3, 6, 8):
        options = {}
        if orientation and kind not in ("BMP", "JPEG2000", "WEBP", "TIFF"):  # of the last two, see above
            turn = Image.Exif()
            turn[274] = orientation
            options["exif"] = turn
        if kind == "MPO":
            options |= {"save_all": True, "append_images": [Image.new("RGB", (40, 24))]}
        path = tmp_path / f"{orientation}.{kind.lower()[:4]}"
        Image.new("RGB", (40, 24)).save(path, kind, **options)
        _, (height, width) = check_image(str(path))
        assert look_at(str(path))[:2] == (width, height), orientation
