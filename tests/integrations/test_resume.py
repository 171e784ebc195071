"""`resume="auto"`: a training that was interrupted, killed or moved goes on where it was, for every host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import mmengine, scripts, ultralytics
from tests.hosts.every import HOSTS, with_host
from tests.servers.platform import PlatformServer
from tests.servers.s3 import BUCKET, free_port, moto_server
from tests.waiting import wait_until
from trainer_hooks.events import CheckpointStored, EpochEnded, RunFailed, RunInterrupted, RunStarted
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_records

JOB = "7"
EPOCHS = 4
pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Any:
    return request.param


def train(host: Any, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    where = {"JOB_ID": JOB, "TRAINER_HOOKS_RESUME": "auto", "TRAINER_HOOKS_FLUSH_TIMEOUT": "60", **environment}
    return scripts.run(host, folder, "--autolog", *arguments, epochs=EPOCHS, **where)


def cut_short(host: Any, folder: Path, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The first attempt, which ends in the course of its third epoch."""
    return train(host, folder, "--do", what, "--at", host.AFTER_EPOCH, "--epoch", "3", **environment)


def told(root: Path, kind: type, attempt: int) -> list[Any]:
    return [r.event for r in read_records(root / JOB) if r.attempt == attempt and isinstance(r.event, kind)]


@with_host(mmengine)
def test_after_a_sigterm_the_next_start_is_the_next_attempt_and_the_epochs_continue(
    host: Any, tmp_path: Path, own_environment: Path
) -> None:
    storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
    first = cut_short(host, tmp_path, "terminate", **storage)
    assert first.returncode == host.EXIT_STATUS.get("terminate", -15), first.stderr
    (interrupted,) = told(own_environment, RunInterrupted, 1)
    assert interrupted.reason == "SIGTERM"
    safe = {event.epoch for event in told(own_environment, CheckpointStored, 1)}
    assert max(safe) >= 2
    second = train(host, tmp_path, **storage)
    assert second.returncode == 0, second.stderr
    assert read_history(own_environment / JOB).latest.status == "completed"
    (started,) = told(own_environment, RunStarted, 2)
    assert started.resumed_from
    epochs = [event.epoch for event in told(own_environment, EpochEnded, 2)]
    assert epochs == list(range(max(safe) + 1, EPOCHS + 1))


@pytest.mark.long
def test_with_an_empty_disk_it_goes_on_from_storage_and_the_platform_takes_both_attempts(
    host: Any, tmp_path: Path
) -> None:
    with PlatformServer(jobs=(JOB,), batch=True) as server, moto_server() as s3:
        there = {
            "CALLBACK_URL": server.url,
            "TRAINER_HOOKS_STORAGE": f"s3://{BUCKET}/{host.name}",
            "INTERNAL_STORAGE_ENDPOINT": s3.url,
            "INTERNAL_STORAGE_ACCESS_KEY": s3.access_key,
            "INTERNAL_STORAGE_SECRET_KEY": s3.secret_key,
        }
        first, second = tmp_path / "first", tmp_path / "second"
        cut_short(host, first, "terminate", **there, TRAINER_HOOKS_DIR=str(first / "runs"))
        sent = dict(server.events)
        assert sent
        shutil.rmtree(first)
        first.write_text("a folder of that name can't be made here")
        done = train(host, second, **there, TRAINER_HOOKS_DIR=str(second / "runs"))
        assert done.returncode == 0, done.stderr
        assert read_history(second / "runs" / JOB).latest.number == 2
        new = {key: event for key, event in server.events.items() if key not in sent}
        assert {event["attempt"] for event in new.values()} == {2}
        epochs = [event["event"]["epoch"] for event in new.values() if event["event"]["type"] == "epoch_ended"]
        assert epochs[-1] == EPOCHS
        assert 1 not in epochs
        assert len(new) == len(list(read_records(second / "runs" / JOB))) - unsendable(second / "runs" / JOB)
        ended = [event["event"] for event in new.values() if event["event"]["type"] == "run_completed"]
        assert [event["best_epoch"] is not None for event in ended] == [True]
    assert list((second / "out").rglob(host.WRITES))


def unsendable(run: Path) -> int:
    """How many records speak of this machine only."""
    local = ("SegmentOpened", "CheckpointSaved", "ImageSaved")
    return sum(type(record.event).__name__ in local for record in read_records(run))


@pytest.mark.long
def test_without_storage_it_goes_on_from_the_hosts_own_file(host: Any, tmp_path: Path, own_environment: Path) -> None:
    cut_short(host, tmp_path, "kill")
    done = train(host, tmp_path)
    assert done.returncode == 0, done.stderr
    epochs = [event.epoch for event in told(own_environment, EpochEnded, 2)]
    assert epochs
    assert epochs == list(range(epochs[0], EPOCHS + 1))
    assert epochs[0] > 1


def test_where_storage_cannot_be_asked_the_training_does_not_begin_anew(
    host: Any, tmp_path: Path, own_environment: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = train(
        host,
        tmp_path,
        TRAINER_HOOKS_STORAGE=f"s3://{BUCKET}",
        INTERNAL_STORAGE_ENDPOINT=nobody,
        INTERNAL_STORAGE_ACCESS_KEY="key",
        INTERNAL_STORAGE_SECRET_KEY="secret",
        TRAINER_HOOKS_FLUSH_TIMEOUT="0",
    )
    assert done.returncode == 1
    assert "CannotResume" in done.stderr
    assert "TRAINER_HOOKS_RESUME=never" in done.stderr
    (failed,) = told(own_environment, RunFailed, 1)
    assert failed.exception == "trainer_hooks.errors.CannotResume"
    assert told(own_environment, EpochEnded, 1) == []


@pytest.mark.long
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(host: Any, tmp_path: Path, own_environment: Path) -> None:
    storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
    cut_short(host, tmp_path, "terminate", **storage)
    last = tmp_path / "store" / "checkpoints" / JOB / f"last{host.SUFFIX}"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(own_environment)
    done = train(host, tmp_path, **storage)
    assert done.returncode == 0, done.stderr
    assert "not resumed from checkpoint" in done.stderr
    assert [event.epoch for event in told(own_environment, EpochEnded, 2)][-1] == EPOCHS


@pytest.mark.long
def test_a_completed_run_begins_anew(host: Any, tmp_path: Path, own_environment: Path) -> None:
    for attempt in (1, 2):
        done = train(host, tmp_path)
        assert done.returncode == 0, done.stderr
        epochs = [event.epoch for event in told(own_environment, EpochEnded, attempt)]
        assert epochs == list(range(1, EPOCHS + 1))


@pytest.mark.long
def test_ranks_that_ultralytics_launches_resume_as_one_run(tmp_path: Path, own_environment: Path) -> None:
    two_ranks = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store", **ultralytics.TWO_RANKS}
    first = train(
        ultralytics,
        tmp_path,
        "--device=0,1",
        "--do=raise in rank 1",
        f"--at={ultralytics.AFTER_EPOCH}",
        "--epoch=3",
        **two_ranks,
    )
    assert first.returncode == 1
    second = train(ultralytics, tmp_path, "--device=0,1", **two_ranks)
    assert second.returncode == 0, second.stderr
    history = read_history(own_environment / JOB)
    assert [attempt.status for attempt in history.attempts] == ["failed", "completed"]
    epochs = [event.epoch for event in told(own_environment, EpochEnded, 2)]
    assert epochs == list(range(epochs[0], EPOCHS + 1))
    assert epochs[0] > 1


@pytest.mark.long
def test_a_checkpoint_of_the_last_epoch_is_nothing_to_go_on_from_and_that_is_what_is_told(
    tmp_path: Path, own_environment: Path
) -> None:
    """Ultralytics can't resume a training whose epochs are all done."""
    storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
    train(ultralytics, tmp_path, "--do", "kill", "--at", "on_train_end", **storage)
    wait_until(lambda: read_history(own_environment / JOB).latest.state.ended, what="the courier's last word")
    wait_until(lambda: EPOCHS in {event.epoch for event in told(own_environment, CheckpointStored, 1)})
    shutil.rmtree(own_environment)
    shutil.rmtree(tmp_path / "out")
    done = train(ultralytics, tmp_path, **storage)
    assert done.returncode == 0, done.stderr
    assert "it begins anew" in done.stderr
    (started,) = told(own_environment, RunStarted, 1)
    assert (started.epoch, started.resumed_from) == (None, None)
    assert [event.epoch for event in told(own_environment, EpochEnded, 1)] == list(range(1, EPOCHS + 1))
