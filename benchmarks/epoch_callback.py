"""What an epoch costs in Ultralytics' callbacks: a real training of a tiny model, with `autolog` and without.

Timed is every announcement of an epoch (`run_callbacks`, from outside), summed per epoch; staging a checkpoint is timed
by itself and taken off. Logs are forwarded and the courier reads along, as by default. For scale: a callback of the
user's that writes one line of JSON. Between epochs the training
empties the processor's caches: whatever comes first after it costs several times what it does in a loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import Row, main, percentile, rotated, with_range
from micro import Micro

from trainer_hooks.staging import Stager

EPOCHS = 20
ROUNDS = 4
BUDGET = "p50 ≤ 200 µs"
BARE, ONE_LINE = "without autolog", "without autolog, one json.dumps + write"


@dataclass
class Epochs:
    """ns per epoch: in callbacks, in staging, and altogether."""

    callbacks: list[int] = field(default_factory=list)
    staging: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)


class Stopwatch:
    """Stands outside `BaseTrainer.run_callbacks` and `Stager.stage` for one training."""

    def __init__(self) -> None:
        self.epochs = Epochs()
        self._callbacks = self._staging = 0
        self._began = 0

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Take the times while the block trains."""
        from ultralytics.engine.trainer import BaseTrainer

        announce, stage = BaseTrainer.run_callbacks, Stager.stage
        BaseTrainer.run_callbacks = self._around_callbacks(announce)
        Stager.stage = self._around_staging(stage)  # type: ignore[method-assign]
        try:
            yield
        finally:
            BaseTrainer.run_callbacks, Stager.stage = announce, stage  # type: ignore[method-assign]

    def _around_callbacks(self, announce: Callable[..., None]) -> Callable[..., None]:
        def timed(trainer: Any, event: str) -> None:
            begun = time.perf_counter_ns()
            if event == "on_train_epoch_start":
                self._callbacks = self._staging = 0
                self._began = begun
            announce(trainer, event)
            ended = time.perf_counter_ns()
            self._callbacks += ended - begun
            # The last epoch's comes once more, after the training: announced again behind `final_eval`.
            if event == "on_fit_epoch_end" and self._began:
                self.epochs.callbacks.append(self._callbacks - self._staging)
                self.epochs.staging.append(self._staging)
                self.epochs.whole.append(ended - self._began)
                self._began = 0

        return timed

    def _around_staging(self, stage: Callable[..., tuple[str, int]]) -> Callable[..., tuple[str, int]]:
        def timed(*arguments: Any) -> tuple[str, int]:
            begun = time.perf_counter_ns()
            result = stage(*arguments)
            self._staging += time.perf_counter_ns() - begun
            return result

        return timed


def measure(folder: Path) -> Iterator[Row]:
    """Without, with, and with storage; the first round doesn't count."""
    micro = Micro(folder)
    cases: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
        BARE: contextlib.nullcontext,
        ONE_LINE: contextlib.nullcontext,
        "autolog": micro.attached,
        "autolog, checkpoints stored": lambda: micro.attached(storage=(folder / "store").as_uri()),
    }
    one_line = {"on_fit_epoch_end": _line_writer(folder / "lines")}
    found: dict[str, list[Epochs]] = {name: [] for name in cases}
    for number in range(ROUNDS + 1):
        for name, attach in rotated(cases, number):
            watch = Stopwatch()
            with attach(), watch.measuring():
                micro.train(EPOCHS if number else 2, **(one_line if name == ONE_LINE else {}))
            if number:
                found[name].append(watch.epochs)
    for name, rounds in found.items():
        yield _row(f"epoch, Ultralytics {micro.version}, {name}", rounds, ours=name not in {BARE, ONE_LINE})
    yield _staging_row(found["autolog, checkpoints stored"])


def _line_writer(path: Path) -> Callable[[Any], None]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(trainer: Any) -> None:
        record = {"epoch": trainer.epoch, "metrics": trainer.metrics, "time": time.time()}
        os.write(file, json.dumps(record, default=float).encode() + b"\n")

    return write


def _row(what: str, rounds: list[Epochs], *, ours: bool) -> Row:
    middles = [percentile(epochs.callbacks, 0.5) for epochs in rounds]
    pooled = [taken for epochs in rounds for taken in epochs.callbacks]
    share = sum(pooled) / sum(taken for epochs in rounds for taken in epochs.whole)
    text = (
        f"p50 {with_range(middles, 'µs', 1e-3)}, p99 {percentile(pooled, 0.99) / 1e3:,.0f} µs, {share:.2%} of the time"
    )
    return Row(what, text, BUDGET if ours else "", percentile(pooled, 0.5) <= 200_000 if ours else None)


def _staging_row(rounds: list[Epochs]) -> Row:
    middles = [percentile(epochs.staging, 0.5) for epochs in rounds]
    return Row("staging in it, per epoch", f"p50 {with_range(middles, 'µs', 1e-3)}")


if __name__ == "__main__":
    main(measure)
