"""What one sees of a run at one moment, from wherever."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainer_hooks.receiver.index.logs import LogShown
from trainer_hooks.receiver.shown import RunTold

OPEN = ("opened", "running")


@dataclass(frozen=True)
class Seen:
    """A run as it stands; `logs` are the records that have come since the last look.

    `curve` holds the newest values of `metric`, the oldest of them first; None where a value was no finite number.
    """

    told: RunTold
    metric: str | None = None
    curve: Sequence[float | None] = ()
    logs: Sequence[LogShown] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether more is to be expected."""
        return self.told.summary.status in OPEN


class Unreachable(Exception):
    """Nothing can be seen just now; looking again may help."""


class Source(Protocol):
    """Where runs are looked at."""

    def newest(self) -> str | None:
        """The id of the newest run that is open, else None.

        Raises:
            Unreachable: if that can't be told now.
        """
        ...

    def look(self, run: str, metric: str | None) -> Seen:
        """The run by now; with the curve of that metric, by default of the one that it is judged by.

        Raises:
            Unreachable: if it can't be seen now.
            SetupError: if there is none.
        """
        ...


def main_metric(told: RunTold, names: Callable[[], Iterable[str]]) -> str | None:
    """What the run is judged by; where that isn't known, a loss among its metrics, else the first of them."""
    best = told.attempts[-1].best
    if best:
        return best.metric
    known = list(names())
    return next((name for name in known if "loss" in name), next(iter(known), None))
