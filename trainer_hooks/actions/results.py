"""What an action returns, as JSON holds it: checked before it is told, so that no run ends by a result."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from trainer_hooks.errors import ActionError

_DEEPEST = 50


def plain_result(result: Any) -> dict[str, Any]:
    """The result with paths as texts, numpy's and torch's numbers as Python's, and NaN as "NaN".

    Nothing at all counts as an empty result. What is no Unicode, as in a file's name, is told by its number.

    Raises:
        ActionError: names the place and the type of what JSON can't hold.
    """
    if result is None:
        return {}
    if hasattr(result, "model_dump"):
        result = result.model_dump()
    if not isinstance(result, Mapping):
        message = f"the action returned {type(result).__name__}; return a dict, or nothing"
        raise ActionError(message)
    return _mapping(result, "result", 0)


def _mapping(values: Mapping[Any, Any], place: str, depth: int) -> dict[str, Any]:
    for name in values:
        if not isinstance(name, str):
            message = f"{place} has the key {name!r}, {_kind(name)}; JSON has texts only: use {str(name)!r}"
            raise ActionError(message)
    return {_scalar(name): _plain(value, f"{place}[{name!r}]", depth + 1) for name, value in values.items()}


def _plain(value: Any, place: str, depth: int) -> Any:
    if depth > _DEEPEST:
        message = f"{place} is nested deeper than {_DEEPEST} levels, or holds itself; return less"
        raise ActionError(message)
    if value is None or isinstance(value, (str, bool, int, float)):
        return _scalar(value)
    if isinstance(value, os.PathLike):
        return _scalar(os.fsdecode(value))
    if isinstance(value, Mapping):
        return _mapping(value, place, depth)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{number}]", depth + 1) for number, item in enumerate(value)]
    if hasattr(value, "item") and hasattr(value, "ndim"):
        return _number(value, place)
    raise _not_json(value, place)


def _number(value: Any, place: str) -> Any:
    """A number of numpy's or torch's. An array is none, however many values it happens to have."""
    if value.ndim:
        message = f"{place} is {_kind(value)}, an array; return a list, .tolist(), or a number, .item()"
        raise ActionError(message)
    number = value.item()
    if not isinstance(number, (str, bool, int, float)):
        raise _not_json(value, place)
    return _scalar(number)


def _not_json(value: Any, place: str) -> ActionError:
    message = f"{place} is {_kind(value)}, which JSON can't hold; return a number, a text, a list or a dict"
    return ActionError(message)


def _scalar(value: Any) -> Any:
    # Of the plain type: a subclass, as of an enumeration, may be written otherwise by the next encoder.
    if isinstance(value, str):
        return str.encode(value, "utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return float(value) if isinstance(value, float) else value


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
