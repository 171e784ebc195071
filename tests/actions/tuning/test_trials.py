"""One trial, followed and stopped through its run's journal; without Ray."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.actions.tuning import toys
from tests.waiting import wait_until
from trainer_hooks.actions.action import BaseTrainAction
from trainer_hooks.actions.tuning.numbers import Numbers
from trainer_hooks.actions.tuning.order import Order, entrypoint_of, import_path
from trainer_hooks.actions.tuning.outcomes import PAUSED, STOPPED, Outcome, best_of, read_outcome
from trainer_hooks.actions.tuning.process import TrialProcess
from trainer_hooks.actions.tuning.telling import Point, Points
from trainer_hooks.errors import InvalidAction
from trainer_hooks.history import read_history
from trainer_hooks.run import load_settings, start_run

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


def order(folder: Path, action: str = "tests.actions.tuning.toys:Quadratic", **params: Any) -> Order:
    return Order(
        parent="night",
        entrypoint=action,
        sys_path=import_path(),
        directory=str(ROOT),
        params=params,
        settings=load_settings(),
        metric="loss",
        mode="min",
        folder=str(folder),
    )


def all_values(trial: TrialProcess) -> list[float]:
    return [point.value for point in iter(trial.next_value, None)]


def test_a_trial_tells_its_values_and_how_it_has_ended(tmp_path, own_environment):
    trial = TrialProcess(order(tmp_path, epochs=2), 1, {"x": 0.25}, mark=(0, 0))
    assert all_values(trial) == [0.1, 0.01]
    assert (trial.outcome.status, trial.outcome.value, trial.mark) == ("completed", 0.01, (2, 0))
    started = read_history(own_environment / "night-trial-1").latest.state.started
    assert (started.parent, started.action, started.params["x"]) == ("night", "quadratic", 0.25)


def test_a_trial_that_is_done_tells_its_values_again_and_starts_no_process(tmp_path):
    (begun := tmp_path / "begun").mkdir()
    asked = order(tmp_path, begun=str(begun))
    assert all_values(TrialProcess(asked, 1, {"x": 0.25}, mark=(0, 0))) == [0.1, 0.01]
    assert all_values(TrialProcess(asked, 1, {"x": 0.25}, mark=(1, 0))) == [0.01]
    assert len(list(begun.iterdir())) == 1


def test_a_trial_that_fails_is_done_again_as_its_next_attempt(tmp_path, own_environment):
    assert all_values(TrialProcess(order(tmp_path, trouble="raise"), 1, {"x": 0.75}, mark=(0, 0))) == []
    assert "x is 0.75" in (tmp_path / "1.log").read_text()
    assert all_values(TrialProcess(order(tmp_path), 1, {"x": 0.75}, mark=(0, 0))) == [0.35, 0.26]
    attempts = read_history(own_environment / "night-trial-1").attempts
    assert [attempt.status for attempt in attempts] == ["failed", "completed"]


def test_values_that_were_not_asked_for_are_told_by_whoever_follows_next(tmp_path):
    first = TrialProcess(order(tmp_path, epochs=3), 1, {"x": 0.25}, mark=(0, 0))
    assert first.next_value().value == 0.1
    wait_until(lambda: first.outcome.is_settled)
    assert all_values(TrialProcess(order(tmp_path), 1, {"x": 0.25}, mark=first.mark)) == [0.01, 0.001]
    assert all_values(first) == [0.01, 0.001]


@pytest.mark.parametrize(("reason", "status"), [(STOPPED, "stopped"), (PAUSED, "paused")])
def test_a_trial_is_stopped_by_being_asked(tmp_path, own_environment, reason, status):
    trial = TrialProcess(order(tmp_path, trouble="wait"), 1, {"x": 0.75}, mark=(0, 0))
    assert trial.next_value().value == 0.35
    trial.stop(reason)
    assert (trial.outcome.status, trial.outcome.reason) == (status, reason)
    assert read_history(own_environment / "night-trial-1").latest.is_over


def test_what_is_wrong_before_the_action_begins_is_the_trials_failure(tmp_path, own_environment):
    trial = TrialProcess(order(tmp_path), 1, {"x": "far"}, mark=(0, 0))
    assert trial.next_value() is None
    assert trial.outcome.status == "failed"
    assert "x is 'far'" in trial.outcome.reason
    assert read_history(own_environment / "night-trial-1").latest.state.started.parent == "night"


def test_values_of_an_attempt_that_began_anew_are_not_told_twice(tmp_path, own_environment):
    paused = TrialProcess(order(tmp_path, trouble="wait"), 1, {"x": 0.75}, mark=(0, 0))
    assert paused.next_value().value == 0.35
    paused.stop(PAUSED)
    assert all_values(TrialProcess(order(tmp_path), 1, {"x": 0.75}, mark=paused.mark)) == [0.26]
    assert len(read_history(own_environment / "night-trial-1").attempts) == 2
    points = Points(own_environment / "night-trial-1", "loss")
    assert points.read() == [Point(0.35, (1, 0), 1, 2), Point(0.26, (2, 0), 2, 2)]
    assert points.read() == []


def test_metrics_without_an_epoch_and_final_validations_are_values_too(own_environment):
    with start_run(run_id="run") as run:
        run.log_metrics({"train/loss": 3.0})
        run.log_metrics({"train/loss": float("nan")})
        run.log_validation({"train/loss": 1.0}, epoch=1, final=True)
    first, second, third = Points(own_environment / "run", "train/loss").read()
    assert (first, third) == (Point(3.0, (0, 1), 0), Point(1.0, (0, 3), 0))
    assert math.isnan(second.value)
    assert read_outcome(own_environment / "run", "train/loss").value == 1.0


def test_a_value_of_an_iteration_belongs_to_the_epochs_that_are_over(own_environment):
    with start_run(run_id="run") as run:
        for iteration in (1, 2, 3, 4):
            run.log_metrics({"train/loss": 1 / iteration}, iteration=iteration)
            if iteration % 2 == 0:
                run.log_metrics({"val/loss": 1.0}, epoch=iteration // 2, total_epochs=2)
    points = Points(own_environment / "run", "train/loss").read()
    assert [(point.epoch, point.last_epoch) for point in points] == [(0, None), (0, None), (1, 2), (1, 2)]


def test_a_results_number_is_the_last_value(own_environment):
    run = start_run(run_id="run")
    run.log_metrics({"score": 1.0}, epoch=1)
    run.complete(result={"score": 2.5, "other": "text"})
    assert Points(own_environment / "run", "score").read() == [Point(1.0, (1, 0), 1), Point(2.5, (1, 1), 1)]
    assert read_outcome(own_environment / "run", "score").value == 2.5
    assert read_outcome(own_environment / "run", "other").value is None


def test_where_there_is_no_run_nothing_has_begun(own_environment):
    assert read_outcome(own_environment / "none", "loss") == Outcome("not begun")


def test_the_best_has_completed_and_is_a_number():
    outcomes = {
        1: Outcome("failed", 0.1),
        2: Outcome("completed", float("nan")),
        3: Outcome("completed", 0.5),
        4: Outcome("stopped", 0.2),
        5: Outcome("completed", 0.4),
        6: Outcome("completed", float("-inf")),
    }
    assert best_of(outcomes, "min") == 5
    assert best_of(outcomes, "max") == 3
    assert best_of({1: outcomes[1], 2: outcomes[2], 4: outcomes[4]}, "min") == 4
    assert best_of({1: outcomes[1], 4: outcomes[4], 7: Outcome("paused", 0.1)}, "min") == 7
    assert best_of({1: outcomes[1], 2: outcomes[2]}, "min") is None


def test_a_trial_keeps_its_number_when_the_search_is_made_again(tmp_path):
    first = Numbers(tmp_path)
    assert [first.number_of({"x": x}) for x in (0.1, 0.2, 0.2)] == [1, 2, 3]
    again = Numbers(tmp_path)
    assert again.before == [{"x": 0.1}, {"x": 0.2}, {"x": 0.2}]
    assert [again.number_of({"x": x}) for x in (0.2, 0.1, 0.3, 0.2)] == [2, 1, 4, 3]
    assert json.loads((tmp_path / "4.json").read_text()) == {"x": 0.3}


def test_an_action_is_found_again_by_its_modules_name(monkeypatch):
    assert entrypoint_of(toys.Quadratic) == "tests.actions.tuning.toys:Quadratic"
    scripted = type("Scripted", (toys.Quadratic,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/somewhere/my_search.py", raising=False)
    assert entrypoint_of(scripted) == "my_search:Scripted"


def test_an_action_that_no_other_process_can_import_is_refused():
    class Local(toys.Quadratic):
        pass

    with pytest.raises(InvalidAction, match="define it at the top of a module"):
        entrypoint_of(Local)
    assert issubclass(Local, BaseTrainAction)


def test_a_process_that_ignores_the_search_is_ended_by_a_signal(tmp_path, own_environment, monkeypatch):
    monkeypatch.setattr("trainer_hooks.actions.tuning.process._OBEYS_WITHIN", 0.2)
    trial = TrialProcess(order(tmp_path, "tests.actions.tuning.toys:Deaf"), 1, {"x": 0.75}, mark=(0, 0))
    assert trial.next_value().value == 0.75
    trial.stop(STOPPED)
    latest = wait_until(lambda: read_history(own_environment / "night-trial-1").latest)
    assert (latest.status, trial.outcome.status) == ("interrupted", "stopped")
    assert latest.state.ended.reason == "SIGTERM"
