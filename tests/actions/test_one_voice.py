"""What an action starts tells in the action's run: ranks of torchrun, with one voice; and other processes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.actions.parts import FIT, PLUGIN, told
from trainer_hooks.actions import BaseTrainAction, BaseTrainParams, run_action
from trainer_hooks.actions.executors import run
from trainer_hooks.actions.executors.process import ProcessExecutor
from trainer_hooks.errors import RemoteFailure
from trainer_hooks.events import EpochEnded, RunCompleted, RunFailed, RunStarted
from trainer_hooks.history import list_runs

pytestmark = pytest.mark.timeout(180)
LOOP = "import trainer_hooks\nwith trainer_hooks.start_run({}) as run:\n    run.log_metrics({{'loss': 1.0}}, epoch=1)\n"


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


class Starting(BaseTrainAction[BaseTrainParams]):
    arguments = ""

    def execute(self) -> None:
        subprocess.run([sys.executable, "-c", LOOP.format(self.arguments)], check=True)


class StartingANamedOne(Starting):
    arguments = "run_id='its own'"


def test_two_ranks_of_torchrun_within_an_action_are_one_run_told_once(own_environment):
    pytest.importorskip("torch")
    result = run(ProcessExecutor(), FIT, {"epochs": 2, "trouble": "launches"}, folder=PLUGIN)
    assert result == {"epochs": 2}
    (only,) = list_runs(own_environment)
    losses = [(event.epoch, event.metrics["loss"]) for event in told(only, EpochEnded)]
    assert losses == [(1, 3.0), (2, 2.0)]
    assert len(told(only, RunCompleted)) == len(told(only, RunStarted)) == 1


@pytest.mark.long
def test_a_ranks_failure_within_an_action_is_the_runs(own_environment):
    with pytest.raises(RemoteFailure, match="failed"):
        run(ProcessExecutor(), FIT, {"epochs": 0, "trouble": "launches"}, folder=PLUGIN)
    (only,) = list_runs(own_environment)
    (failed,) = told(only, RunFailed)
    assert (failed.rank, failed.message) == (1, "rank 1 has had enough")


def test_a_run_of_another_process_within_an_action_is_told_in_the_actions(own_environment):
    run_action(Starting, {})
    (only,) = list_runs(own_environment)
    assert [event.epoch for event in told(only, EpochEnded)] == [1]
    assert len(told(only, RunCompleted)) == 1


def test_a_run_that_has_a_name_of_its_own_is_its_own(own_environment):
    run_action(StartingANamedOne, {}, run_id="the action's")
    names = {found.name for found in list_runs(own_environment)}
    assert len(names) == 2


def test_after_the_action_nothing_is_left_that_tells_of_it(own_environment):
    run_action(Starting, {}, run_id="one")
    done: Any = subprocess.run([sys.executable, "-c", LOOP.format("")], check=False)
    assert done.returncode == 0
    assert len(list(list_runs(own_environment))) == 2
