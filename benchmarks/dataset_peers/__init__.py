"""The tools that users would otherwise pick, one file each, all called alike.

A peer's module has `NAME`, `VERSION` and `CONVERSIONS`: by (source, target, task) a function that converts the
dataset at `source` into `out`, as the peer's documentation says, and nothing else: that is what is timed. `finish`
then adds what the peer leaves to its user (the images, data.yaml), so that a loader can read the whole.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, str, str]
"""Source, target, task."""


@dataclass(frozen=True)
class Conversion:
    """How a peer converts.

    Attributes:
        run: the conversion itself, from one folder to another, given as two paths.
        finish: makes the result readable; the data.yaml or the folder that a loader is given.
    """

    run: Callable[..., object]
    finish: Callable[[Path, Path], Path]


@dataclass(frozen=True)
class Peer:
    """A tool, its version, and what it converts."""

    name: str
    version: str
    conversions: Mapping[Key, Conversion]


def load(module: str) -> Peer | str:
    """The peer of that module; what it lacks, if it isn't installed."""
    try:
        found = importlib.import_module(f"{__name__}.{module}")
    except ImportError as error:
        return error.name or str(error)
    return Peer(found.NAME, found.VERSION, found.CONVERSIONS)


def modules() -> list[str]:
    """The names of all peers' modules."""
    return sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if not name.startswith("_"))
