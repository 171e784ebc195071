"""An action in this process and in one of its own: the same run; and no death of it goes untold."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.actions.parts import FIT, PLUGIN, attempts, is_at_work, record, told
from tests.waiting import wait_until
from trainer_hooks.actions.executors import run
from trainer_hooks.actions.executors.local import LocalExecutor
from trainer_hooks.actions.executors.process import ProcessExecutor, ProcessHandle
from trainer_hooks.errors import InvalidSetting, RemoteFailure, SetupError
from trainer_hooks.events import MetricsLogged, RunFailed, RunInterrupted, RunLost
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.process import is_alive

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


def do(executor: Any, name: str, trouble: str = "", **more: Any) -> dict[str, Any]:
    params = {"epochs": 2, "trouble": trouble}
    return run(executor, FIT, params, folder=PLUGIN, settings={"run_id": name}, **more)


def begun(root: Path, trouble: str = "waits") -> ProcessHandle:
    handle = ProcessExecutor().submit(FIT, {"trouble": trouble}, folder=PLUGIN, settings={"run_id": "one"})
    wait_until(lambda: is_at_work(root), 30, "the action's work")
    return handle


def test_in_process_and_as_a_subprocess_the_run_has_the_same_record(own_environment):
    assert do(LocalExecutor(), "here") == do(ProcessExecutor(), "there") == {"epochs": 2}
    assert record(own_environment / "here") == record(own_environment / "there")


def test_what_the_action_fails_of_is_told_and_not_tried_again(own_environment):
    with pytest.raises(RemoteFailure, match="attempt 1 of run one has failed: ValueError: no good") as caught:
        do(ProcessExecutor(), "one", "fails", retries=2)
    assert (caught.value.ending, caught.value.told) == ("failed", True)
    assert attempts(own_environment / "one") == {1}


def test_a_killed_action_is_lost_and_its_retry_is_the_next_attempt(own_environment):
    assert do(ProcessExecutor(), "one", "is_killed_once", retries=1) == {"epochs": 2}
    assert attempts(own_environment / "one") == {1, 2}
    assert [event.reason for event in told(own_environment / "one", RunLost)] == ["killed (SIGKILL)"]


def test_after_the_last_retry_the_death_is_the_callers_to_know():
    with pytest.raises(RemoteFailure, match=r"attempt 2 of run one is lost: killed \(SIGKILL\)") as caught:
        do(ProcessExecutor(), "one", "is_killed", retries=1)
    assert caught.value.ending == "lost"


def test_an_exit_without_a_word_has_failed_and_may_be_tried_again(own_environment):
    with pytest.raises(RemoteFailure, match="exited with status 4 and without a word") as caught:
        do(ProcessExecutor(), "one", "exits", retries=1)
    assert (caught.value.ending, caught.value.told) == ("failed", False)
    assert [event.exit_status for event in told(own_environment / "one", RunFailed)] == [4, 4]


def test_where_the_watching_process_is_killed_too_the_submitter_says_the_last_word(own_environment):
    handle = begun(own_environment)
    os.kill(handle.pid, signal.SIGKILL)
    with pytest.raises(RemoteFailure) as caught:
        handle.wait(30)
    assert caught.value.ending == handle.status == "lost"
    assert len(told(own_environment / "one", RunLost)) == 1


def test_a_cancelled_action_is_interrupted_and_its_process_gone(own_environment):
    handle = begun(own_environment)
    assert handle.status == "running"
    handle.cancel()
    assert [event.reason for event in told(own_environment / "one", RunInterrupted)] == ["SIGTERM"]
    assert is_alive(owner(read_headers(own_environment / "one")).process) is False
    with pytest.raises(RemoteFailure, match="was interrupted: SIGTERM"):
        handle.wait()
    assert handle.status == "interrupted"


def test_who_interrupts_the_stopping_once_more_leaves_nothing_alive(own_environment):
    handle = begun(own_environment, "lingers")
    action = owner(read_headers(own_environment / "one")).process

    def has_told(metric: str) -> bool:
        return any(metric in event.metrics for event in told(own_environment / "one", MetricsLogged))

    def interrupt() -> None:
        wait_until(lambda: has_told("train/asked_to_end"), 20, "the first signal")
        os.kill(os.getpid(), signal.SIGINT)

    wait_until(lambda: has_told("train/lingering"), 20, "a handler of its own")
    impatient = threading.Thread(target=interrupt)
    impatient.start()
    with pytest.raises(KeyboardInterrupt):
        handle.cancel()
    impatient.join()
    wait_until(lambda: is_alive(action) is False, 10, "the action's end")


def test_a_death_within_a_run_that_is_not_kept_is_not_said_to_be_before_it():
    with pytest.raises(
        RemoteFailure, match="exited with status 4 and without a word; no record of it is kept"
    ) as caught:
        run(ProcessExecutor(), FIT, {"trouble": "exits"}, folder=PLUGIN, settings={"mode": "disabled"})
    assert (caught.value.ending, caught.value.told) == ("failed", False)


def test_a_second_submission_beside_a_living_run_is_known_by_the_run_that_it_has_opened(own_environment):
    first = begun(own_environment)
    with pytest.raises(RemoteFailure, match=r"attempt 1 of run one-2 is lost: killed \(SIGKILL\)"):
        do(ProcessExecutor(), "one", "is_killed")
    first.cancel()


class Endless:
    """An executor, and its own handle, whose action never ends by itself."""

    run = "one"
    status = "running"

    def __init__(self) -> None:
        self.cancelled = 0

    def submit(self, *_: Any, **__: Any) -> Endless:
        return self

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        if timeout is None:
            raise KeyboardInterrupt
        raise TimeoutError

    def cancel(self) -> None:
        self.cancelled += 1


def test_what_takes_too_long_is_stopped():
    endless = Endless()
    with pytest.raises(RemoteFailure, match="run one took longer than 8 s, and was stopped"):
        do(endless, "one", timeout=8, retries=3)
    assert endless.cancelled == 1


def test_ctrl_c_stops_it_and_goes_on_to_the_caller():
    endless = Endless()
    with pytest.raises(KeyboardInterrupt):
        do(endless, "one")
    assert endless.cancelled == 1


def test_a_wait_with_a_limit_leaves_it_at_work(own_environment):
    handle = begun(own_environment)
    with pytest.raises(TimeoutError):
        handle.wait(0.1)
    assert handle.status == "running"
    handle.cancel()


@pytest.mark.parametrize(("entrypoint", "params"), [("toy_actions:No", {}), (FIT, {"epochs": "many"})])
def test_a_mistake_is_the_callers_and_begins_no_run(entrypoint, params, own_environment):
    with pytest.raises(SetupError, match=r"toy_actions has no 'No'|epochs is 'many'"):
        run(ProcessExecutor(), entrypoint, params, folder=PLUGIN)
    assert not own_environment.exists()


def test_what_the_process_writes_can_be_read_and_its_folder_goes_with_the_handle():
    handle = ProcessExecutor().submit(FIT, {}, folder=PLUGIN)
    handle.wait(60)
    assert "said on stdout" in handle.logs()
    folder = handle._work.log.parent
    del handle
    assert not folder.exists()


@pytest.mark.parametrize("executor", [LocalExecutor, ProcessExecutor])
def test_variables_of_a_plugin_are_in_the_actions_environment(executor, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY", "0")
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / f"asking_{executor.__name__}.py").write_text(
        "import os\nfrom trainer_hooks.actions import BaseTrainAction, BaseTrainParams\n"
        "AT_FIRST = os.environ['TOY']\n"
        "class Ask(BaseTrainAction[BaseTrainParams]):\n"
        "    def execute(self):\n        return {'toy': [AT_FIRST, os.environ['TOY']]}\n"
    )
    action = f"asking_{executor.__name__}:Ask"
    assert run(executor(variables={"TOY": "1"}), action, {}, folder=tmp_path) == {"toy": ["1", "1"]}
    assert os.environ["TOY"] == "0"


def test_the_same_run_goes_on_where_the_submitter_has_named_a_job(own_environment, monkeypatch):
    monkeypatch.setenv("JOB_ID", "17")
    run(ProcessExecutor(), FIT, {}, folder=PLUGIN)
    run(ProcessExecutor(), FIT, {}, folder=PLUGIN)
    assert attempts(own_environment / "17") == {1, 2}


class TestInThisProcess:
    def test_it_is_done_when_it_is_waited_for(self, own_environment):
        handle = LocalExecutor().submit(FIT, {"epochs": 2}, folder=PLUGIN)
        assert handle.status == "pending"
        assert not own_environment.exists()
        assert handle.wait() == handle.wait() == {"epochs": 2}
        assert handle.status == "completed"

    def test_what_it_raises_comes_as_it_is(self):
        handle = LocalExecutor().submit(FIT, {"trouble": "fails"}, folder=PLUGIN)
        with pytest.raises(ValueError, match="no good"):
            handle.wait()
        assert handle.status == "failed"

    def test_it_can_be_neither_limited_nor_left_to_itself(self):
        handle = LocalExecutor().submit(FIT, {}, folder=PLUGIN)
        with pytest.raises(InvalidSetting, match="can't be given a timeout: choose the executor process or ray"):
            handle.wait(5)
        with pytest.raises(InvalidSetting, match="can't be left to itself"):
            handle.detach()

    def test_cancelled_before_it_begins_it_does_not_begin(self, own_environment):
        handle = LocalExecutor().submit(FIT, {}, folder=PLUGIN)
        handle.cancel()
        with pytest.raises(RemoteFailure):
            handle.wait()
        assert not own_environment.exists()
