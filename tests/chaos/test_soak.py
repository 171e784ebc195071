"""For long: a million events against a platform that takes ten a second, and a hundred runs in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.books import read_journal
from tests.hosts.processes import with_variable
from tests.hosts.scripts import ROOT
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.delivery import load_courier

pytestmark = pytest.mark.timeout(900)

_EVENTS = 1_000_000
_FLUSH_TIMEOUT = 5.0
_FLOOD = """
import json, os, random, sys, time
from trainer_hooks.run import start_run

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def emit(count):
    for number in range(count):
        metrics = {f"train/metric_{place}": random.random() for place in range(5)}
        if number % 10:
            run.log_metrics(metrics, iteration=number)
        else:
            run.log_metrics(metrics, epoch=number // 10 + 1, total_epochs=count)

run = start_run(log_level="OFF")
emit(20_000)
seen = [resident()]
for _ in range(10):
    emit(int(sys.argv[1]) // 10)
    seen.append(resident())
print(json.dumps({"first": seen[0], "most": max(seen)}), flush=True)
run.complete()
print(time.monotonic(), flush=True)
"""
_MANY_RUNS = """
import json, os, signal, sys, threading
from pathlib import Path
from trainer_hooks import start_run

def held():
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": len(os.listdir("/proc/self/fd")),
        "sigterm": str(signal.getsignal(signal.SIGTERM)),
        "excepthook": str(sys.excepthook),
    }

before = held()
checkpoint = Path(sys.argv[2])
checkpoint.write_bytes(b"a checkpoint" * 1000)
for number in range(int(sys.argv[1])):
    with start_run(run_id=f"run-{number}", job_id=str(number)) as run:
        run.log_metrics({"loss": 1.0}, epoch=1)
        run.log_checkpoint(checkpoint, names=["last"], epoch=1)
    assert run.flush(60), number
# An ended run is let go of when the next one begins.
with start_run(run_id="another", job_id="1000"):
    pass
print(json.dumps({"before": before, "after": held()}))
"""


def test_a_million_events_for_a_platform_that_takes_ten_a_second(own_environment: Path) -> None:
    with PlatformServer(batch=True) as server:
        server.max_events = 1
        server.always(Reply(delay=0.1), path="/events$")
        environment = {"CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": str(_FLUSH_TIMEOUT)}
        with _start(_FLOOD, str(_EVENTS), TRAINER_HOOKS_LINGER="10", **environment) as process:
            assert process.stdout is not None
            memory = json.loads(process.stdout.readline())
            courier = load_courier(own_environment / "7")
            assert courier is not None
            ended = float(process.stdout.readline())
            assert process.wait(60) == 0
            took = time.monotonic() - ended
        assert process.stderr is not None
        assert memory["most"] - memory["first"] <= 5, memory
        assert took <= _FLUSH_TIMEOUT + 5
        taken = len(server.events)
        assert 0 < taken < 2_000
        # Until the courier is gone: what it has ever had grows to the last.
        highest: list[float] = []
        wait_until(lambda: not _noted(highest, courier.process.pid), what="the courier's end")
        assert 0 < max(highest) <= 80
    journal = read_journal(own_environment / "7")
    training = [line for line in journal.lines if line.writer == "training"]
    assert not journal.damaged
    # Each segment's first record, the start, 20 000 to warm up, the end.
    assert len(training) == len({line.segment for line in training}) + 1 + 20_000 + _EVENTS + 1
    assert [line.type for line in training[-1:]] == ["run_completed"]


@pytest.mark.parametrize("delivery", ["process", "thread"])
def test_a_hundred_runs_in_one_process_leave_nothing_behind(
    delivery: str, tmp_path: Path, own_environment: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with PlatformServer(batch=True) as server:
        done = _start(
            _MANY_RUNS,
            "100",
            str(tmp_path / "last.bin"),
            CALLBACK_URL=server.url,
            TMPDIR=str(temporary),
            SOAK_ID=str(tmp_path),
            TRAINER_HOOKS_DELIVERY=delivery,
            TRAINER_HOOKS_STORAGE=f"file://{tmp_path}/store",
            TRAINER_HOOKS_FLUSH_TIMEOUT="30",
        )
        with done as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        held: dict[str, Any] = json.loads(out)
        assert len(held["after"].pop("threads")) <= len(held["before"].pop("threads")) + (delivery == "thread")
        # The last run is still open for its exit: its journal is closed, its courier watched, or at work as a thread.
        assert held["after"].pop("files") <= held["before"].pop("files") + 10, out
        assert held["after"] == held["before"]
        wait_until(lambda: not with_variable("SOAK_ID", str(tmp_path)), what="the couriers' end")
        completions = [event for event in server.events.values() if event["event"]["type"] == "run_completed"]
        assert len(completions) == 101
    assert not list(temporary.iterdir())
    assert not [path for path in own_environment.rglob("*") if path.name.startswith(".")]
    assert not list(own_environment.rglob("staged/*"))


def _start(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _noted(highest: list[float], pid: int) -> bool:
    """Note the most memory that the process has ever had resident, in MB; False if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    found = [int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM")]
    highest += found
    return bool(found)
