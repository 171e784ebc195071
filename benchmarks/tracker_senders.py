"""A process of senders: each tells one run, with a connection of its own, as a courier does.

Says "ready", begins when a line arrives, and prints what came of it as JSON. With a rate, each run's steps come into
being at that rate, and the sender looks every tenth of a second for new ones, as the courier does; with 0, it sends
whole requests as fast as they are answered.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

from tracker_dialects import DIALECTS, MOST_STEPS, Dialect

_TICK = 0.1
_never = threading.Event()


@dataclass
class Sent:
    """What became of the runs: `steps` of each are acknowledged; `refused` requests were sent again."""

    steps: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    last: float = 0.0


def send(dialect: Dialect, url: str, run: int, options: argparse.Namespace, sent: Sent, go: threading.Barrier) -> None:
    """Tell one run until its time is over and all of it is acknowledged."""
    connection = dialect.connect(url)
    name = dialect.begin(connection, run)
    go.wait()
    # Not all in the same moment, as no two trainings are.
    began, done = time.monotonic() + run / options.runs[1] / (options.rate or 1e9), 0
    while (due := _due(began, done, options)) is not None:
        if due == done:
            _never.wait(_TICK)
            continue
        steps = range(done + 1, min(due, done + MOST_STEPS) + 1)
        sending = time.monotonic()
        taken = dialect.tell(connection, run, name, steps)
        sent.last = time.monotonic()
        if taken:
            sent.latencies.append(sent.last - sending)
        else:
            sent.refused += 1
        done = sent.steps[run] = done + taken


def _due(began: float, done: int, options: argparse.Namespace) -> int | None:
    """How many steps there are by now; None once nothing is left to do."""
    passed = time.monotonic() - began
    if not options.rate:
        return None if passed > options.seconds else done + MOST_STEPS
    due = int(max(0.0, min(passed, options.seconds)) * options.rate)
    return None if passed > options.seconds and done == due else due


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", choices=DIALECTS)
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, nargs=2, help="from this number on, below that")
    parser.add_argument("--rate", type=float, default=0.0, help="steps per second of each run")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    runs = range(*options.runs)
    go = threading.Barrier(len(runs) + 1)
    sent = [Sent() for _ in runs]
    senders = [
        threading.Thread(target=send, args=(DIALECTS[options.tracker], options.url, run, options, one, go))
        for run, one in zip(runs, sent, strict=True)
    ]
    for sender in senders:
        sender.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    go.wait()
    for sender in senders:
        sender.join()
    whole = Sent(last=max(one.last for one in sent) - began)
    for one in sent:
        whole.steps |= one.steps
        whole.latencies += one.latencies
        whole.refused += one.refused
    print(json.dumps(asdict(whole)))


if __name__ == "__main__":
    main()
