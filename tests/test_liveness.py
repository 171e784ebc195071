"""Heartbeats: what is on disk and at the platform while a real process trains, hangs, goes on and dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.events import ProgressResumed, ProgressStalled, RunLost
from trainer_hooks.journal import read_records
from trainer_hooks.liveness import load_liveness

ROOT = Path(__file__).parent.parent
HEARTBEAT = "/training/jobs/7/heartbeat"
LOGS = "/training/jobs/7/callback/logs"
# An epoch for each line that comes.
TRAINING = """
import sys, trainer_hooks
with trainer_hooks.start_run(total_epochs=100) as run:
    for epoch, _ in enumerate(sys.stdin, 1):
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch, duration=0.01)
"""


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",), batch=True) as running:
        running.heartbeats = True
        yield running


@pytest.fixture
def training(server: PlatformServer) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "CALLBACK_URL": server.url,
        "JOB_ID": "7",
        "TRAINER_HOOKS_HEARTBEAT": "0.3",
        "TRAINER_HOOKS_STALLED_AFTER": "20",
    }
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING], cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def epochs(training: subprocess.Popen[str], count: int) -> None:
    training.stdin.write("\n" * count)
    training.stdin.flush()


def told(root: Path, kind: type) -> list:
    return [record.event for record in read_records(root / "7") if isinstance(record.event, kind)]


def test_a_hang_is_told_apart_from_progress_and_from_death(
    server: PlatformServer, training: subprocess.Popen[str], own_environment: Path
) -> None:
    server.wait_for(lambda server: any(beat["state"] == "starting" for beat in server.posts(HEARTBEAT)))
    epochs(training, 4)
    server.wait_for(lambda server: any(beat["epoch"] == 4 for beat in server.posts(HEARTBEAT)))
    server.wait_for(lambda server: any(beat["state"] == "stalled" for beat in server.posts(HEARTBEAT)))
    stalled = wait_until(lambda: told(own_environment, ProgressStalled))
    assert [(event.epoch, event.usual) for event in stalled] == [(4, 0.01)]
    assert stalled[0].idle >= 0.6
    wait_until(lambda: load_liveness(own_environment / "7").state == "stalled")
    epochs(training, 1)
    (resumed,) = wait_until(lambda: told(own_environment, ProgressResumed))
    assert resumed.idle >= 0.6
    training.kill()
    wait_until(lambda: told(own_environment, RunLost), what="the last word")
    last = server.posts(HEARTBEAT)[-1]
    server.wait_for(lambda server: [e for e in server.events.values() if e["event"]["type"] == "run_lost"])
    assert last["attempt"] == 1
    kinds = [event["event"]["type"] for event in server.events.values()]
    assert kinds.count("progress_stalled") >= 1
    assert kinds[-1] == "run_lost"


def test_a_heartbeat_that_is_refused_delays_and_loses_nothing(
    server: PlatformServer, training: subprocess.Popen[str], own_environment: Path
) -> None:
    server.always(Reply(404), path="heartbeat")
    server.wait_for(lambda server: any(request.path.endswith("heartbeat") for request in server.requests))
    epochs(training, 2)
    server.wait_for(lambda server: [e for e in server.events.values() if e["event"].get("epoch") == 2])
    training.stdin.close()
    assert training.wait(30) == 0
    assert own_environment.exists()


def test_b_is_told_of_a_hang_in_its_log(own_environment: Path) -> None:
    with PlatformServer(jobs=("7",)) as server:
        environment = {"CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_HEARTBEAT": "0.3"}
        with subprocess.Popen(
            [sys.executable, "-c", TRAINING],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            text=True,
        ) as process:
            epochs(process, 4)
            server.wait_for(lambda server: any("no progress for" in body["message"] for body in server.posts(LOGS)))
            process.stdin.close()
            assert process.wait(30) == 0
    assert not [request for request in server.requests if "heartbeat" in request.path]
    assert own_environment.exists()


def test_a_run_without_heartbeats_writes_none(own_environment: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING],
        cwd=ROOT,
        env={**os.environ, "TRAINER_HOOKS_HEARTBEAT": "0", "JOB_ID": "7"},
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdin.close()
        assert process.wait(30) == 0
    assert load_liveness(own_environment / "7") is None
