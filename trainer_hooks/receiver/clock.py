"""What time it is for the request at hand: one that is done again is as of when it came first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

_came_at: ContextVar[float | None] = ContextVar("came_at", default=None)


def now() -> float:
    """In unix seconds."""
    came_at = _came_at.get()
    return time.time() if came_at is None else came_at


@contextlib.contextmanager
def as_of(at: float) -> Iterator[None]:
    """Within this block it is that time."""
    before = _came_at.set(at)
    try:
        yield
    finally:
        _came_at.reset(before)
