"""What an iteration costs: the announcement of its end by a real trainer or runner, in its first epoch.

The wrapped method and the host's own, which it calls, in turn; iteration metrics off, and on for every iteration. The
host's other hooks are left out, for they take longer than all of ours.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import Row, main, percentile, rotated, timed_calls, with_range
from micro import HOSTS, Micro

ROUNDS = 30
CALLS = 1000
BUDGETS = {0: ("≤ 1 µs", 1_000), 1: ("≤ 25 µs", 25_000)}
"""By the setting `iteration_metrics`: the budget, in words and in ns."""


def measure(folder: Path) -> Iterator[Row]:
    """A row for each host and setting."""
    for kind in HOSTS:
        micro = kind(folder / kind.name)
        micro.folder.mkdir(exist_ok=True)
        for every, (budget, allowed) in BUDGETS.items():
            taken: dict[str, list[list[int]]] = {"wrapped": [], "host's own": []}
            with micro.attached(iteration_metrics=every):
                micro.train(2, **{micro.after_iteration: _Comparison(micro, taken)})
            setting = "on, every iteration" if every else "off"
            yield _row(f"iteration hook, {micro.title}, metrics {setting}", taken, budget, allowed)


class _Comparison:
    """A callback that measures once, in the middle of an iteration's end."""

    def __init__(self, micro: Micro, taken: dict[str, list[list[int]]]) -> None:
        self._micro = micro
        self._taken = taken

    def __call__(self, host: Any) -> None:
        if any(self._taken.values()):
            return
        wrapped = getattr(*self._micro.wrapped[0])
        calls: dict[str, Callable[..., None]] = {"wrapped": wrapped, "host's own": wrapped.__wrapped__}
        event = self._micro.after_iteration
        with self._alone(host):
            for number in range(ROUNDS + 1):
                for name, announce in rotated(calls, number):
                    times = timed_calls(lambda _, announce=announce: announce(host, event), CALLS)  # type: ignore[misc]
                    if number:
                        self._taken[name].append(times)

    @contextlib.contextmanager
    def _alone(self, host: Any) -> Iterator[None]:
        hooks = getattr(host, "_hooks", None)
        if hooks is None:
            callbacks, host.callbacks = host.callbacks, {self._micro.after_iteration: []}
            yield
            host.callbacks = callbacks
        else:
            host._hooks = []
            yield
            host._hooks = hooks


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
