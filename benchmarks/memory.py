"""Resident memory over a million events of five scalars: of the training, and of the courier that delivers them.

The courier's is its highest ever (VmHWM), delivering to the tests' platform (batches) in a third process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, clean_environment, main, platform_server, wait_for_courier

EVENTS = 1_000_000
IN_TRAINING, IN_COURIER = 5.0, 80.0
TRAINING = """
import json, os, random, sys, time
from trainer_hooks.delivery import load_courier
from trainer_hooks.run import start_run

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def highest(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1e3

events, wait = int(sys.argv[1]), sys.argv[2] == "wait"
run = start_run(log_level="OFF")

def emit(count):
    for number in range(count):
        metrics = {f"train/metric_{place}": random.random() for place in range(5)}
        if number % 10:
            run.log_metrics(metrics, iteration=number)
        else:
            run.log_metrics(metrics, epoch=number // 10 + 1, total_epochs=count)

emit(20_000)
seen = [resident()]
began = time.monotonic()
for _ in range(10):
    emit(events // 10)
    seen.append(resident())
took = time.monotonic() - began
delivered = run.flush(timeout=900) if wait else None
courier = load_courier(run.directory) if wait else None
print(json.dumps({
    "seen": seen, "took": took, "delivered": delivered, "directory": str(run.directory),
    "courier": highest(courier.process.pid) if courier else None,
}))
"""


def measure(folder: Path) -> Iterator[Row]:
    """The training by itself, then with a courier and a platform."""
    alone = _train(folder / "alone", EVENTS, "no", TRAINER_HOOKS_DELIVERY="none")
    yield _row("training, delivery=none", alone, EVENTS)
    with platform_server(batch=True) as url:
        followed = _train(folder / "followed", EVENTS, "wait", CALLBACK_URL=url, JOB_ID="7")
        yield _row("training, with a courier", followed, EVENTS)
        highest = float(followed["courier"])  # type: ignore[arg-type]
        text = f"{highest:.0f} MB at most; everything delivered: {followed['delivered']}"
        yield Row("courier, to a platform with batches", text, f"≤ {IN_COURIER:g} MB", highest <= IN_COURIER)
        wait_for_courier(Path(str(followed["directory"])))


def _train(folder: Path, events: int, wait: str, **settings: str) -> dict[str, object]:
    environment = clean_environment(TRAINER_HOOKS_DIR=str(folder), **settings)
    command = [sys.executable, "-c", TRAINING, str(events), wait]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _row(what: str, found: dict[str, object], events: int) -> Row:
    seen: list[float] = found["seen"]  # type: ignore[assignment]
    growth = max(seen) - seen[0]
    text = f"{growth:+.1f} MB at most, from {seen[0]:.1f} MB; {events / float(found['took']):,.0f} events/s"  # type: ignore[arg-type]
    return Row(f"{what}, {events:,} events", text, f"≤ {IN_TRAINING:g} MB growth", growth <= IN_TRAINING)


if __name__ == "__main__":
    main(measure)
