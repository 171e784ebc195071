"""What an epoch costs: real trainings of tiny models with `autolog`, in Ultralytics and in MMEngine.

Where Lightning and transformers are installed, these are trained instead (`make bench-hosts`).

Timed is every host method that we wrap and that an epoch calls, from outside and from inside; the difference is ours,
less what the same stopwatch shows without `autolog`. Telling a checkpoint is timed by itself, and its private copy in
that. Logs are forwarded and the courier reads along, as by default. For scale: a callback of the user's that writes one
line of JSON. Between epochs the training empties the processor's caches: whatever comes first after it costs several
times what it does in a loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measuring import Row, main, percentile, rotated, with_range
from micro import HOSTS, OF_ANOTHER_ENVIRONMENT, Micro

from trainer_hooks.staging import Stager

EPOCHS = 20
ROUNDS = 4
BUDGET = "p50 ≤ 200 µs"
_METRICS = {f"metric {number}": number / 3 for number in range(8)}
_BARE = "without autolog"


@dataclass
class Epochs:
    """ns per epoch: ours without the telling of checkpoints, that without the copying, the copying, and altogether."""

    ours: list[int] = field(default_factory=list)
    telling: list[int] = field(default_factory=list)
    copying: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)


class Stopwatch:
    """Stands inside and outside the wrapped methods of a host, and around two of ours, for one training."""

    def __init__(self, micro: Micro) -> None:
        self.epochs = Epochs()
        self._micro = micro
        self._sums = dict.fromkeys(("inside", "outside", "telling", "copying"), 0)
        self._began = 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Around the host's own methods: to be entered before `autolog` wraps them."""
        with contextlib.ExitStack() as stack:
            for owner, name in self._micro.wrapped:
                stack.enter_context(self._timed(owner, name, "inside"))
            yield

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Around what they are wrapped in, and around what is told apart."""
        with contextlib.ExitStack() as stack:
            for owner, name in self._micro.wrapped:
                stack.enter_context(self._timed(owner, name, "outside"))
            stack.enter_context(self._timed(*self._micro.telling, "telling"))
            stack.enter_context(self._timed(Stager, "stage", "copying"))
            stack.enter_context(self._epochs_noted())
            yield

    @contextlib.contextmanager
    def _timed(self, owner: Any, name: str, as_what: str) -> Iterator[None]:
        found = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter_ns()
            try:
                return found(*arguments, **options)
            finally:
                self._sums[as_what] += time.perf_counter_ns() - begun

        setattr(owner, name, timed)
        try:
            yield
        finally:
            setattr(owner, name, found)

    @contextlib.contextmanager
    def _epochs_noted(self) -> Iterator[None]:
        owner, name = self._micro.wrapped[0]
        announce = getattr(owner, name)
        begin, end = self._micro.epoch

        def noting(host: Any, event: str, *arguments: Any, **options: Any) -> Any:
            if event == begin == end and self._began:
                self._note(self._sums)
            if event == begin:
                self._sums = dict.fromkeys(self._sums, 0)
                self._began = time.perf_counter_ns()
            answer = announce(host, event, *arguments, **options)
            # Ultralytics announces the last epoch's end once more, after the training: behind its `final_eval`.
            if event == end != begin and self._began:
                self._note(self._sums)
                self._began = 0
            return answer

        setattr(owner, name, noting)
        try:
            yield
        finally:
            setattr(owner, name, announce)

    def _note(self, sums: dict[str, int]) -> None:
        # A checkpoint is told within an announcement that the outer stopwatch measures, too.
        self.epochs.ours.append(sums["outside"] - sums["inside"] - sums["telling"])
        self.epochs.telling.append(sums["telling"] - sums["copying"])
        self.epochs.copying.append(sums["copying"])
        self.epochs.whole.append(time.perf_counter_ns() - self._began)


def measure(folder: Path) -> Iterator[Row]:
    """Each host: without and with storage, in turn; the first round doesn't count."""
    for kind in OF_ANOTHER_ENVIRONMENT if find_spec("lightning") else HOSTS:
        micro = kind(folder / kind.name)
        micro.folder.mkdir(exist_ok=True)
        yield from _measure(micro)


def _measure(micro: Micro) -> Iterator[Row]:
    writer = LineWriter(micro.folder / "lines")
    stored = (micro.folder / "store").as_uri()
    cases: dict[str, Callable[[], AbstractContextManager[object]]] = {
        _BARE: contextlib.nullcontext,
        "nothing stored": micro.attached,
        "checkpoints stored": lambda: micro.attached(storage=stored),
    }
    found: dict[str, list[Epochs]] = {name: [] for name in cases}
    for number in range(ROUNDS + 1):
        for name, attach in rotated(cases, number):
            watch = Stopwatch(micro)
            with watch.inside(), attach(), watch.outside():
                micro.train(EPOCHS if number else 2)
            if number:
                found[name].append(watch.epochs)
        micro.train(EPOCHS if number else 2, **{micro.epoch[1]: writer.write})
    what = f"epoch, {micro.title} {micro.version}"
    yield Row(f"{what}, a callback that writes one line of JSON", f"p50 {percentile(writer.taken, 0.5) / 1e3:.0f} µs")
    bare = percentile([taken for epochs in found.pop(_BARE) for taken in epochs.ours], 0.5)
    yield Row("the stopwatch itself, taken off below", f"p50 {bare / 1e3:.0f} µs")
    for name, rounds in found.items():
        yield _row(f"{what}, {name}", rounds, bare)
        telling = [percentile(epochs.telling, 0.5) for epochs in rounds]
        yield Row("besides: telling its checkpoints, without their copies", f"p50 {with_range(telling, 'µs', 1e-3)}")
    copying = [percentile(epochs.copying, 0.5) for epochs in found["checkpoints stored"]]
    yield Row("besides: their private copies", f"p50 {with_range(copying, 'µs', 1e-3)}")


class LineWriter:
    """The least that an integration could do: a callback that appends one line."""

    def __init__(self, path: Path) -> None:
        self.taken: list[int] = []
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, host: Any) -> None:
        """Write, and note how long it took, in ns."""
        begun = time.perf_counter_ns()
        record = {
            "epoch": getattr(host, "epoch", 0),
            "metrics": getattr(host, "metrics", _METRICS),
            "time": time.time(),
        }
        os.write(self._file, json.dumps(record, default=float).encode() + b"\n")
        self.taken.append(time.perf_counter_ns() - begun)


def _row(what: str, rounds: list[Epochs], bare: float) -> Row:
    pooled = [taken - bare for epochs in rounds for taken in epochs.ours]
    middles = [percentile(epochs.ours, 0.5) - bare for epochs in rounds]
    all_of_it = sum(sum(epochs.ours) + sum(epochs.telling) + sum(epochs.copying) for epochs in rounds)
    share = all_of_it / sum(sum(epochs.whole) for epochs in rounds)
    text = (
        f"p50 {with_range(middles, 'µs', 1e-3)}, p99 {percentile(pooled, 0.99) / 1e3:,.0f} µs; "
        f"with telling and copying {share:.2%} of the time"
    )
    return Row(what, text, BUDGET, percentile(pooled, 0.5) <= 200_000)


if __name__ == "__main__":
    main(measure)
