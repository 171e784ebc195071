"""`python -m trainer_hooks.actions`: one action in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.actions.parts import FIT, PLUGIN, told
from trainer_hooks.events import RunCompleted, RunFailed
from trainer_hooks.history import list_runs


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


def act(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer_hooks.actions", *map(str, arguments)]
    return subprocess.run(command, cwd=PLUGIN, capture_output=True, text=True, check=False)


@pytest.fixture
def params(tmp_path: Path) -> Any:
    def write(**values: Any) -> Path:
        file = tmp_path / "params.json"
        file.write_text(json.dumps(values))
        return file

    return write


def test_the_result_is_written_whole_and_the_run_told(params, tmp_path, own_environment):
    done = act(FIT, "--params", params(epochs=3), "--result", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text()) == {"epochs": 3}
    (run,) = list_runs(own_environment)
    assert told(run, RunCompleted)[0].result == {"epochs": 3}


def test_a_failure_is_status_1_with_pythons_own_traceback(params, tmp_path, own_environment):
    done = act(FIT, "--params", params(trouble="fails"), "--result", tmp_path / "result.json")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: no good")
    assert "Traceback (most recent call last):" in done.stderr
    assert not (tmp_path / "result.json").exists()
    (run,) = list_runs(own_environment)
    assert [event.message for event in told(run, RunFailed)] == ["no good"]


@pytest.mark.parametrize(
    ("entrypoint", "values", "says"),
    [
        ("toy_actions:Fid", {}, "toy_actions has no 'Fid' (its actions: Fit)"),
        ("toys:Fit", {}, "there is no module 'toys'"),
        (FIT, {"epochs": "many"}, "epochs is 'many'"),
    ],
)
def test_a_mistake_is_status_2_and_one_message(entrypoint, values, says, params, own_environment):
    done = act(entrypoint, "--params", params(**values))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not own_environment.exists()


def test_parameters_that_are_no_object_are_named_with_their_file(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    done = act(FIT, "--params", tmp_path / "list.json")
    assert done.returncode == 2
    assert "list.json must be a JSON object" in done.stderr


def test_a_setting_that_can_not_be_used_is_status_2(monkeypatch):
    monkeypatch.setenv("CALLBACK_URL", "platform.example")
    done = act(FIT)
    assert done.returncode == 2
    assert "CALLBACK_URL" in done.stderr


def test_the_predecessors_variables_count_where_nothing_else_is_said(monkeypatch, params, own_environment):
    monkeypatch.setenv("SYNAPSE_ACTION_ENTRYPOINT", "toy_actions.Fit")
    monkeypatch.setenv("SYNAPSE_ACTION_PARAMS_FILE", str(params(epochs=7)))
    assert act().returncode == 0
    (run,) = list_runs(own_environment)
    assert told(run, RunCompleted)[0].result == {"epochs": 7}


def test_without_any_name_the_ways_to_give_one_are_told():
    done = act()
    assert done.returncode == 2
    assert "give module:Class, or set SYNAPSE_ACTION_ENTRYPOINT" in done.stderr


def test_where_nobody_can_be_told_how_it_ended_it_ends_all_the_same(params, tmp_path, own_environment):
    done = act(FIT, "--params", params(), "--outcome", tmp_path / "removed" / "outcome.json")
    assert done.returncode == 0
    (run,) = list_runs(own_environment)
    assert told(run, RunCompleted)
