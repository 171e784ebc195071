"""Records of a bounded size: what is too long in an event is cut, so that the rest of it can be told.

What a run is told passes `redact` and `metrics`, which bound each part by itself; this is for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

# The longest text, and the most items of a list or a mapping: of both as much is kept as fits.
_STEPS = tuple((max(64_000 >> step, 200), 50_000 >> step) for step in range(16))


def fitted(event: msgspec.Struct, encode: Callable[[Any], bytes], largest: int) -> bytes:
    """The event's JSON in at most `largest` bytes: its longest texts, lists and mappings are cut at their ends.

    All fields stay, each of its type.
    """
    fields: dict[str, Any] = msgspec.to_builtins(event)
    body = b""
    for longest, most in _STEPS:
        body = encode({name: _cut(value, longest, most) for name, value in fields.items()})
        if len(body) <= largest:
            break
    return body


def _cut(value: Any, longest: int, most: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… {len(value) - longest} characters left out"
    if isinstance(value, dict):
        return {_cut(name, longest, most): _cut(item, longest, most) for name, item in list(value.items())[:most]}
    if isinstance(value, list):
        return [_cut(item, longest, most) for item in value[:most]]
    return value
