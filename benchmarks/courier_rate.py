"""How fast a courier carries a finished run's journal to a platform on loopback, from its start to the last receipt.

The platform is the tests' one, in a process of its own. Told are the rate over the whole life of the courier, its start
included, and the rate between the first and the last receipt.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import (
    Row,
    clean_environment,
    directory_of,
    end_quietly,
    main,
    open_quiet_run,
    platform_server,
    wait_until,
    with_range,
)

from trainer_hooks.delivery import load_state
from trainer_hooks.run import Run

ROUNDS = 5
BATCHED, SINGLE = 100_000, 500
BUDGET = 5_000


def measure(folder: Path) -> Iterator[Row]:
    """In batches; and, for information, in B's way, where each event is a request."""
    for batch, events in ((True, BATCHED), (False, SINGLE)):
        rates = [_deliver(folder / f"{batch}{number}", events, batch=batch) for number in range(ROUNDS)]
        flowing = [flow for flow, _ in rates]
        with_start = with_range([whole for _, whole in rates], "events/s")
        text = f"{with_range(flowing, 'events/s')}; with the courier's start {with_start}"
        way = "batches" if batch else "one request per event (predecessor B)"
        kept = statistics.median(flowing) >= BUDGET if batch else None
        yield Row(f"courier, {way}, {events:,} events", text, f"≥ {BUDGET:,} events/s" if batch else "", kept)


def _deliver(folder: Path, events: int, *, batch: bool) -> tuple[float, float]:
    """Events per second: between the first and the last receipt, and from the start of the courier."""
    run = _finished_run(folder, events)
    directory = directory_of(run)
    with platform_server(batch=batch) as url:
        environment = clean_environment(CALLBACK_URL=url, JOB_ID="7", TRAINER_HOOKS_DIR=str(folder))
        began = time.monotonic()
        command = [sys.executable, "-m", "trainer_hooks.courier", str(directory)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as courier:
            first, then = _first_receipts(directory)
            courier.wait(600)
        ended = time.monotonic()
    state = load_state(directory, "platform")
    # The first record of the segment is not for the platform; what is told at the end is one more.
    if (state.delivered, state.rejected) != (events + 2, 0):
        raise RuntimeError(f"not delivered as it should be: {state}")  # noqa: EM102
    return (state.delivered - first) / ((state.reached or ended) - then), state.delivered / (ended - began)


def _first_receipts(run_directory: Path) -> tuple[int, float]:
    """How many were delivered when there first were some, and when that was (unix seconds)."""
    wait_until(lambda: load_state(run_directory, "platform").delivered > 0)
    state = load_state(run_directory, "platform")
    return state.delivered, state.reached or time.time()


def _finished_run(folder: Path, events: int) -> Run:
    run = open_quiet_run(folder, delivery="none", job_id="7")
    run.started(total_epochs=events)
    for number in range(events):
        metrics = {f"train/metric_{place}": random.random() for place in range(5)}
        if number % 10:
            run.log_metrics(metrics, iteration=number)
        else:
            run.log_metrics(metrics, epoch=number // 10 + 1)
    end_quietly(run)
    return run


if __name__ == "__main__":
    main(measure)
