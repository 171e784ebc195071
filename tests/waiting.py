"""Waiting on a condition, with a deadline; no test sleeps for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_never = threading.Event()


def wait_until(condition: Callable[[], T], timeout: float = 30.0, what: str = "the condition") -> T:
    """What the condition returns once that is true; AssertionError if it isn't within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"{what} did not come true within {timeout} s; last value: {value!r}"
            raise AssertionError(message)
        _never.wait(0.01)
