"""A job that the platform has cancelled: the training stops at its next epoch, in the framework's own way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trainer_hooks
from tests.hosts import scripts, ultralytics
from tests.hosts.every import HOSTS
from tests.servers.platform import PlatformServer
from tests.waiting import wait_until
from trainer_hooks.events import TERMINAL, EpochEnded, RunCompleted, RunInterrupted, StopRequested
from trainer_hooks.journal import read_records
from trainer_hooks.stopping import ask_to_stop

JOB = "7"
MANY = 400
SAYS = "the platform says that the job is 'cancelled'"
pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]


def told(root: Path, *kinds: type) -> list[Any]:
    return [record.event for record in read_records(root / JOB) if isinstance(record.event, kinds)]


def cancelled_on_the_way(
    server: PlatformServer, root: Path, host: Any, folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    where = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_FLUSH_TIMEOUT": "60", **environment}
    with scripts.start(host, folder, "--autolog", *arguments, epochs=MANY, **where) as process:
        wait_until(lambda: told(root, EpochEnded), timeout=100)
        server.job_status = "cancelled"
        out, err = process.communicate(timeout=200)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def assert_stopped(root: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "weights" in done.stdout
    (asked,) = told(root, StopRequested)
    assert asked.reason == SAYS
    (interrupted,) = told(root, *TERMINAL)
    assert isinstance(interrupted, RunInterrupted)
    assert interrupted.reason == SAYS
    epochs = [event.epoch for event in told(root, EpochEnded)]
    assert interrupted.epoch == epochs[-1] < MANY


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "batch", [pytest.param(False, id="B"), pytest.param(True, id="batches", marks=pytest.mark.long)]
)
def test_a_cancelled_job_stops_at_its_next_epoch_and_is_interrupted(
    host: Any, batch: bool, tmp_path: Path, own_environment: Path
) -> None:
    with PlatformServer(jobs=(JOB,), batch=batch) as server:
        done = cancelled_on_the_way(server, own_environment, host, tmp_path)
    assert_stopped(own_environment, done)


def test_a_heartbeats_answer_is_enough(own_environment: Path) -> None:
    """Nothing else is sent once the training hangs in a long epoch."""
    script = """
import sys, trainer_hooks
with trainer_hooks.start_run(total_epochs=100) as run:
    run.log_metrics({"loss": 1}, epoch=1)
    for line in sys.stdin:
        if run.should_stop:
            break
        run.log_metrics({"loss": 1}, epoch=2)
"""
    with PlatformServer(jobs=(JOB,), batch=True) as server:
        server.heartbeats = True
        environment = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_HEARTBEAT": "0.2"}
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=scripts.ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            text=True,
        )
        with process:
            server.wait_for(lambda server: [e for e in server.events.values() if e["event"]["type"] == "epoch_ended"])
            server.job_status = "Cancelled"
            wait_until(lambda: told(own_environment, StopRequested))
            process.stdin.write("\n")
            process.stdin.close()
            assert process.wait(60) == 0
    (interrupted,) = told(own_environment, *TERMINAL)
    assert interrupted.reason == "the platform says that the job is 'Cancelled'"
    assert interrupted.epoch == 1


@pytest.mark.long
def test_ultralytics_ranks_stop_together(tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        done = cancelled_on_the_way(
            server, own_environment, ultralytics, tmp_path, "--device=0,1", **ultralytics.TWO_RANKS
        )
    assert_stopped(own_environment, done)


def test_a_training_that_is_done_anyway_has_completed(own_environment: Path) -> None:
    with trainer_hooks.start_run(total_epochs=1, job_id=JOB, delivery="none") as run:
        run.log_metrics({"loss": 1}, epoch=1)
        ask_to_stop(own_environment / JOB, 1, SAYS)
        assert run.should_stop
    assert [type(event) for event in told(own_environment, *TERMINAL)] == [RunCompleted]


def test_the_next_attempt_is_not_stopped_by_what_was_said_to_this_one(own_environment: Path) -> None:
    first = trainer_hooks.start_run(job_id=JOB, delivery="none")
    ask_to_stop(own_environment / JOB, 1, SAYS)
    assert first.should_stop
    first.fail("given up")
    second = trainer_hooks.start_run(job_id=JOB, delivery="none", run_id=JOB)
    assert not second.should_stop
    second.complete()


def test_a_silent_run_never_stops() -> None:
    run = trainer_hooks.start_run(mode="disabled")
    assert not run.should_stop
