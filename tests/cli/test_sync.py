"""`trainer-hooks sync`: what is pending is delivered, and what it says and returns is true."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.parts import COMMAND, COMPLETED, TRAINING, invoke, write_run, write_run_of_a_dead_process
from tests.servers.platform import PlatformServer, Reply
from tests.waiting import wait_until
from trainer_hooks.courier.tidying import remove_untold_copies
from trainer_hooks.delivery import load_rejected
from trainer_hooks.events import CheckpointSaved, Logged, RunCompleted
from trainer_hooks.history import read_history
from trainer_hooks.journal import Journal
from trainer_hooks.ledger import read_ledger

PROGRESS = "/training/jobs/7/callback/progress"
COMPLETION = "/training/jobs/7/callback/completion"
LOGS = "/training/jobs/7/callback/logs"
WITH_LOGS = [*TRAINING, Logged(level="INFO", message="first"), Logged(level="INFO", message="second"), COMPLETED[-1]]


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",)) as running:
        yield running


def test_what_is_pending_is_delivered_to_where_the_run_was_recorded_for(
    own_environment: Path, server: PlatformServer
) -> None:
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    result = invoke("sync")
    assert result.exit_code == 0, result.output
    assert server.posts(COMPLETION)
    ledger = read_ledger(directory)
    assert (ledger.pending, ledger.rejected, ledger.is_balanced) == (0, 0, True)
    (account,) = ledger.accounts
    first, last = result.stdout.splitlines()
    assert first == f"a: completed; platform delivered {account.delivered}, pending 0, rejected 0"
    assert last == "1 run: 1 delivered"


def test_a_second_sync_sends_nothing(own_environment: Path, server: PlatformServer) -> None:
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    assert invoke("sync", str(directory)).exit_code == 0
    before = len(server.requests)
    assert invoke("sync", str(directory)).exit_code == 0
    assert len(server.requests) == before


def test_the_environment_goes_before_the_record_but_the_job_is_the_runs_own(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(own_environment, "a", COMPLETED, job="7", callback_url="http://127.0.0.1:9/api/v1")
    monkeypatch.setenv("CALLBACK_URL", server.url)
    monkeypatch.setenv("JOB_ID", "8")
    assert invoke("sync").exit_code == 0
    assert server.posts(COMPLETION)


def test_a_run_without_job_and_platform_is_not_told_to_one(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(own_environment, "7-2", COMPLETED)
    monkeypatch.setenv("CALLBACK_URL", server.url)
    result = invoke("sync")
    assert (result.exit_code, server.requests) == (0, [])
    assert "no destination is configured" in result.stdout


def test_what_can_not_be_delivered_in_time_is_pending(own_environment: Path, server: PlatformServer) -> None:
    server.always(Reply(503))
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    result = invoke("sync", "--timeout", "0.5")
    assert result.exit_code == 3
    assert "answered 503" in result.stdout
    assert result.stdout.endswith("1 run: 1 pending\n")
    server.normal()
    assert invoke("sync").exit_code == 0
    assert read_ledger(directory).is_balanced


def test_what_was_refused_is_offered_again_and_nothing_else(own_environment: Path, server: PlatformServer) -> None:
    server.script([Reply(422)], path="/logs")
    directory = write_run(own_environment, "a", WITH_LOGS, job="7", callback_url=server.url)
    assert invoke("sync").exit_code == 4
    (refused,) = load_rejected(directory, "platform")
    before = len(server.requests)

    assert invoke("sync").exit_code == 4
    assert len(server.requests) == before
    result = invoke("sync", "--retry-rejected")

    assert result.exit_code == 0, result.output
    sent = [request for request in server.requests[before:] if request.method == "POST"]
    assert [request.headers["Idempotency-Key"] for request in sent] == [refused.id]
    assert [body["message"] for body in server.posts(LOGS)] == ["second", "first"]
    assert load_rejected(directory, "platform") == []
    ledger = read_ledger(directory)
    assert (ledger.rejected, ledger.pending, ledger.is_balanced) == (0, 0, True)


def test_what_is_refused_again_stays_refused_with_the_new_reason(own_environment: Path, server: PlatformServer) -> None:
    server.script([Reply(422), Reply(422)], path="/logs")
    directory = write_run(own_environment, "a", WITH_LOGS, job="7", callback_url=server.url)
    assert invoke("sync").exit_code == 4
    assert len(load_rejected(directory, "platform")) == 2
    server.script([Reply(409)], path="/logs")
    assert invoke("sync", "--retry-rejected").exit_code == 4
    (left,) = load_rejected(directory, "platform")
    assert "answered 409" in left.reason
    assert (read_ledger(directory).rejected, read_ledger(directory).is_balanced) == (1, True)


def test_a_job_that_was_unknown_is_told_in_order_once_it_is_known(
    own_environment: Path, server: PlatformServer
) -> None:
    server.jobs = ()
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    assert invoke("sync").exit_code == 4
    server.jobs = ("7",)
    assert invoke("sync", "--retry-rejected").exit_code == 0
    assert server.job("7").statuses == ["running", "running", "running", "completed"]
    assert read_ledger(directory).is_balanced


def test_nothing_is_offered_again_that_would_set_the_platform_back(
    own_environment: Path, server: PlatformServer
) -> None:
    server.script([Reply(422)], path="/progress")
    write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    assert invoke("sync").exit_code == 4
    result = invoke("sync", "--retry-rejected")
    assert result.exit_code == 4
    assert "1 not offered again, since later ones have been told" in result.stdout
    assert server.job("7").statuses == ["running", "running", "completed"]


def test_a_killed_training_gets_its_terminal_event(own_environment: Path, server: PlatformServer) -> None:
    directory = write_run_of_a_dead_process(own_environment, "a", job="7", callback_url=server.url)
    assert read_history(directory).latest.state.ended is None
    assert invoke("sync").exit_code == 0
    assert read_history(directory).latest.state.status == "lost"
    (completion,) = server.posts(COMPLETION)
    assert completion["status"] != "completed"


def test_a_killed_training_without_any_destination_gets_its_terminal_event(own_environment: Path) -> None:
    directory = write_run_of_a_dead_process(own_environment, "a")
    assert invoke("sync").exit_code == 0
    assert read_history(directory).latest.state.status == "lost"


def test_a_private_copy_that_a_killed_training_never_told_of_is_removed(own_environment: Path) -> None:
    directory = write_run_of_a_dead_process(own_environment, "a")
    told = CheckpointSaved(names=["last"], path="last.pt", size=5, staged="staged/told.pt")
    journal = Journal(directory, run="a", attempt=1, writer="training")
    journal.append(told)
    journal.close()
    for folder in ("staged", "images"):
        (directory / folder).mkdir()
        (directory / folder / "half.pt").write_bytes(b"half a copy")
    (directory / "staged" / "told.pt").write_bytes(b"whole")
    assert invoke("sync").exit_code == 0
    # Nothing is configured that would store it; a later sync may have it.
    assert [path.name for path in directory.glob("*/*.pt")] == ["told.pt"]


def test_a_private_copy_of_a_training_at_work_is_left_alone(own_environment: Path) -> None:
    directory = write_run(own_environment, "a", COMPLETED)
    Journal(directory, run="a", attempt=2, writer="training").close()
    (directory / "staged").mkdir()
    (directory / "staged" / "half.pt").write_bytes(b"as far as it is")
    remove_untold_copies(directory, attempt=1)
    assert invoke("sync").exit_code == 0
    assert [path.name for path in directory.glob("staged/*")] == ["half.pt"]


@pytest.mark.long
def test_a_signal_ends_a_delivery_that_gets_nowhere(own_environment: Path, server: PlatformServer) -> None:
    server.always(Reply(503))
    for run in ("a", "b"):
        write_run(own_environment, run, COMPLETED, job="7", callback_url=server.url)
    process = subprocess.Popen([*COMMAND, "sync", "--timeout", "600"], stdout=subprocess.PIPE, text=True)
    try:
        server.wait_for(lambda server: len(server.requests) > 1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 3
    assert said.endswith("1 run: 1 pending\n")


def test_a_checkpoint_is_stored_where_the_environment_says_and_its_address_told(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = CheckpointSaved(names=["last"], path="/out/last.bin", size=4, epoch=2, staged="staged/1-last.bin")
    events = [*TRAINING, saved, COMPLETED[-1]]
    directory = write_run(own_environment, "a", events, job="7", callback_url=server.url, storage="file:///proc/none")
    (directory / "staged").mkdir()
    (directory / "staged" / "1-last.bin").write_bytes(b"data")
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    result = invoke("sync")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "store" / "checkpoints" / "7" / "last.bin").read_bytes() == b"data"
    ledger = read_ledger(directory)
    assert [account.destination for account in ledger.accounts] == ["checkpoints", "platform"]
    assert (ledger.pending, ledger.is_balanced) == (0, True)
    assert "last.bin" in str(server.posts(COMPLETION))


def test_a_training_at_work_is_delivered_as_far_as_it_has_come(own_environment: Path, server: PlatformServer) -> None:
    directory = write_run(own_environment, "a", TRAINING, job="7", callback_url=server.url)
    result = invoke("sync", "--timeout", "20")
    assert result.exit_code == 0
    assert "a: running; platform" in result.stdout
    assert server.posts(PROGRESS)
    assert server.posts(COMPLETION) == []
    assert read_history(directory).latest.state.ended is None


def test_a_run_that_its_own_courier_delivers_is_left_to_it(own_environment: Path, server: PlatformServer) -> None:
    directory = write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    (directory / "delivery").mkdir()
    with (directory / "delivery" / "courier.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = invoke("sync")
    assert result.exit_code == 3
    assert "its own courier is at work" in result.stdout
    assert server.requests == []


def test_a_run_that_can_not_be_set_up_does_not_hold_up_the_others(
    own_environment: Path, server: PlatformServer
) -> None:
    saved = CheckpointSaved(names=["last"], path="last.pt", size=1, staged="staged/last.pt")
    write_run(own_environment, "a", [*COMPLETED, saved], job="7", storage="ftp://nowhere")
    write_run(own_environment, "b", COMPLETED, job="7", callback_url=server.url)
    result = invoke("sync")
    assert result.exit_code == 2
    assert "no storage is known for 'ftp'" in result.stdout
    assert server.posts(COMPLETION)


def test_offline_mode_holds_for_the_training_and_not_for_sync(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_MODE", "offline")
    write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    assert invoke("sync").exit_code == 0
    assert server.posts(COMPLETION)


def test_a_directory_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    result = invoke("sync", str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sidecar_delivers_what_comes_and_ends_by_a_signal(
    own_environment: Path, server: PlatformServer, number: signal.Signals
) -> None:
    sidecar = subprocess.Popen([*COMMAND, "sync", "--watch"], stdout=subprocess.PIPE, text=True)
    try:
        directory = write_run(own_environment, "a", TRAINING, job="7", callback_url=server.url)
        server.wait_for(lambda server: server.posts(PROGRESS))
        journal = Journal(directory, run="a", attempt=1, writer="training", job="7")
        journal.append(RunCompleted(epochs=2))
        journal.close()
        server.wait_for(lambda server: server.posts(COMPLETION))
        wait_until(lambda: read_ledger(directory).pending == 0, what="the end of the delivery")
        os.kill(sidecar.pid, number)
        said, _ = sidecar.communicate(timeout=20)
    finally:
        sidecar.kill()
    assert sidecar.returncode == 0
    assert said.splitlines()[-1] == "1 run: 1 delivered"


def test_a_sidecar_that_is_asked_to_end_delivers_first_what_came_meanwhile(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_FLUSH_TIMEOUT", "20")
    directory = write_run(own_environment, "a", TRAINING, job="7", callback_url=server.url)
    with sidecar("--watch") as process:
        server.wait_for(lambda server: server.posts(PROGRESS))
        wait_until(lambda: read_ledger(directory).pending == 0, what="the delivery so far")
        journal = Journal(directory, run="a", attempt=1, writer="training", job="7")
        journal.append(RunCompleted(epochs=2))
        journal.close()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[-1]) == (0, "1 run: 1 delivered")
    assert server.posts(COMPLETION)


@pytest.mark.parametrize(("timeout", "signals"), [("0.5", 1), ("600", 2)])
def test_a_sidecar_ends_in_time_though_the_platform_takes_nothing(
    own_environment: Path, server: PlatformServer, monkeypatch: pytest.MonkeyPatch, timeout: str, signals: int
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_FLUSH_TIMEOUT", timeout)
    server.always(Reply(503))
    write_run(own_environment, "a", COMPLETED, job="7", callback_url=server.url)
    with sidecar("--watch", "--timeout", "600") as process:
        for _ in range(signals):
            asked = len(server.requests)
            server.wait_for(lambda server, asked=asked: len(server.requests) > asked)
            process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[-1]) == (3, "1 run: 1 pending")


def test_a_sidecar_can_end_by_itself_with_the_training(own_environment: Path, server: PlatformServer) -> None:
    with sidecar("--until-ended") as process:
        directory = write_run(own_environment, "a", TRAINING, job="7", callback_url=server.url)
        server.wait_for(lambda server: server.posts(PROGRESS))
        wait_until(lambda: read_ledger(directory).pending == 0, what="the delivery so far")
        assert process.poll() is None
        journal = Journal(directory, run="a", attempt=1, writer="training", job="7")
        journal.append(RunCompleted(epochs=2))
        journal.close()
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[-1]) == (0, "1 run: 1 delivered")


@contextlib.contextmanager
def sidecar(*options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*COMMAND, "sync", *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
