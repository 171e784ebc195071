"""JSON lines and CSV, which need nothing."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from trainer_hooks.events import Record
from trainer_hooks.history import RunHistory, read_measured
from trainer_hooks.journal import read_records


def write_jsonl(histories: Sequence[RunHistory], output: IO[str]) -> None:
    """Every record of the runs, a line each."""
    for history in histories:
        for record in read_records(history.directory):
            output.write(msgspec.json.encode(_exported(record)).decode() + "\n")


def write_csv(history: RunHistory, output: IO[str]) -> None:
    """One row per epoch of each attempt, with a column for each metric."""
    points = read_measured(history.directory)
    names = list(dict.fromkeys(name for point in points for name in point.metrics))
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["run", "attempt", "epoch", "iteration", "time", "duration", *names])
    for point in points:
        values = [point.metrics.get(name, "") for name in names]
        writer.writerow([history.run, point.attempt, point.epoch, point.iteration, point.time, point.duration, *values])


def _exported(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "run": record.run,
        "attempt": record.attempt,
        "time": record.time,
        "event": record.event,
    }
