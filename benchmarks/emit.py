"""What one event costs the training thread: `Run.emit` and `Run.log_metrics`, beside bare writes of the same line.

In a tight loop, and 5 ms apart with a courier reading along, as in a training: caches are cold then.
"""

from __future__ import annotations

import json
import os
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Row, directory_of, end_quietly, main, open_quiet_run, percentile, rotated, timed_calls, with_range

from trainer_hooks.events import MetricsLogged
from trainer_hooks.run import Run

SPACING = 0.005
Rounds = dict[str, list[list[int]]]


@dataclass(frozen=True)
class Loop:
    """How the calls follow each other."""

    name: str
    spacing: float
    rounds: int
    calls: int
    delivery: str
    budget: str


LOOPS = (
    Loop("tight loop", 0.0, rounds=9, calls=3000, delivery="none", budget="p50 ≤ 20 µs, p99 ≤ 200 µs"),
    Loop("5 ms apart", SPACING, rounds=5, calls=150, delivery="process", budget=""),
)


def measure(folder: Path) -> Iterator[Row]:
    """The rows of both loops, each with 5 and with 20 scalars."""
    for loop in LOOPS:
        for scalars in (5, 20):
            run = open_quiet_run(folder, delivery=loop.delivery)
            found = measured(cases(run, folder / "bare", scalars), loop)
            end_quietly(run)
            yield from rows(loop, scalars, found)


def cases(run: Run, bare: Path, scalars: int) -> dict[str, Callable[[int], object]]:
    """What is compared; each call writes one line of the same length."""
    metrics: dict[str, Any] = {f"train/metric_{number}": random.random() for number in range(scalars)}
    run.log_metrics(metrics, iteration=1)
    line = _lines(directory_of(run))[-1]
    file = os.open(bare, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def dump_and_write(number: int) -> None:
        record = {"type": "metrics_logged", "metrics": metrics, "iteration": number}
        os.write(file, json.dumps(record).encode() + b"\n")

    return {
        "emit": lambda number: run.emit(MetricsLogged(metrics=metrics, iteration=number)),
        "log_metrics": lambda number: run.log_metrics(metrics, iteration=number),
        "json.dumps + write": dump_and_write,
        "write": lambda _: os.write(file, line),
    }


def measured(compared: dict[str, Callable[[int], object]], loop: Loop) -> Rounds:
    """The ns of every call, by case and round; the first round doesn't count."""
    taken: Rounds = {name: [] for name in compared}
    for number in range(loop.rounds + 1):
        for name, call in rotated(compared, number):
            times = timed_calls(call, loop.calls, loop.spacing)
            if number:
                taken[name].append(times)
    return taken


def rows(loop: Loop, scalars: int, taken: Rounds) -> Iterator[Row]:
    """One row per case; the budget is for ours."""
    middle = {name: [percentile(times, 0.5) for times in rounds] for name, rounds in taken.items()}
    for name, rounds in taken.items():
        high = [percentile(times, 0.99) for times in rounds]
        ratio = statistics.median(ours / bare for ours, bare in zip(middle[name], middle["write"], strict=True))
        kept = statistics.median(middle[name]) <= 20_000 and statistics.median(high) <= 200_000
        ours = name in {"emit", "log_metrics"} and bool(loop.budget)
        yield Row(
            f"{name}, {loop.name}, {scalars} scalars",
            f"p50 {with_range(middle[name], 'µs', 1e-3)}, p99 {with_range(high, 'µs', 1e-3)}, {ratio:.1f} x bare write",
            loop.budget if ours else "",
            kept if ours else None,
        )


def _lines(run_directory: Path) -> list[bytes]:
    (segment,) = (run_directory / "journal").iterdir()
    return segment.read_bytes().splitlines(keepends=True)


if __name__ == "__main__":
    main(measure)
