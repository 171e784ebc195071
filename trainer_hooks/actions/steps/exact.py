"""Values as JSON, and back as exactly what they were; what JSON would change is refused.

`None`, booleans, numbers, texts, lists, dicts with texts for keys, and paths: of these very types, since a subclass (a
numpy float, an enum) would not come back as itself, nor would a tuple.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

_TAG = "$"
_PATH, _DICT = "$path", "$dict"
_DEEPEST = 50


class NotExact(Exception):
    """The value would not come back as it is; says where in it, and why."""


def encoded(value: Any, where: str) -> Any:
    """The value, as JSON holds it.

    Raises:
        NotExact: if that could not be made into the same value again. `where` is what the value is called.
    """
    return _encoded(value, where, _DEEPEST)


def decoded(value: Any) -> Any:
    """What `encoded` was given."""
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _PATH in value:
        return Path(value[_PATH])
    return {name: decoded(part) for name, part in value.get(_DICT, value).items()}


def _encoded(value: Any, where: str, depth: int) -> Any:
    kind = type(value)
    if depth == 0:
        message = f"{where} is nested too deeply"
        raise NotExact(message)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is type(Path()):
        return {_PATH: str(value)}
    if kind is list:
        return [_encoded(part, f"{where}[{place}]", depth - 1) for place, part in enumerate(value)]
    if kind is dict and all(type(name) is str for name in value):
        parts = {name: _encoded(part, f"{where}[{name!r}]", depth - 1) for name, part in value.items()}
        return {_DICT: parts} if any(name.startswith(_TAG) for name in parts) else parts
    message = f"{where} is {_described(value)}"
    raise NotExact(message)


def _described(value: Any) -> str:
    if type(value) is float:
        return str(value)
    return "a dict with keys that are no texts" if type(value) is dict else f"a {type(value).__qualname__}"
