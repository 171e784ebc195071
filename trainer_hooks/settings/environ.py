"""The environment of this process, read and changed as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence


def environment() -> dict[str, str]:
    """A copy of the whole environment: for a child process, and to know which values are secret."""
    return dict(os.environ)


@contextlib.contextmanager
def variables_set(variables: Mapping[str, str], *, unset: Sequence[str] = ()) -> Iterator[None]:
    """Within this block these are set, and those others are not; behind it both are what they were before."""
    names = [*unset, *variables]
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        os.environ.update(variables)
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
