"""What backends are told and keep, as JSON; what JSON can't hold is refused, never changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trainer_hooks.errors import BackendError


def as_json(fields: Mapping[str, Any]) -> bytes:
    """The JSON of these fields.

    Raises:
        BackendError: if it can have none; NaN and infinity, which would become null, are named with their place.
    """
    try:
        plain = msgspec.to_builtins(fields, str_keys=True)
        encoded = msgspec.json.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"a backend is told and keeps what JSON can hold: {error}"
        raise BackendError(message) from error
    for place, number in _not_finite(plain, ""):
        message = f"{place} is {number}, which JSON can't hold: leave it out, or give a text"
        raise BackendError(message)
    return encoded


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield from _not_finite(held, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (list, tuple)):
        for index, held in enumerate(value):
            yield from _not_finite(held, f"{place}[{index}]")
