"""Real trainings as processes, against a real HTTP backend and real storage, through everything that can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import mmengine, scripts, ultralytics
from tests.hosts.every import FIRST_HOST, HOSTS, HOSTS_IN_PHASES_BY_TURNS, with_host, with_hosts_by_turns
from tests.hosts.processes import is_running
from tests.servers.platform import PlatformServer, Reply
from tests.servers.s3 import BUCKET, moto_server
from tests.servers.tcp_proxy import tcp_proxy
from tests.waiting import wait_until
from trainer_hooks.delivery import load_courier
from trainer_hooks.events import (
    TERMINAL,
    CheckpointStored,
    EpochEnded,
    Logged,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
)
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

JOB = "7"
PROGRESS = f"/training/jobs/{JOB}/callback/progress"
COMPLETION = f"/training/jobs/{JOB}/callback/completion"
LOGS = f"/training/jobs/{JOB}/callback/logs"
VALIDATION = f"/validation/jobs/{JOB}/results"
pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]


@pytest.fixture(params=FIRST_HOST)
def host(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def root(own_environment: Path) -> Path:
    return own_environment


def sync(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`trainer-hooks sync`, as a user calls it."""
    command = [sys.executable, "-m", "trainer_hooks.cli", "sync", str(root), *options]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def records(root: Path, run: str = JOB) -> list[Any]:
    return list(read_records(root / run))


def terminals(root: Path, run: str = JOB) -> list[Any]:
    return [record.event for record in records(root, run) if isinstance(record.event, TERMINAL)]


def assert_each_arrived_once(server: PlatformServer, root: Path, *, answers_were_lost: bool = False) -> None:
    """What B's backend took is what the journal holds: every epoch, validation and log, once, in order.

    Where answers were lost, a call is repeated, with the key by which a backend can tell.
    """
    keys = Counter(request.headers["idempotency-key"] for request in posted(server) if request.taken)
    assert answers_were_lost or set(keys.values()) == {1}
    told = [record.event for record in records(root)]
    epochs = [body["current_epoch"] for body in taken(server, PROGRESS) if body["metrics"]]
    assert epochs == [event.epoch for event in told if isinstance(event, EpochEnded)]
    logs = Counter(body["message"] for body in taken(server, LOGS))
    for message, count in Counter(event.message for event in told if isinstance(event, Logged)).items():
        assert logs[message] == count, message
    assert len(taken(server, COMPLETION)) == len([event for event in told if isinstance(event, TERMINAL)])


def taken(server: PlatformServer, path: str) -> list[Any]:
    """The bodies of the calls that the backend took on this path, each key once, in order."""
    calls = [request for request in posted(server) if request.taken and request.path.endswith(path)]
    return list({request.headers["idempotency-key"]: request.json for request in calls}.values())


@pytest.mark.parametrize("host", HOSTS, indirect=True)
def test_everything_arrives_at_the_backend_and_in_storage(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server, moto_server() as s3:
        done = scripts.run(
            host,
            tmp_path,
            "--autolog",
            epochs=3,
            CALLBACK_URL=server.url,
            JOB_ID=JOB,
            **s3.environment,
            INTERNAL_BUCKET_CHECKPOINTS=BUCKET,
            TRAINER_HOOKS_FLUSH_TIMEOUT="60",
        )
        assert done.returncode == 0, done.stderr
        assert "completed" in done.stderr
        assert "not everything is delivered" not in done.stderr
        assert_each_arrived_once(server, root)
        assert sorted(server.job(JOB).validations) == [1, 2, 3]
        assert set(server.job(JOB).statuses) == {"running", "completed"}
        assert server.job(JOB).status == "completed"
        assert not server.unknown_fields

        (completion,) = server.posts(COMPLETION)
        client = s3.client()
        stored = {}
        for name in ("best", "last"):
            key = f"checkpoints/{JOB}/{name}{host.SUFFIX}"
            assert completion[f"{name}_checkpoint_path"] == f"s3://{BUCKET}/{key}"
            stored[name] = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            manifest = json.loads(client.get_object(Bucket=BUCKET, Key=f"{key}.manifest.json")["Body"].read())
            assert hashlib.sha256(stored[name]).hexdigest() == manifest["sha256"]
        assert stored["best"] == host.best_checkpoint(tmp_path).read_bytes()
    assert not list((root / JOB / "staged").iterdir())
    assert s3.secret_key not in everything_written(root)


def test_the_training_prints_and_returns_what_it_would_without_us(host: Any, tmp_path: Path) -> None:
    # Ultralytics says so where it finds no settings yet, whichever test is the first.
    own = {way: {"YOLO_CONFIG_DIR": str(tmp_path / way / "yolo")} for way in ("without", "with")}
    without = scripts.run(host, tmp_path / "without", **own["without"])
    with_us = scripts.run(host, tmp_path / "with", "--autolog", **own["with"])
    assert with_us.returncode == without.returncode == 0
    expected = scripts.comparable(host, without.stdout, tmp_path / "without")
    assert scripts.comparable(host, with_us.stdout, tmp_path / "with") == expected


@with_hosts_by_turns(
    "what", ["raise", "interrupt", "terminate", "exit 3", "exit 0", "_exit 4", "kill", "segfault", "abort"]
)
def test_a_training_that_dies_leaves_one_true_terminal_event_and_its_own_exit_status(
    host: Any, tmp_path: Path, root: Path, what: str
) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        done = scripts.ended_by(
            host,
            tmp_path,
            what,
            arguments=["--autolog"],
            environment={"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_FLUSH_TIMEOUT": "30"},
        )
        assert done.returncode == exit_status(host, what), done.stderr
        server.wait_for(lambda server: server.posts(COMPLETION))
        wait_until(lambda: not courier_runs(root), what="the courier's end")
        assert_each_arrived_once(server, root)
    (terminal,) = terminals(root)
    assert isinstance(terminal, LAST_WORD[what])
    assert terminal.epoch in (0, 1, None)
    if isinstance(terminal, RunFailed):
        assert "hosting.py" in (terminal.traceback or "")
        assert (terminal.error, terminal.exception) == FAILURE[what]


def exit_status(host: Any, what: str) -> int:
    """What a process gives that does the same without us: measured in the test below."""
    return host.EXIT_STATUS.get(what, EXIT_STATUS[what])


EXIT_STATUS = {
    "raise": 1,
    "interrupt": -signal.SIGINT,
    "terminate": -signal.SIGTERM,
    "exit 3": 3,
    "exit 0": 0,
    "_exit 4": 4,
    "kill": -signal.SIGKILL,
    "segfault": -signal.SIGSEGV,
    "abort": -signal.SIGABRT,
}
LAST_WORD = {
    "raise": RunFailed,
    "interrupt": RunInterrupted,
    "terminate": RunInterrupted,
    "exit 3": RunFailed,
    "exit 0": RunInterrupted,
    "_exit 4": RunLost,
    "kill": RunLost,
    "segfault": RunFailed,
    "abort": RunFailed,
}
FAILURE = {
    "raise": ("UnknownError", "RuntimeError"),
    "exit 3": ("UnknownError", "SystemExit"),
    "segfault": ("FrameworkError", None),
    "abort": ("FrameworkError", None),
}


@with_hosts_by_turns("what", ["raise", "interrupt", "terminate"])
def test_those_exit_statuses_are_the_hosts_own(host: Any, tmp_path: Path, what: str) -> None:
    assert scripts.ended_by(host, tmp_path, what).returncode == exit_status(host, what)


@pytest.mark.parametrize(("host", "phase"), HOSTS_IN_PHASES_BY_TURNS, indirect=["host"])
def test_killed_in_any_phase_then_sync_nothing_is_lost_and_nothing_doubles(
    host: Any, tmp_path: Path, root: Path, phase: str
) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        where = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
        scripts.ended_by(
            host,
            tmp_path,
            "kill",
            at=phase,
            epoch=2,
            arguments=["--autolog"],
            environment={**where, "TRAINER_HOOKS_DELIVERY": "none"},
        )
        assert not server.requests
        done = sync(root, CALLBACK_URL=server.url)
        assert done.returncode == 0, done.stdout + done.stderr
        assert_each_arrived_once(server, root)
        before = len(server.requests)
        assert sync(root).returncode == 0
        assert len(server.requests) == before
    (terminal,) = terminals(root)
    assert isinstance(terminal, RunLost)
    assert server.job(JOB).status == "failed"
    assert_stored_checkpoints_are_whole(tmp_path / "store")


@with_host(ultralytics)
def test_a_signal_to_the_whole_process_group_does_not_reach_the_courier(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        server.always(Reply(503))
        done = scripts.ended_by(
            host,
            tmp_path,
            "kill the group",
            arguments=["--autolog"],
            environment={"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_LINGER": "60"},
        )
        assert done.returncode == -signal.SIGKILL
        server.normal()
        server.wait_for(lambda server: server.posts(COMPLETION))
        wait_until(lambda: not courier_runs(root), what="the courier's end")
        assert_each_arrived_once(server, root)


@with_host(mmengine)
def test_an_outage_in_the_middle_delays_and_loses_nothing(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        environment = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
        with scripts.start(host, tmp_path, "--autolog", epochs=4, **environment) as process:
            server.wait_for(lambda server: server.posts(PROGRESS), timeout=60)
            server.stop_listening()
            wait_until(lambda: (root / JOB).exists() and read_history(root / JOB).latest.state.epoch >= 2)
            server.listen_again()
            _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "not everything is delivered" not in err
        assert_each_arrived_once(server, root, answers_were_lost=True)


@with_host(ultralytics)
def test_storage_that_goes_down_during_an_upload_gets_whole_checkpoints_later(
    host: Any, tmp_path: Path, root: Path
) -> None:
    with moto_server() as s3, tcp_proxy(s3.url) as proxy:
        proxy.cut_upstream_after = 300_000
        done = scripts.run(
            host,
            tmp_path,
            "--autolog",
            TRAINER_HOOKS_RUN_ID="run",
            TRAINER_HOOKS_STORAGE=f"s3://{BUCKET}/prefix",
            INTERNAL_STORAGE_ENDPOINT=proxy.url,
            INTERNAL_STORAGE_ACCESS_KEY=s3.access_key,
            INTERNAL_STORAGE_SECRET_KEY=s3.secret_key,
            TRAINER_HOOKS_LINGER="1",
        )
        assert done.returncode == 0, done.stderr
        proxy.reset()
        wait_until(lambda: not courier_runs(root, "run"), what="the courier's end")
        credentials = {"INTERNAL_STORAGE_ACCESS_KEY": s3.access_key, "INTERNAL_STORAGE_SECRET_KEY": s3.secret_key}
        assert sync(root, **credentials).returncode == 0
        stored = s3.client().get_object(Bucket=BUCKET, Key=f"prefix/checkpoints/run/best{host.SUFFIX}")["Body"].read()
    assert stored == host.best_checkpoint(tmp_path).read_bytes()
    told = {record.event.name for record in records(root, "run") if isinstance(record.event, CheckpointStored)}
    assert told == {"best", "last"}


@with_host(mmengine)
def test_a_killed_courier_is_started_again(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        environment = {"CALLBACK_URL": server.url, "JOB_ID": JOB, "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
        with scripts.start(host, tmp_path, "--autolog", epochs=6, **environment) as process:
            server.wait_for(lambda server: server.posts(PROGRESS), timeout=60)
            courier = load_courier(root / JOB)
            assert courier is not None
            os.kill(courier.process.pid, signal.SIGKILL)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        wait_until(lambda: not courier_runs(root), what="the courier's end")
        assert sync(root, CALLBACK_URL=server.url).returncode == 0
        epochs = {body["current_epoch"] for body in server.posts(PROGRESS) if body["metrics"]}
        assert epochs == set(range(1, 7))
        assert server.job(JOB).status == "completed"


@with_host(ultralytics)
def test_two_couriers_started_by_accident_deliver_once(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        scripts.run(host, tmp_path, "--autolog", CALLBACK_URL=server.url, JOB_ID=JOB, TRAINER_HOOKS_DELIVERY="none")
        command = [sys.executable, "-m", "trainer_hooks.courier", str(root / JOB)]
        environment = {**os.environ, "CALLBACK_URL": server.url, "JOB_ID": JOB}
        couriers = [subprocess.Popen(command, env=environment, cwd="/") for _ in range(2)]
        assert [courier.wait(60) for courier in couriers] == [0, 0]
        assert_each_arrived_once(server, root)
        assert max(Counter(request.headers["idempotency-key"] for request in posted(server)).values()) == 1
    assert isinstance(terminals(root)[0], RunCompleted)


@with_host(mmengine)
def test_as_a_thread_it_delivers_before_the_process_ends(host: Any, tmp_path: Path, root: Path) -> None:
    with PlatformServer(jobs=(JOB,)) as server:
        done = scripts.run(
            host,
            tmp_path,
            "--autolog",
            CALLBACK_URL=server.url,
            JOB_ID=JOB,
            TRAINER_HOOKS_DELIVERY="thread",
            TRAINER_HOOKS_STORAGE=f"file://{tmp_path}/store",
            TRAINER_HOOKS_FLUSH_TIMEOUT="60",
        )
        assert done.returncode == 0
        assert "Exception" not in done.stderr, done.stderr
        assert_each_arrived_once(server, root)
    assert_stored_checkpoints_are_whole(tmp_path / "store")


@with_host(ultralytics)
def test_offline_keeps_everything_and_sync_sends_it_with_the_original_times(
    host: Any, tmp_path: Path, root: Path
) -> None:
    with PlatformServer(jobs=(JOB,), batch=True) as server:
        scripts.run(host, tmp_path, "--autolog", CALLBACK_URL=server.url, JOB_ID=JOB, TRAINER_HOOKS_MODE="offline")
        assert not server.requests
        assert sync(root).returncode == 0
        kept = {record.id: record.time for record in records(root)}
        assert {key: event["time"] for key, event in server.events.items()}.items() <= kept.items()
        assert set(server.arrivals.values()) == {1}
    assert [read_history(run).latest.status for run in list_runs(root)] == ["completed"]


@with_host(mmengine)
def test_a_disk_that_fills_up_does_not_stop_the_training(host: Any, tmp_path: Path) -> None:
    filling = ["--do", "fill the disk", "--at", host.AFTER_EPOCH, "--epoch", "1"]
    done = scripts.run(
        host,
        tmp_path,
        "--autolog",
        *filling,
        epochs=3,
        under=scripts.ON_A_SMALL_DISK,
        TRAINER_HOOKS_STORAGE=f"file://{tmp_path}/store",
    )
    undisturbed = scripts.run(host, tmp_path / "undisturbed", epochs=3)
    assert (done.returncode, undisturbed.returncode) == (0, 0), done.stderr
    assert done.stdout.splitlines()[-1] == undisturbed.stdout.splitlines()[-1]
    assert "at risk" in done.stderr
    assert "No space left on device" in done.stderr


@with_host(ultralytics)
def test_disabled_leaves_no_trace(host: Any, tmp_path: Path, root: Path) -> None:
    done = scripts.run(host, tmp_path, "--autolog", TRAINER_HOOKS_MODE="disabled")
    assert done.returncode == 0
    assert not root.exists()
    assert "trainer_hooks" not in done.stderr


def posted(server: PlatformServer) -> list[Any]:
    return [request for request in server.requests if request.method == "POST"]


def courier_runs(root: Path, run: str = JOB) -> bool:
    courier = load_courier(root / run)
    return courier is not None and is_running(courier.process.pid, "trainer_hooks.courier")


def everything_written(root: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in root.rglob("*") if path.is_file())


def assert_stored_checkpoints_are_whole(store: Path) -> None:
    for manifest in store.rglob("*.manifest.json"):
        content = (manifest.parent / manifest.name.removesuffix(".manifest.json")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == json.loads(manifest.read_text())["sha256"]
