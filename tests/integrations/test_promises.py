"""The promises of docs/architecture.md, for every host: a third framework gets this whole suite by adding one host."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trainer_hooks
from tests.hosts.every import HOSTS, HOSTS_IN_EACH_PHASE
from tests.hosts.hosting import ENDS
from tests.hosts.scripts import ROOT
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.events import CheckpointSaved, EpochEnded, RunCompleted, RunFailed, RunInterrupted, RunStarted
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

JOB = "7"


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def attached(host: Any) -> Iterator[Callable[..., trainer_hooks.Autolog]]:
    """`autolog` for the host, undone at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(trainer_hooks.autolog(host.name, **settings))


@pytest.fixture
def undisturbed(host: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights that two epochs of the host's training give without us."""
    if host.name not in _UNDISTURBED:
        _UNDISTURBED[host.name] = host.train(tmp_path_factory.mktemp("undisturbed"), 2).weights
    return _UNDISTURBED[host.name]


_UNDISTURBED: dict[str, str] = {}


def nothing_listens() -> int:
    """A loopback port that refuses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


BACKEND_FAULTS = {
    "works": None,
    "hangs": Reply(hang=True),
    "drips": Reply(drip=1.0),
    "answers 500": Reply(500),
    "answers 429": Reply(429, headers={"Retry-After": "3600"}),
    "answers 404": Reply(404),
    "answers 422": Reply(422),
    "answers with a login page": Reply(200, body=b"<html>log in</html>", content_type="text/html"),
}


@pytest.mark.framework
@pytest.mark.parametrize("fault", BACKEND_FAULTS)
@pytest.mark.parametrize("delivery", ["process", "thread"])
def test_the_weights_are_the_same_whatever_the_backend_does(
    host: Any, attached: Any, undisturbed: Any, tmp_path: Path, fault: str, delivery: str
) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        if BACKEND_FAULTS[fault]:
            server.always(BACKEND_FAULTS[fault])
        attached(callback_url=server.url, job_id=JOB, delivery=delivery, linger=0, storage=f"file://{tmp_path}/store")
        assert host.train(tmp_path, 2).weights == undisturbed
        wait_until(lambda: server.requests, what="a request to the backend")
    assert_complete(tmp_path, epochs=2)


@pytest.mark.framework
@pytest.mark.parametrize("delivery", ["process", "thread"])
def test_the_weights_are_the_same_when_nobody_listens(
    host: Any, attached: Any, undisturbed: Any, tmp_path: Path, delivery: str
) -> None:
    nobody = f"http://127.0.0.1:{nothing_listens()}"
    attached(
        callback_url=f"{nobody}/api/v1",
        job_id=JOB,
        storage="s3://bucket",
        storage_endpoint=nobody,
        storage_access_key="key",
        storage_secret_key="secret",
        delivery=delivery,
        linger=0,
    )
    assert host.train(tmp_path, 2).weights == undisturbed
    assert_complete(tmp_path, epochs=2)


@pytest.mark.framework
@pytest.mark.parametrize("delivery", ["process", "thread", "none"])
def test_the_weights_are_the_same_with_nothing_configured(
    host: Any, attached: Any, undisturbed: Any, tmp_path: Path, delivery: str
) -> None:
    attached(delivery=delivery)
    assert host.train(tmp_path, 2).weights == undisturbed
    assert_complete(tmp_path, epochs=2)


@pytest.mark.framework
def test_a_place_that_cannot_be_written_does_not_stop_the_training(
    host: Any, attached: Any, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    attached(directory="/proc/no-directory-can-be-made-here")
    assert host.train(tmp_path, 2).weights == undisturbed
    (fallback,) = tmp_path.glob("trainer_runs-*")
    assert [read_history(run).latest.status for run in list_runs(fallback)] == ["completed"]


@pytest.mark.framework
def test_no_place_at_all_does_not_stop_the_training(
    host: Any, attached: Any, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nor-here")
    attached(directory="/proc/no-directory-can-be-made-here")
    # Once the run is opened, there is a place again: a host may want one for itself.
    trained = host.train(tmp_path, 2, at=host.PHASES[:1], do=lambda: setattr(tempfile, "tempdir", str(tmp_path)))
    assert trained.weights == undisturbed


@pytest.mark.framework
@pytest.mark.timeout(600)
@pytest.mark.long
def test_an_error_in_any_function_of_ours_leaves_the_training_as_it_was(
    host: Any, undisturbed: Any, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts.explosions", host.name, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["weights"].keys() == {undisturbed}
    necessary = {
        "run/opened.py:Opened.emit",
        "run/speaking.py:open_run",
        "journal/writer.py:Journal.append",
        "staging.py:Stager.stage",
    }
    assert necessary <= set(found["raised"])
    assert len(found["raised"]) > 120


@pytest.mark.framework
@pytest.mark.parametrize(("host", "at"), HOSTS_IN_EACH_PHASE, indirect=["host"])
def test_the_users_exception_goes_on_as_the_same_object_and_is_told_once(
    host: Any, attached: Any, tmp_path: Path, at: str
) -> None:
    error = ValueError("the user's own error")
    attached()

    def fail() -> None:
        raise error

    trained = host.train(tmp_path, 2, at=[at], epoch=2, do=fail)

    assert trained.error is error
    assert (error.__cause__, error.__context__) == (None, None)
    failures = [event for event in events(tmp_path) if isinstance(event, RunFailed)]
    assert [(f.error, f.message, f.exception) for f in failures] == [
        ("UnknownError", "the user's own error", "ValueError")
    ]
    assert "raise error" in (failures[0].traceback or "")


@pytest.mark.framework
def test_ctrl_c_is_an_interruption(host: Any, attached: Any, tmp_path: Path) -> None:
    attached()
    trained = host.train(tmp_path, 3, at=[host.AFTER_EPOCH], do=ENDS["interrupt"])
    assert isinstance(trained.error, host.CTRL_C)
    assert [e.reason for e in events(tmp_path) if isinstance(e, RunInterrupted)] == ["KeyboardInterrupt"]


@pytest.mark.framework
def test_two_trainings_in_one_process_are_two_runs(host: Any, attached: Any, tmp_path: Path) -> None:
    attached(job_id=JOB)
    host.train(tmp_path, 1)
    host.train(tmp_path, 2)
    runs = {read_history(run).run: read_history(run).latest.state.epoch for run in list_runs(tmp_path / "trainer_runs")}
    assert runs == {JOB: 1, f"{JOB}-2": 2}


@pytest.mark.framework
def test_detach_leaves_every_object_of_the_host_as_it_was(host: Any, tmp_path: Path) -> None:
    before = host.fingerprint()
    handle = trainer_hooks.autolog(host.name)
    trainer_hooks.autolog(host.name)
    assert host.fingerprint() != before
    handle.detach()
    assert host.fingerprint() == before
    host.train(tmp_path, 1)
    assert list(list_runs(tmp_path / "trainer_runs")) == []


@pytest.mark.framework
def test_an_epoch_is_told_with_the_hosts_own_metrics(host: Any, attached: Any, tmp_path: Path) -> None:
    attached()
    host.train(tmp_path, 3)
    told = events(tmp_path)
    epochs = [event for event in told if isinstance(event, EpochEnded)]
    assert [(event.epoch, event.total_epochs) for event in epochs] == [(1, 3), (2, 3), (3, 3)]
    for event in epochs:
        assert event.metrics.keys() >= host.EPOCH_METRICS
        assert event.duration is not None
        assert event.time_left is not None
    assert epochs[-1].time_left == 0
    (started,) = [event for event in told if isinstance(event, RunStarted)]
    assert (started.framework, started.total_epochs) == (host.name, 3)
    assert isinstance(told[-1], RunCompleted)


@pytest.mark.framework
def test_checkpoints_are_told_when_they_are_whole(host: Any, attached: Any, tmp_path: Path) -> None:
    attached(storage=f"file://{tmp_path}/store", delivery="none")
    host.train(tmp_path, 2)
    (run,) = list_runs(tmp_path / "trainer_runs")
    saved = [event for event in events(tmp_path) if isinstance(event, CheckpointSaved)]
    assert {name for event in saved for name in event.names} == {"last", "best"}
    assert [event.names for event in saved if event.final] == [["best"]] * host.FINAL_BEST
    kept = [event for event in saved if event.staged and (run / event.staged).exists()]
    assert kept
    for event in kept:
        host.load_checkpoint(run / str(event.staged))


def events(tmp_path: Path) -> list[Any]:
    """What the only run told, in order."""
    (run,) = list_runs(tmp_path / "trainer_runs")
    return [record.event for record in read_records(run)]


def assert_complete(tmp_path: Path, epochs: int) -> None:
    (run,) = list_runs(tmp_path / "trainer_runs")
    latest = read_history(run).latest
    assert (latest.status, latest.state.epoch) == ("completed", epochs)
