"""Two hundred runs that report at once to a real `trainer-hooks serve`, and what readers have meanwhile.

    make bench-receiver     in an environment of its own, with MLflow and Trackio

First as trainings do: each run has one step of five scalars a second, or ten, and a sender that looks ten times a
second for what is new, as a courier does; real trainings with their couriers run beside. Meanwhile the runs are read:
the list, one run, the curve of a run of a million points, and the pages of these. Every event that was acknowledged is
then looked for in the server's journals, with its content. Second, flat out: 8 and 200 runs, each with a connection of
its own that sends 200 steps in each request as fast as they are answered; in turn with MLflow's tracking server (its
default store and workers) and Trackio's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from measuring import (
    Row,
    clean_environment,
    end_quietly,
    main,
    open_quiet_run,
    percentile,
    rotated,
    wait_until,
    with_range,
)
from tracker_dialects import Server, installed, metrics_of, server
from tracker_senders import Sent

from trainer_hooks.journal import read_records

RUNS = 200
PROCESSES = 2
RATES, SECONDS = (1.0, 10.0), 30.0
FLAT_OUT, ROUNDS = 10.0, 3
AT_ONCE = (8, RUNS)
POINTS = 1_000_000
REAL = 4
PAGES = ("/", "/run/large")
_READ_EVERY = 0.05
_TRAINING = """
import threading, trainer_hooks
with trainer_hooks.start_run(total_epochs=100) as run:
    for epoch in range(1, 101):
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
        threading.Event().wait(0.1)
"""


@dataclass(frozen=True)
class Load:
    """What came of one load, of all its senders together."""

    sent: Sent
    memory: int

    @property
    def rate(self) -> float:
        """Acknowledged events per second."""
        return sum(self.sent.steps.values()) / self.sent.last


def measure(folder: Path) -> Iterator[Row]:
    """The paced loads, and then all trackers flat out."""
    for rate in RATES:
        yield from _paced(folder / f"paced-{rate:g}", rate)
    cases = {f"{name}, {runs} runs": (name, runs) for name in installed() for runs in AT_ONCE}
    loads: dict[str, list[Load]] = defaultdict(list)
    for number in range(ROUNDS):
        for case, (name, runs) in rotated(cases, number):
            with server(name, folder / f"{case}-{number}".replace(" ", "-")) as tracker:
                loads[case].append(_load(name, tracker, runs, rate=0.0, seconds=FLAT_OUT))
    for case, found in loads.items():
        yield from _flat_out(case, found)


def _paced(folder: Path, rate: float) -> Iterator[Row]:
    _write_large_run(folder / "runs")
    with server("the receiver", folder) as receiver:
        _wait_for_the_index(receiver.url)
        with _trainings(receiver.url, folder) as trainings, _readers(receiver.url) as read:
            load = _load("the receiver", receiver, RUNS, rate=rate, seconds=SECONDS)
            for training in trainings:
                training.wait(120)
        wait_until(lambda: _lost_of_trainings(folder) == 0, 60)
    lost = _lost(folder / "runs", load.sent)
    what = f"{RUNS} runs of {rate:g} events/s"
    yield Row(f"{what}, an ingest call", f"{_times(load.sent.latencies)}; {len(load.sent.latencies):,} calls")
    yield Row(f"{what}, acknowledged", f"{sum(load.sent.steps.values()):,} events, {load.rate:,.0f} events/s")
    yield Row(f"{what}, acknowledged and not stored as they were told", f"{lost}", "0", lost == 0)
    for path, taken in read.items():
        yield Row(f"{what}, meanwhile GET {path}", _times(taken))
    yield Row(f"{what}, memory of the receiver", f"{load.memory / 1e6:.0f} MB at most")


def _flat_out(case: str, loads: Sequence[Load]) -> Iterator[Row]:
    yield Row(f"flat out, {case}", with_range([load.rate for load in loads], "events/s"))
    latencies = {
        name: [percentile(load.sent.latencies, share) for load in loads]
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    texts = [f"{name} {with_range(taken, 'ms', 1e3)}" for name, taken in latencies.items()]
    refused = sum(load.sent.refused for load in loads)
    yield Row(f"flat out, {case}, a call of 200 steps", f"{', '.join(texts)}; {refused} refused and sent again")
    yield Row(f"flat out, {case}, memory", f"{max(load.memory for load in loads) / 1e6:.0f} MB at most")


def _load(name: str, tracker: Server, runs: int, *, rate: float, seconds: float) -> Load:
    each = runs // PROCESSES
    program = [sys.executable, str(Path(__file__).with_name("tracker_senders.py")), name, tracker.url]
    pace = ["--rate", str(rate), "--seconds", str(seconds)]
    with contextlib.ExitStack() as running:
        senders = [
            running.enter_context(
                subprocess.Popen(
                    [*program, *pace, "--runs", str(first), str(first + each)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for first in range(0, runs, each)
        ]
        for sender in senders:
            _line(sender)
        told = [_ask(sender) for sender in senders]
        return Load(_together([json.loads(answer()) for answer in told]), tracker.memory())


def _line(sender: subprocess.Popen[str]) -> str:
    return sender.stdout.readline() if sender.stdout else ""


def _ask(sender: subprocess.Popen[str]) -> Callable[[], str]:
    if sender.stdin:
        sender.stdin.write("\n")
        sender.stdin.flush()
    return lambda: _line(sender)


def _together(parts: Sequence[dict[str, Any]]) -> Sent:
    whole = Sent(last=max(part["last"] for part in parts))
    for part in parts:
        whole.steps |= {int(run): steps for run, steps in part["steps"].items()}
        whole.latencies += part["latencies"]
        whole.refused += part["refused"]
    return whole


@contextlib.contextmanager
def _trainings(url: str, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Real trainings with couriers of their own."""
    with contextlib.ExitStack() as running:
        yield [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _TRAINING],
                    env=clean_environment(
                        CALLBACK_URL=url, JOB_ID=f"real-{number}", TRAINER_HOOKS_DIR=str(folder / "own")
                    ),
                    stderr=subprocess.DEVNULL,
                )
            )
            for number in range(REAL)
        ]


@contextlib.contextmanager
def _readers(url: str) -> Iterator[dict[str, list[float]]]:
    """Reads one address after the other until the end; how long each took, by address."""
    place, base = urlsplit(url).netloc, urlsplit(url).path
    api = [f"{base}/runs", f"{base}/runs/load-7", f"{base}/runs/large/series?metric=loss&points=500"]
    taken: dict[str, list[float]] = {path: [] for path in (*api, *PAGES)}
    over = threading.Event()

    def read() -> None:
        over.wait(2.0)  # until the runs are there
        while not over.is_set():
            for path, times in taken.items():
                began = time.monotonic()
                if _is_there(place, path):
                    times.append(time.monotonic() - began)
                over.wait(_READ_EVERY)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield taken
    finally:
        over.set()
        reader.join()


def _is_there(place: str, path: str) -> bool:
    http = HTTPConnection(place, timeout=60)
    http.request("GET", path)
    answer = http.getresponse()
    answer.read()
    http.close()
    return answer.status == HTTPStatus.OK


def _write_large_run(root: Path) -> None:
    run = open_quiet_run(root, delivery="none", run_id="large")
    run.started(total_iterations=POINTS)
    for number in range(POINTS):
        run.log_metrics({"loss": metrics_of(0, number)["train/metric_0"]}, iteration=number)
    end_quietly(run)


def _wait_for_the_index(url: str) -> None:
    parts = urlsplit(url)

    def knows_all() -> bool:
        http = HTTPConnection(parts.netloc, timeout=120)
        http.request("GET", f"{parts.path}/runs/large/metrics")
        answer = http.getresponse()
        metrics = json.loads(answer.read())
        return answer.status == HTTPStatus.OK and any(metric["points"] == POINTS for metric in metrics)

    wait_until(knows_all, 300)


def _lost(root: Path, sent: Sent) -> int:
    """How many events were acknowledged and are not in the journals, or are there with another content, or twice."""
    lost = 0
    for run, steps in sent.steps.items():
        stored = [(one.seq, one.event.metrics) for one in read_records(root / f"load-{run}") if one.seq]
        told = [(step, metrics_of(run, step)) for step in range(1, steps + 1)]
        lost += sum(one != other for one, other in zip(told, stored, strict=False)) + abs(len(told) - len(stored))
    return lost


def _lost_of_trainings(folder: Path) -> int:
    """How many of the real trainings are not there as their own journals tell them."""

    def records(root: Path, number: int) -> list[Any]:
        return [(one.id, one.time, one.event) for one in read_records(root / f"real-{number}") if one.seq]

    pairs = [(records(folder / "own", number), records(folder / "runs", number)) for number in range(REAL)]
    return sum(told != stored or len(told) < 100 for told, stored in pairs)


def _times(taken: Sequence[float]) -> str:
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    return ", ".join(f"{name} {percentile(taken, share) * 1e3:.3g} ms" for name, share in shares)


if __name__ == "__main__":
    main(measure)
