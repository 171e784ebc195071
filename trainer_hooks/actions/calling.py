"""Which action is asked for, and with which parameters: by an argument, else by predecessor A's variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.errors import InvalidAction, InvalidParams
from trainer_hooks.settings.jobs import ActionCall

_STDIN = "-"


def wanted_entrypoint(given: str | None) -> str:
    """The action's name.

    Raises:
        InvalidAction: if none is named.
    """
    named = given or ActionCall.load().entrypoint
    if named is None:
        message = "no action is named: give module:Class, or set SYNAPSE_ACTION_ENTRYPOINT"
        raise InvalidAction(message)
    return named


def wanted_params(file: str | None) -> dict[str, Any]:
    """The parameters in that file, `-` for stdin; by default those of predecessor A's variables, else none.

    Raises:
        InvalidParams: if the file can't be read, or holds no JSON object.
    """
    if file == _STDIN:
        return params_of(sys.stdin.buffer.read(), "stdin")
    call = ActionCall.load()
    if file is None and call.params is not None:
        return params_of(call.params, "SYNAPSE_ACTION_PARAMS")
    named = file or call.params_file
    if named is None:
        return {}
    try:
        return params_of(Path(named).read_bytes(), named)
    except OSError as error:
        message = f"the parameters can't be read from {named}: {error.strerror}"
        raise InvalidParams(message) from error


def params_of(text: str | bytes, place: str) -> dict[str, Any]:
    """The parameters in a text; `place` is where that comes from.

    Raises:
        InvalidParams: if it is no JSON object.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        message = f"the parameters in {place} must be a JSON object: {error}"
        raise InvalidParams(message) from error


def changed(params: Mapping[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """The parameters with those of `name=value` in place of theirs; a value is JSON, or else a text.

    Raises:
        InvalidParams: for what has no name.
    """
    found = dict(params)
    for change in changes:
        name, is_one, value = change.partition("=")
        if not (name and is_one):
            message = f"{change!r} is no change of a parameter; write it as name=value"
            raise InvalidParams(message)
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
