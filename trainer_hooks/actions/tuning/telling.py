"""What a trial tells of the metric that is searched by, as its run's journal has it: point by point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.events import AnyEvent, EpochEnded, MetricsLogged, Record, RunCompleted, Validated
from trainer_hooks.journal import Reader

TELLING = (EpochEnded, MetricsLogged, Validated, RunCompleted)


@dataclass(frozen=True)
class Told:
    """A value of the metric; `at` is the epoch or the iteration, where it belongs to one."""

    value: float
    at: int | None = None


def told_by(event: AnyEvent, metric: str) -> Told | None:
    """The metric's value that the event tells; None if it tells none. A result's is the key of that name."""
    if isinstance(event, RunCompleted):
        value = as_number(event.result.get(metric))
        return None if value is None else Told(value)
    if not isinstance(event, TELLING) or metric not in event.metrics:
        return None
    at = event.iteration if isinstance(event, MetricsLogged) else event.epoch
    if isinstance(event, Validated):
        at = None if event.final else event.iteration or event.epoch
    return Told(float(event.metrics[metric]), at)


def as_number(value: object) -> float | None:
    """A result's value, as JSON has it, if it is a number; NaN is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        return None
    return float(value)


def is_better(value: float, other: float, mode: str) -> bool:
    """Whether the value is nearer to what is searched for than the other one."""
    return value > other if mode == "max" else value < other


@dataclass(frozen=True)
class Point:
    """A value on the metric's course.

    `mark` is the last epoch or iteration up to it that there was a value of, and how many values belonged to none.
    `epoch` is how many epochs were over by then, `last_epoch` of how many, where that was told.
    """

    value: float
    mark: tuple[int, int]
    epoch: int
    last_epoch: int | None = None


class Points:
    """The metric's course, one value for each epoch, iteration or other telling, as it goes on.

    An attempt that begins anew, or goes back to a checkpoint, tells some of them again: those are passed over, and so
    are all up to `mark`.
    """

    def __init__(self, run_directory: Path, metric: str, mark: tuple[int, int] = (0, 0)) -> None:
        self._reader = Reader(run_directory)
        self._metric = metric
        self._attempt = 0
        self._without_place = 0
        self._mark = mark
        self._epoch = 0
        self._last_epoch: int | None = None

    def read(self) -> list[Point]:
        """The values that have come since."""
        found: list[Point] = []
        while records := self._reader.read(only=TELLING):
            for record in records:
                if isinstance(record, Record):
                    self._follow(record.event)
                    told = told_by(record.event, self._metric)
                    if told is not None and self._is_new(told, record.attempt):
                        found.append(Point(told.value, self._mark, self._epoch, self._last_epoch))
        return found

    def _follow(self, event: AnyEvent) -> None:
        if isinstance(event, EpochEnded):
            self._epoch = max(self._epoch, event.epoch)
            self._last_epoch = event.total_epochs or self._last_epoch

    def _is_new(self, told: Told, attempt: int) -> bool:
        if attempt != self._attempt:
            self._attempt, self._without_place = attempt, 0
        at, without_place = self._mark
        if told.at is not None:
            self._mark = max(told.at, at), without_place
            return told.at > at
        self._without_place += 1
        self._mark = at, max(self._without_place, without_place)
        return self._without_place > without_place
