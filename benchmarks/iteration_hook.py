"""What an iteration costs in Ultralytics: `run_callbacks("on_train_batch_end")` of a real trainer, in its first epoch.

The wrapped method and the host's own, which it calls, in turn; iteration metrics off, and on for every iteration.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import Row, main, percentile, rotated, timed_calls, with_range
from micro import Micro

EVENT = "on_train_batch_end"
ROUNDS = 30
CALLS = 1000
BUDGETS = {0: ("≤ 1 µs", 1_000), 1: ("≤ 25 µs", 25_000)}
"""By the setting `iteration_metrics`: the budget, in words and in ns."""


def measure(folder: Path) -> Iterator[Row]:
    """A row for each setting."""
    micro = Micro(folder)
    for every, (budget, allowed) in BUDGETS.items():
        taken: dict[str, list[list[int]]] = {"wrapped": [], "host's own": []}

        def at_the_end_of_the_first_epoch(trainer: Any, taken: dict[str, list[list[int]]] = taken) -> None:
            if trainer.epoch == 0:
                _compare(trainer, taken)

        with micro.attached(iteration_metrics=every):
            micro.train(2, on_train_epoch_end=at_the_end_of_the_first_epoch)
        yield _row(f"iteration hook, metrics {'on, every iteration' if every else 'off'}", taken, budget, allowed)


def _compare(trainer: Any, taken: dict[str, list[list[int]]]) -> None:
    wrapped = type(trainer).run_callbacks
    calls: dict[str, Callable[..., None]] = {"wrapped": wrapped, "host's own": wrapped.__wrapped__}
    for number in range(ROUNDS + 1):
        for name, announce in rotated(calls, number):
            times = timed_calls(lambda _, announce=announce: announce(trainer, EVENT), CALLS)  # type: ignore[misc]
            if number:
                taken[name].append(times)


def _row(what: str, taken: dict[str, list[list[int]]], budget: str, allowed: int) -> Row:
    ours, own = ([statistics.median(times) for times in taken[name]] for name in ("wrapped", "host's own"))
    over = [a - b for a, b in zip(ours, own, strict=True)]
    high = [percentile(times, 0.99) for times in taken["wrapped"]]
    text = (
        f"p50 {with_range(over, 'µs', 1e-3)} over the host's own {statistics.median(own) / 1e3:.2f} µs, "
        f"p99 with it {with_range(high, 'µs', 1e-3)}"
    )
    return Row(what, text, budget, statistics.median(over) <= allowed)


if __name__ == "__main__":
    main(measure)
