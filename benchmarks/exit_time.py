"""How long a finished run keeps its process: from the end of the run to the end of the process, in a script of its own.

Beside the same script with trainer_hooks disabled. The backend refuses, or takes everything; a live one that has been
reached before the end, as in any training longer than a second, and one that the courier has yet to reach.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, clean_environment, main, platform_server, with_range

ROUNDS = 7
DEAD_ROUNDS = 3
BOUND = 5.0
TOLERANCE = 0.2
SCRIPT = """
import sys, time
from trainer_hooks.run import start_run

with start_run(log_level="OFF", total_epochs=3) as run:
    for epoch in range(1, 4):
        run.log_metrics({"train/loss": 1 / epoch}, epoch=epoch)
    if sys.argv[1] == "reached":
        run.flush(timeout=60)
print(time.monotonic(), flush=True)
"""


def measure(folder: Path) -> Iterator[Row]:
    """Disabled, live and reached, live and not yet reached, dead."""
    bare = [_exit_time(folder, "at once", TRAINER_HOOKS_MODE="disabled") for _ in range(ROUNDS)]
    yield Row("exit, trainer_hooks disabled", with_range(bare, "ms", 1e3))
    with platform_server(batch=True) as url:
        for when in ("reached", "at once"):
            taken = [_exit_time(folder, when, CALLBACK_URL=url, JOB_ID=str(number)) for number in range(ROUNDS)]
            what = "reached before the end" if when == "reached" else "not yet reached"
            yield Row(f"exit, live backend, {what}", with_range(taken, "ms", 1e3))
    url = f"http://127.0.0.1:{_refused_port()}/api/v1"
    dead = [_exit_time(folder, "at once", CALLBACK_URL=url, JOB_ID=str(number)) for number in range(DEAD_ROUNDS)]
    over = statistics.median(dead) - statistics.median(bare)
    bound = f"≤ {BOUND:g} s, and the process's own"
    yield Row("exit, dead backend", with_range(dead, "s"), bound, over <= BOUND + TOLERANCE)


def _exit_time(folder: Path, when: str, **settings: str) -> float:
    root = folder / str(time.monotonic_ns())
    environment = clean_environment(TRAINER_HOOKS_DIR=str(root), TRAINER_HOOKS_LINGER="10", **settings)
    command = [sys.executable, "-c", SCRIPT, when]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as script:
        ended = float(script.stdout.readline()) if script.stdout else 0.0
        script.wait(60)
        return time.monotonic() - ended


def _refused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


if __name__ == "__main__":
    main(measure)
