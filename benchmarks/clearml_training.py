"""One training or script for `clearml_mirror`, in a process of its own: the SDK can't be had twice in one.

Prints JSON: how many ns of the training's thread each epoch cost, and how many seconds an epoch took altogether.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from epoch_callback import Stopwatch
from micro import Ultralytics

EPOCHS = 20


@contextlib.contextmanager
def built_in(taken: list[int]) -> Iterator[None]:
    """Ultralytics' own callback, each of its functions timed; `taken` is a sum per epoch."""
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.callbacks import clearml

    SETTINGS.update(clearml=True)
    sums = [0]

    def timed(name: str, function: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(host: Any) -> None:
            begun = time.perf_counter_ns()
            function(host)
            sums[0] += time.perf_counter_ns() - begun
            if name == "on_fit_epoch_end":
                taken.append(sums[0])
            if name in ("on_fit_epoch_end", "on_pretrain_routine_start"):
                sums[0] = 0

        return call

    clearml.callbacks = {name: timed(name, function) for name, function in clearml.callbacks.items()}
    yield


@contextlib.contextmanager
def mirrored(micro: Ultralytics, taken: list[int]) -> Iterator[None]:
    """Ours, with the mirror on."""
    watch = Stopwatch(micro)
    with watch.inside(), micro.attached(clearml=True), watch.outside():
        yield
    taken += watch.epochs.ours


def main() -> None:
    """Train as the arguments say: FOLDER none|built-in|ours."""
    folder, how = Path(sys.argv[1]), sys.argv[2]
    micro = Ultralytics(folder)
    taken: list[int] = []
    cases = {
        "none": contextlib.nullcontext,
        "built-in": lambda: built_in(taken),
        "ours": lambda: mirrored(micro, taken),
    }
    ends: list[float] = []
    with cases[how]():
        micro.train(EPOCHS, on_fit_epoch_end=lambda _: ends.append(time.perf_counter()))
    # The first epoch warms up; the last is announced twice.
    whole = [after - before for before, after in itertools.pairwise(ends[1:-1])]
    print(json.dumps({"taken": taken[1:EPOCHS], "whole": whole}), flush=True)


if __name__ == "__main__":
    main()
