"""The records themselves, and how they become annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from trainer_hooks.datasets.model import Annotation, Mask
from trainer_hooks.errors import DatasetError

Id = int | float | str
PER_KEYPOINT = 3
# In the maps of category ids: those of images without objects, and those that nobody has asked for.
BACKGROUND_LABEL, UNWANTED_LABEL = -1, -2
_Joint = Annotated[int, msgspec.Meta(ge=-1, le=10_000)]
_DIGITS_OF_AN_ID = 18
_LARGE = 10**_DIGITS_OF_AN_ID  # what is smaller fits into 64 bits, as between processes


class ImageRecord(msgspec.Struct, gc=False):
    """One of `images`."""

    id: Id | None = None
    file_name: str = ""
    width: float | None = None
    height: float | None = None
    split: str | None = None


class CategoryRecord(msgspec.Struct):
    """One of `categories`."""

    name: str
    id: Id | None = None
    keypoints: list[str] | None = None
    skeleton: list[tuple[_Joint, _Joint]] | None = None
    supercategory: str | None = None


class AnnotationRecord(msgspec.Struct, gc=False):
    """One of `annotations`."""

    image_id: Id | None = None
    id: Id | None = None
    category_id: Id | None = None
    bbox: list[float] | None = None
    segmentation: msgspec.Raw = msgspec.Raw()
    keypoints: list[float | list[float]] | None = None
    iscrowd: bool | int | float | str | None = None
    attributes: Any = None

    def category_keys(self) -> tuple[Id | None, ...]:
        """What may name its category; the first that does counts."""
        return (self.category_id,)


class Head(msgspec.Struct, gc=False):
    """What the index has to know of one of `annotations`."""

    image_id: Id | None = None
    category_id: Id | None = None
    id: Id | None = None
    keypoints: msgspec.Raw = msgspec.Raw()

    def category_keys(self) -> tuple[Id | None, ...]:
        """As those of the whole record."""
        return (self.category_id,)


class _Rle(msgspec.Struct):
    size: tuple[int, int]
    counts: list[int] | str


def plain(given: Id | None) -> Id | None:
    """The id as it can be compared: some files have the same ones as numbers here, and as texts there.

    One of more than 64 bits is a text.
    """
    if isinstance(given, int) and abs(given) >= _LARGE:
        return str(given)
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= _DIGITS_OF_AN_ID:
        number = int(given)
        return number if str(number) == given else given
    return given


def key_of_name(name: str) -> str:
    """What a category's name is as a key among ids, none of which looks so."""
    return f"name\0{name}"


def found_by(key: Id | None, places: Mapping[Id, int]) -> int | None:
    """What stands there under the id, be it a number here and a text there."""
    place = places.get(key)  # type: ignore[arg-type]
    return places.get(plain(key)) if place is None else place  # type: ignore[arg-type]


def label_by(keys: Iterable[Id | None], categories: Mapping[Id, int]) -> int | None:
    """The label of the first key that is a category's."""
    for key in keys:
        label = found_by(key, categories)
        if label is not None:
            return label
    return None


def is_set(given: bool | float | str | None) -> bool:  # noqa: FBT001 - what a file says
    """Whether a mark such as `iscrowd` is set; some files have it as a text."""
    return given.lower() not in ("", "0", "false") if isinstance(given, str) else bool(given)


def has_area(annotation: Annotation) -> bool:
    """Whether it has a box that encloses something."""
    box = annotation.box
    return box is not None and box[0] < box[2] and box[1] < box[3]


def box_of(record: AnnotationRecord, annotation: Annotation) -> str | None:
    """Fill in the box; returns what is wrong with it."""
    if not record.bbox:
        return None
    if len(record.bbox) != 4:  # noqa: PLR2004 - x, y, width, height
        return "its bbox has not four numbers"
    left, top, width, height = record.bbox
    annotation.box = (left, top, left + width, top + height)
    return None


def outline_of(record: AnnotationRecord, annotation: Annotation) -> str | None:
    """Fill in polygons or mask; returns what is wrong with them."""
    raw = memoryview(record.segmentation)
    if not raw:
        return None
    try:
        if raw[0] == ord("{"):
            annotation.mask = _mask(msgspec.json.decode(raw, type=_Rle))
        elif raw[0] == ord("["):
            annotation.polygons = msgspec.json.decode(raw, type=list[list[float]]) or None
    except (msgspec.MsgspecError, RecursionError, DatasetError) as error:
        return f"its segmentation can't be used: {error}"
    return None


def keypoints_of(record: AnnotationRecord, annotation: Annotation) -> str | None:
    """Fill in the keypoints; returns what is wrong with them."""
    points: list[float] = []
    for one in record.keypoints or ():
        points.extend(one) if isinstance(one, list) else points.append(one)
    if len(points) % PER_KEYPOINT:
        return "its keypoints are not x, y, visibility each"
    annotation.keypoints = points or None
    return None


def _mask(rle: _Rle) -> Mask:
    from trainer_hooks.datasets.arrays import checked, counts_of_text

    height, width = rle.size
    counts = counts_of_text(rle.counts) if isinstance(rle.counts, str) else rle.counts
    return checked(Mask(width, height, counts))
