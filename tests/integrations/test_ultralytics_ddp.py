"""Ultralytics' own multi-GPU launch, really run: two gloo ranks on the CPU (see tests/hosts/ddp_on_cpu)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ultralytics import __version__

from tests.hosts import scripts, ultralytics
from tests.servers.platform import PlatformServer
from trainer_hooks.events import (
    CheckpointStored,
    EpochEnded,
    Logged,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunStarted,
    Validated,
)
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_headers, read_records

JOB = "7"
version = tuple(int(number) for number in __version__.split("."))
pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]


def test_two_ranks_are_one_run_with_one_voice(tmp_path: Path, own_environment: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        done = scripts.run(
            ultralytics,
            tmp_path,
            "--autolog",
            "--device=0,1",
            CALLBACK_URL=server.url,
            JOB_ID=JOB,
            TRAINER_HOOKS_STORAGE=f"file://{tmp_path}/store",
            TRAINER_HOOKS_FLUSH_TIMEOUT="60",
            **ultralytics.TWO_RANKS,
        )
        assert done.returncode == 0, done.stderr
        statuses = server.job(JOB).statuses
        assert statuses == ["running"] * (len(statuses) - 1) + ["completed"]
        reported = [body["current_epoch"] for body in server.posts(f"/training/jobs/{JOB}/callback/progress")]
        assert reported == [0, 1, 2]
    (run,) = own_environment.iterdir()
    events = [record.event for record in read_records(run)]
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2]
    assert [event.final for event in events if isinstance(event, Validated)].count(True) == 1
    assert len([event for event in events if isinstance(event, RunStarted)]) == 1
    assert any(isinstance(event, Logged) for event in events)
    assert {event.name for event in events if isinstance(event, CheckpointStored)} == {"last", "best"}
    (completed,) = [event for event in events if isinstance(event, RunCompleted)]
    assert completed.epochs == 2
    assert completed.metrics
    assert {header.writer for header in read_headers(run).values()} == {"training", "rank 0", "courier"}
    assert "epochs       2 of 2" in done.stderr


@pytest.mark.long
@pytest.mark.skipif(version < (8, 4, 140), reason="this version doesn't carry the user's callbacks into its ranks")
def test_a_rank_that_fails_is_told_with_its_own_traceback(tmp_path: Path, own_environment: Path) -> None:
    arguments = ["--do", "raise in rank 1", "--at", "on_train_epoch_start", "--epoch", "2"]
    done = scripts.run(ultralytics, tmp_path, "--autolog", "--device=0,1", *arguments, **ultralytics.TWO_RANKS)
    assert done.returncode == 1
    assert "CalledProcessError" in done.stderr
    (run,) = own_environment.iterdir()
    events = [record.event for record in read_records(run)]
    assert 1 in {event.rank for event in events if isinstance(event, RankFailed)}
    (failed,) = [event for event in events if isinstance(event, RunFailed)]
    assert (failed.rank, failed.message) == (1, "the user's own error")
    assert "_fail_in_rank_1" in (failed.traceback or "")
    assert read_history(run).latest.status == "failed"


@pytest.mark.long
def test_the_launch_is_the_same_without_us(tmp_path: Path) -> None:
    done = scripts.run(ultralytics, tmp_path, "--device=0,1", **ultralytics.TWO_RANKS)
    with_us = scripts.run(ultralytics, tmp_path / "with us", "--autolog", "--device=0,1", **ultralytics.TWO_RANKS)
    assert (done.returncode, with_us.returncode) == (0, 0)
    assert weights(done.stdout) == weights(with_us.stdout)


def weights(output: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith("weights ")]
    return line
