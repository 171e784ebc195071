"""From `autolog` to the first event with a dead backend, in processes that have Ultralytics imported but not us.

Each is forked from one that has imported it, so that only ours is timed: its imports, opening the run, starting the
courier, `started`. CALLBACK_URL names a port that refuses. The next one is forked when the courier of the one before is
gone: else it would be timed while those are at work.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import Row, clean_environment, main, percentile, wait_for_courier, with_range

TIMES = 21
BUDGET = "≤ 100 ms"
PARTS = ("autolog", "open_run", "started")
FORKING = """
import json, os, sys, time
from ultralytics import YOLO
import ultralytics.engine.trainer

def first_event():
    times, spent = [time.perf_counter()], time.process_time()
    import trainer_hooks
    trainer_hooks.autolog("ultralytics")
    times.append(time.perf_counter())
    from trainer_hooks.run import open_run
    from trainer_hooks.settings import Settings
    run = open_run(Settings.load())
    times.append(time.perf_counter())
    run.started(framework="ultralytics", params={"lr0": 0.01, "epochs": 3}, class_names=["a", "b"])
    times.append(time.perf_counter())
    seconds = [later - earlier for earlier, later in zip(times, times[1:])]
    result = {"seconds": seconds, "cpu": time.process_time() - spent, "directory": str(run.directory)}
    print(json.dumps(result), flush=True)
    os._exit(0)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        first_event()
    os.waitpid(child, 0)
"""


def measure(folder: Path) -> Iterator[Row]:
    """The whole, and its parts; the first time doesn't count."""
    found = list(_first_events(folder))[1:]
    whole = [sum(one["seconds"]) for one in found]
    processor = with_range([one["cpu"] for one in found], "ms", 1e3)
    text = f"{with_range(whole, 'ms', 1e3)}, p90 {percentile(whole, 0.9) * 1e3:.0f} ms; on the processor {processor}"
    yield Row("autolog + first event, dead backend", text, BUDGET, statistics.median(whole) <= 0.1)
    for place, part in enumerate(PARTS):
        yield Row(f"of that: {part}", with_range([one["seconds"][place] for one in found], "ms", 1e3))


def _first_events(folder: Path) -> Iterator[dict[str, Any]]:
    environment = clean_environment(
        CALLBACK_URL=f"http://127.0.0.1:{_refused_port()}/api/v1",
        JOB_ID="",
        TRAINER_HOOKS_DIR=str(folder / "runs"),
        TRAINER_HOOKS_LINGER="1",
        TRAINER_HOOKS_FLUSH_TIMEOUT="1",
        YOLO_CONFIG_DIR=str(folder),
    )
    forking = subprocess.Popen(
        [sys.executable, "-c", FORKING], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with forking as process:
        told, answers = process.stdin, process.stdout
        if told is None or answers is None:
            raise RuntimeError("no pipes")
        for _ in range(TIMES + 1):
            print(file=told, flush=True)
            answer = json.loads(next(line for line in answers if line.startswith('{"seconds"')))
            wait_for_courier(Path(answer["directory"]))
            yield answer
        told.close()


def _refused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


if __name__ == "__main__":
    main(measure)
