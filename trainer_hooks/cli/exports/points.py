"""What formats have in common: a run's points, one value each, in the order in which they were told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trainer_hooks.errors import MissingPackage
from trainer_hooks.events import Scalar
from trainer_hooks.history import measured_at
from trainer_hooks.journal import read_records


class Point(NamedTuple):
    """A metric's value. `time` is in unix seconds; `value` may be NaN or infinite."""

    attempt: int
    metric: str
    axis: str
    step: int
    time: float
    value: float


def points_of(run_directory: Path) -> Iterator[Point]:
    """All points of a run; a point that was told twice comes twice, the one that counts behind the other."""
    for record in read_records(run_directory):
        axis, step, metrics = measured_at(record)
        for metric, value in metrics.items():
            yield Point(record.attempt, metric, axis, step, record.time, as_number(value))


def as_number(value: Scalar) -> float:
    """The value as a float: "NaN", "Infinity" and "-Infinity" as what they name."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if int(value) > 0 else float("-inf")


def missing(package: str, error: ImportError) -> MissingPackage:
    """What to raise where the format's library isn't there."""
    message = f"{package} can't be imported ({error}); install it with: pip install 'trainer-hooks[export]'"
    return MissingPackage(message)
