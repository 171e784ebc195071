"""LabelMe's files as they are parsed: at once where they are as they should be, else piece by piece."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any, TypeVar

import msgspec

from trainer_hooks.errors import DatasetError


class ShapeHead(msgspec.Struct, gc=False):
    """What an index needs of a shape."""

    label: str
    shape_type: str | None = None
    group_id: int | str | None = None

    @property
    def kind(self) -> str:
        """The type; files of the app's first versions have polygons only, and don't say so."""
        return self.shape_type or "polygon"


class Shape(ShapeHead, gc=False):
    """One shape."""

    points: list[tuple[float, float]] = []
    flags: dict[str, Any] | None = None
    description: str | None = None
    mask: str | None = None


class HeadFile(msgspec.Struct, rename="camel"):
    """What an index needs of a file. In place of a shape that is none stands what is wrong with it."""

    shapes: list[ShapeHead | str]
    image_path: str | None = None
    image_width: float | None = None
    image_height: float | None = None
    split: str | None = None
    flags: dict[str, Any] | None = None


class LabelMeFile(msgspec.Struct):
    """What a conversion needs of a file."""

    shapes: list[Shape | str]
    flags: dict[str, Any] | None = None


_File = TypeVar("_File", HeadFile, LabelMeFile)
_Shape = TypeVar("_Shape", bound=ShapeHead)
_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (HeadFile, LabelMeFile)
}
_SHAPES: dict[type[Any], Any] = {HeadFile: ShapeHead, LabelMeFile: Shape}


def decoded(content: bytes, kind: type[_File], shown: str) -> _File | None:
    """The file; None where it is JSON, but not LabelMe's.

    Raises:
        DatasetError: if it is no JSON.
    """
    try:
        file: _File = _DECODERS[kind].decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _leniently(content, kind, shown)
    return file


def _leniently(content: bytes, kind: type[_File], shown: str) -> _File | None:
    """By the standard library, which takes NaN, too, as LabelMe itself does; what is bad costs no more than itself."""
    try:
        given = json.loads(content.decode("utf-8-sig"))
        # Half a character, which JSON can name and no file can hold, becomes a question mark.
        given = json.loads(json.dumps(given, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        message = f"{shown} is no JSON: {error}"
        raise DatasetError(message) from error
    if not isinstance(given, dict) or not isinstance(given.get("shapes"), list):
        return None
    file = kind([_shape(one, _SHAPES[kind]) for one in given["shapes"]])
    for field in msgspec.structs.fields(kind):
        if field.name != "shapes" and field.encode_name in given:
            with contextlib.suppress(msgspec.ValidationError):
                setattr(file, field.name, msgspec.convert(given[field.encode_name], field.type))
    return file


def _shape(given: Any, kind: type[_Shape]) -> _Shape | str:
    if isinstance(given, dict) and isinstance(given.get("label"), (int, float)):
        given["label"] = str(given["label"])
    try:
        shape = msgspec.convert(given, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        return str(error)
    points = shape.points if isinstance(shape, Shape) else ()
    return shape if all(math.isfinite(x + y) for x, y in points) else "a number in it is not finite"
