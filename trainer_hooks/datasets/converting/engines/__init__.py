"""Where the jobs of a conversion are done: one module each, chosen by its name.

A module has `run(jobs, workers, progress) -> Reports`, a generator that yields a report per job, in any order. It stops
the others when one fails, or when it is closed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from typing import Protocol, cast

from trainer_hooks.datasets.jobs import Job
from trainer_hooks.datasets.report import Report
from trainer_hooks.errors import InvalidSetting

Reports = Generator[Report, None, None]


class Engine(Protocol):
    """A module that does jobs."""

    def run(self, jobs: Sequence[Job], workers: int, progress: Callable[[int], object]) -> Reports:
        """Do all of them; `progress` is called with numbers of images that are done."""
        ...


def engine_named(name: str) -> Engine:
    """The engine of that name.

    Raises:
        InvalidSetting: for a name that is none.
        MissingPackage: if what it needs isn't installed.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    if name not in names:
        message = f"{name!r} is no engine (known: {', '.join(names)})"
        raise InvalidSetting(message)
    return cast("Engine", import_module(f"{__name__}.{name}"))
