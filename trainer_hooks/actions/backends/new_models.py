"""A model that is to be created: what the caller says of it, and its file, packed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_hooks.actions.archives import Packed, pack
from trainer_hooks.actions.backends.as_json import as_json
from trainer_hooks.errors import BackendError


@dataclass(frozen=True)
class NewModel:
    """`fields` always have a name; the file is there for as long as the block that made this lasts."""

    fields: dict[str, Any]
    packed: Packed


@contextlib.contextmanager
def new_model(request: Mapping[str, Any], file: str | os.PathLike[str] | None) -> Iterator[NewModel]:
    """Take the file out of the request, pack it, and name the model after it where it has no name.

    Raises:
        BackendError: if no file is given, or two; it can't be a model's, or the rest can't be JSON.
        OSError: if it can't be read.
    """
    fields = {str(name): value for name, value in request.items() if name != "file"}
    as_json(fields)  # before hours are spent on sending the file
    path = Path(_only_one(request.get("file"), file))
    _check_name(path.name)
    with pack(path) as packed:
        fields["name"] = str(fields.get("name") or unique(Path(packed.name).stem))
        yield NewModel(fields, packed)


def unique(name: str) -> str:
    """The name with eight hexadecimal digits, as predecessor A has it: the last training's model is called the same."""
    return f"{name}-{secrets.token_hex(4)}"


def _check_name(name: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        message = f"{name!r} is no Unicode text, so that no backend can keep its name: rename it"
        raise BackendError(message)


def _only_one(*files: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    given = [file for file in files if file is not None]
    if len(given) != 1:
        said = "twice" if given else "none"
        message = f"a model needs its file, once, and it is given {said}: create_model({{'name': …}}, file=path)"
        raise BackendError(message)
    return given[0]
