"""Metric values of any kind, made plain: numbers stay what they are, and what is no number is named, never guessed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from trainer_hooks.events import Metrics, Scalar
from trainer_hooks.shield import ask

_LARGEST_INT = 2**63 - 1
_LONGEST_REASON = 300
_MOST_METRICS = 50_000


class Unreadable(Exception):
    """The value is no number that can be read here; the text says why."""


def read_metrics(values: Mapping[Any, Any]) -> tuple[Metrics, dict[str, str]]:
    """The numbers of a mapping by name, and for all else the reason why it is none.

    Of 50,000 values at most: a mapping may have no end.
    """
    metrics: Metrics = {}
    skipped: dict[str, str] = {}
    # A copy, since another thread may change it meanwhile.
    items = values.copy().items() if type(values) is dict else items_of(values, _MOST_METRICS + 1)
    if len(items) > _MOST_METRICS:
        items = list(items)[:_MOST_METRICS]
        skipped["…"] = f"more than {_MOST_METRICS} values at once: the others are left out"
    for key, value in items:
        name = key if type(key) is str and key.isascii() else _name(key)
        # Of a subclass, such as numpy's, the plain number; nothing of the value's own is called for it.
        if issubclass(type(value), float) and math.isfinite(number := float.__pos__(value)):
            metrics[name] = number
            continue
        try:
            metrics[name] = read_number(value)
        except Unreadable as reason:
            skipped[name] = str(reason)
    return metrics, skipped


def items_of(values: Any, most: int) -> list[tuple[Any, Any]]:
    """The items that a mapping has now, `most` of them: it may have no end, and somebody may change it meanwhile.

    Raises:
        Exception: whatever a mapping that can't be read raises.
    """
    items = ask(lambda: list(itertools.islice(values.items(), most)))
    if not isinstance(items, Exception):
        return items
    if not issubclass(type(values), dict):
        raise items
    copy: dict[Any, Any] = dict.copy(values)  # at one instant, whatever its own class does
    return list(itertools.islice(copy.items(), most))


def text_of(value: Any) -> str | None:
    """What the object says of itself, as a plain text; None where it can't."""
    text = ask(lambda: str.__str__(value if issubclass(type(value), str) else str(value)))
    return text if type(text) is str else None


def _name(key: Any) -> str:
    text = text_of(key)
    return f"<{type(key).__qualname__}>" if text is None else _valid(text)


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def read_number(value: Any) -> Scalar:
    """One number: of Python, numpy or torch (0-d or one element), Decimal, Fraction or bool.

    A tensor on an accelerator is not read: that would make the host wait for the device.

    Raises:
        Unreadable: with the reason.
    """
    # The value is a foreign object, which may raise anything at all, whatever is asked of it.
    number = ask(lambda: _read(value))
    if isinstance(number, Unreadable):
        raise number
    if isinstance(number, Exception):
        text = text_of(number)
        message = f"can't be read as a number: {type(number).__name__}{'' if text is None else f': {text}'}"
        raise Unreadable(_valid(message[:_LONGEST_REASON])) from number
    return number


def read_count(value: Any) -> int | None:
    """A whole number, from a number of any kind or its digits; None if it is none."""
    if value is None or (type(value) is int and abs(value) <= _LARGEST_INT):
        return value
    count = ask(lambda: int(value if isinstance(value, str) else read_number(value)))
    return count if isinstance(count, int) and abs(count) <= _LARGEST_INT else None


def read_quantity(value: Any) -> float | None:
    """A finite number, from one of any kind; None if it is none."""
    if type(value) is float and math.isfinite(value):
        return value
    if value is None:
        return None
    quantity = ask(lambda: float(read_number(value)))
    return quantity if isinstance(quantity, float) and math.isfinite(quantity) else None


def _read(value: Any) -> Scalar:
    if isinstance(value, (bool, int)):
        return int(value) if abs(value) <= _LARGEST_INT else _finite_or_named(float(value))
    if value is None or isinstance(value, (str, bytes, complex, Mapping, list, tuple, set)):
        message = f"{type(value).__name__} is not a number"
        raise Unreadable(message)
    _refuse_to_wait(value)
    return _read(_only_element(value)) if hasattr(value, "item") else _finite_or_named(float(value))


def _refuse_to_wait(value: Any) -> None:
    device = getattr(value, "device", "cpu")
    kind = str(getattr(device, "type", device))
    if "cpu" not in kind.lower():
        message = f"a tensor on {kind}; call .item() where you can afford to wait for the device"
        raise Unreadable(_valid(message[:_LONGEST_REASON]))


def _only_element(value: Any) -> Any:
    """The one element of a numpy or torch value, told apart by what they have, not by importing them."""
    shape = tuple(getattr(value, "shape", ()))
    if math.prod(shape) != 1:
        message = f"{type(value).__name__} of shape {shape}, not a single number"
        raise Unreadable(message)
    element = value.item()
    # numpy has no Python number for a long double: its item is another of its own.
    return float(element) if hasattr(element, "item") else element


def _finite_or_named(value: float) -> Scalar:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
