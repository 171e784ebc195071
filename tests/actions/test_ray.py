"""Actions as jobs of a Ray cluster, in the environment of `make test-ray`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actions.parts import FIT, PLUGIN, attempts, is_at_work, record, told
from tests.waiting import wait_until
from trainer_hooks.actions.executors import run
from trainer_hooks.actions.executors.local import LocalExecutor
from trainer_hooks.actions.executors.process import ProcessExecutor
from trainer_hooks.actions.plugin import Resources
from trainer_hooks.errors import ActionError, InvalidSetting, RemoteFailure, SetupError
from trainer_hooks.events import RunInterrupted, RunLost
from trainer_hooks.journal import owner, read_headers

pytest.importorskip("ray.job_submission", reason="Ray has an environment of its own: make test-ray")
from trainer_hooks.actions.executors.ray import RayExecutor

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayExecutor]:
    """One for all tests; its processes can import what the tests can, and call the same Python."""
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "PATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    executor = RayExecutor(resources=Resources(num_cpus=1))
    try:
        executor._connected()
        yield executor
    finally:
        executor.close()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def do(executor: Any, name: str, trouble: str = "", **more: Any) -> dict[str, Any]:
    params = {"epochs": 2, "trouble": trouble}
    return run(executor, FIT, params, folder=PLUGIN, settings={"run_id": name}, **more)


def begun(executor: RayExecutor, root: Path) -> Any:
    handle = executor.submit(FIT, {"trouble": "waits"}, folder=PLUGIN, settings={"run_id": "one"})
    wait_until(lambda: is_at_work(root), 120, "the action's work")
    return handle


def test_in_process_as_a_subprocess_and_on_ray_the_run_has_the_same_record(cluster, own_environment):
    results = [do(LocalExecutor(), "here"), do(ProcessExecutor(), "beside"), do(cluster, "there")]
    assert results == [{"epochs": 2}] * 3
    assert record(own_environment / "here") == record(own_environment / "beside") == record(own_environment / "there")


def test_a_killed_driver_is_lost_and_its_retry_is_the_next_attempt(cluster, own_environment):
    assert do(cluster, "one", "is_killed_once", retries=1) == {"epochs": 2}
    assert attempts(own_environment / "one") == {1, 2}
    assert [event.reason for event in told(own_environment / "one", RunLost)] == ["killed (SIGKILL)"]


def test_where_all_of_the_job_is_killed_the_submitter_says_the_last_word(cluster, own_environment):
    handle = begun(cluster, own_environment)
    supervisor = owner(read_headers(own_environment / "one")).supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    with pytest.raises(RemoteFailure, match=r"attempt 1 of run one is lost: Ray's job \S+ has ended \(failed\)"):
        handle.wait(120)
    assert handle.status == "lost"
    assert len(told(own_environment / "one", RunLost)) == 1


def test_where_its_record_can_not_be_reached_either_it_is_lost(cluster, own_environment):
    handle = begun(cluster, own_environment)
    supervisor = owner(read_headers(own_environment / "one")).supervisor
    assert supervisor is not None
    (own_environment / "one").rename(own_environment.with_name("elsewhere"))
    os.kill(supervisor.pid, signal.SIGKILL)
    with pytest.raises(RemoteFailure, match="no attempt of its run is to be seen in") as caught:
        handle.wait(120)
    assert (caught.value.ending, caught.value.told) == ("lost", False)


def test_a_cancelled_job_is_interrupted(cluster, own_environment):
    handle = begun(cluster, own_environment)
    handle.cancel()
    with pytest.raises(RemoteFailure, match="was interrupted: SIGTERM"):
        handle.wait(60)
    assert handle.status == "interrupted"
    assert len(told(own_environment / "one", RunInterrupted)) == 1


def test_what_the_action_fails_of_comes_back_as_it_was_told(cluster):
    with pytest.raises(RemoteFailure, match="attempt 1 of run one has failed: ValueError: no good"):
        do(cluster, "one", "fails", retries=1)


def test_a_mistake_is_the_callers(cluster):
    with pytest.raises(SetupError, match="toy_actions has no 'No'"):
        run(cluster, "toy_actions:No", {}, folder=PLUGIN)


def test_ray_is_told_no_credential_and_their_names_are(cluster, monkeypatch, caplog):
    monkeypatch.setenv("TRAINER_HOOKS_TOKEN", SECRET)
    monkeypatch.setenv("CALLBACK_URL", f"http://ada:{SECRET}@127.0.0.1:9/api/v1")
    assert cluster._client is not None
    written: list[str] = []
    executor = RayExecutor(
        cluster._client.get_address(), variables={"TOY_PASSWORD": SECRET, "TOY": "1"}, output=written.append
    )
    with caplog.at_level(logging.WARNING, "trainer_hooks"):
        handle = executor.submit(FIT, {"epochs": 2}, folder=PLUGIN, settings={"run_id": "one", "job_id": "17"})
    assert handle.wait(120) == {"epochs": 2}
    assert "told: CALLBACK_URL, TRAINER_HOOKS_TOKEN, TOY_PASSWORD; set them on the nodes" in caplog.text
    known = cluster._client.get_job_info(handle.job)
    assert SECRET not in repr(known)
    assert (known.metadata, known.runtime_env["env_vars"]["TOY"]) == ({"run": "one", "job_id": "17"}, "1")
    assert "CALLBACK_URL=http://127.0.0.1:9/api/v1" in known.entrypoint
    assert "said on stdout\n" in written
    assert not any("outcome" in line and "epochs" in line for line in written)
    executor.close()


def test_a_password_in_an_address_is_refused():
    with pytest.raises(InvalidSetting, match="an address in runtime_env has a password in it"):
        RayExecutor("http://127.0.0.1:9", runtime_env={"pip": [f"--extra-index-url=https://ada:{SECRET}@x.example"]})


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(ActionError, match=r"the Ray cluster at http://127\.0\.0\.1:9 takes no jobs"):
        do(RayExecutor("http://127.0.0.1:9"), "one")
