"""MMEngine under torchrun, really run: two gloo ranks on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.scripts import ROOT
from tests.servers.platform import PlatformServer
from trainer_hooks.events import (
    TERMINAL,
    CheckpointStored,
    EpochEnded,
    Logged,
    RankFailed,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_headers, read_records

JOB = "7"
WAYS = ["--autolog", pytest.param("--hook", marks=pytest.mark.long)]
pytestmark = [pytest.mark.framework, pytest.mark.timeout(200)]


def torchrun(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with launched(folder, 2, *arguments, **environment) as process:
        out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def launched(folder: Path, epochs: int, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Two ranks, while they run."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    host = ["-m", "tests.hosts.mmengine", str(folder), str(epochs), "--launcher", "pytorch", *arguments]
    process = subprocess.Popen(
        [*command, *host],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # torchrun stops its ranks


def told(root: Path, *kinds: type) -> list:
    (run,) = list_runs(root)
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_are_one_run_with_one_voice(way: str, tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        environment = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store", "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
        done = torchrun(tmp_path, way, CALLBACK_URL=server.url, JOB_ID=JOB, **environment)
        assert done.returncode == 0, done.stderr
        reported = [body["current_epoch"] for body in server.posts(f"/training/jobs/{JOB}/callback/progress")]
        assert reported == [0, 1, 2]
        assert server.job(JOB).status == "completed"
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    assert [event.epoch for event in told(own_environment, Validated)] == [1, 2]
    assert len(told(own_environment, RunStarted)) == len(told(own_environment, TERMINAL)) == 1
    assert {event.name for event in told(own_environment, CheckpointStored)} == {"last", "best"}
    assert told(own_environment, Logged)
    (run,) = list_runs(own_environment)
    assert {header.writer for header in read_headers(run).values()} == {"training", "courier"}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_a_rank_that_fails_is_told_with_its_rank_and_traceback(way: str, tmp_path: Path, own_environment: Path) -> None:
    done = torchrun(tmp_path, way, "--do", "raise in rank 1", "--at", "before_train_epoch", "--epoch", "2")
    assert done.returncode == 1
    assert "the user's own error" in done.stderr
    assert 1 in {event.rank for event in told(own_environment, RankFailed)}
    (failed,) = told(own_environment, *TERMINAL)
    assert isinstance(failed, RunFailed)
    assert (failed.rank, failed.message, failed.epoch) == (1, "the user's own error", 1)
    assert "_fail_in_rank_1" in failed.traceback
    (run,) = list_runs(own_environment)
    assert read_history(run).latest.status == "failed"


@pytest.mark.long
def test_the_launch_is_the_same_without_us(tmp_path: Path) -> None:
    done = [torchrun(tmp_path / way, way) for way in ("--autolog",)] + [torchrun(tmp_path / "alone")]
    assert [one.returncode for one in done] == [0, 0]
    with_us, alone = ({line for line in one.stdout.splitlines() if line.startswith("weights ")} for one in done)
    assert with_us == alone
    assert alone


@pytest.mark.long
def test_the_ranks_of_a_cancelled_job_leave_their_loops_together(tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        environment = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
        with launched(tmp_path, 1000, "--autolog", **environment) as process:
            server.wait_for(lambda server: server.job(JOB).validations, timeout=100)
            server.job_status = "cancelled"
            out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert out.count("weights ") == 2  # each rank has come to its own end
    (ended,) = told(own_environment, *TERMINAL)
    assert isinstance(ended, RunInterrupted)
    assert ended.epoch == [event.epoch for event in told(own_environment, EpochEnded)][-1] < 1000


@pytest.mark.long
def test_the_ranks_of_a_launch_resume_together(tmp_path: Path, own_environment: Path) -> None:
    environment = {
        "TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store",
        "TRAINER_HOOKS_RESUME": "auto",
        "JOB_ID": JOB,
    }
    failing = ["--do", "raise in rank 1", "--at", "before_train_epoch", "--epoch", "2"]
    assert torchrun(tmp_path, "--autolog", *failing, **environment).returncode == 1
    done = torchrun(tmp_path, "--autolog", **environment)
    assert done.returncode == 0, done.stderr
    history = read_history(own_environment / JOB)
    assert [attempt.status for attempt in history.attempts] == ["failed", "completed"]
    second = [r.event for r in read_records(own_environment / JOB) if r.attempt == 2]
    assert [event.epoch for event in second if isinstance(event, EpochEnded)] == [2]
