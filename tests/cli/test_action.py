"""`trainer-hooks action`: results on stdout, everything else on stderr, and a Ctrl-C that stops what runs elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.actions.parts import FIT, PLUGIN, attempts, is_at_work, told
from tests.cli.parts import COMMAND, invoke
from tests.waiting import wait_until
from trainer_hooks.events import RunCompleted, RunInterrupted
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.process import is_alive

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


def act(*arguments: str | Path, stdin: str | None = None, cwd: Path = PLUGIN) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "action", "run", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("executor", ["local", "process"])
def test_the_result_alone_is_on_stdout(executor, own_environment):
    done = act("fit", "--executor", executor, "--set", "epochs=4", "--run-id", "one")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"epochs": 4}
    assert "said on stdout" in done.stderr
    assert told(own_environment / "one", RunCompleted)[0].result == {"epochs": 4}


@pytest.mark.parametrize("executor", ["local", "process"])
def test_variables_of_the_plugin_are_set_for_an_action_that_is_called_by_its_name(executor):
    wanted = ("--executor", executor, "--set", "trouble=needs_the_plugins_variable")
    assert [act(named, *wanted).returncode for named in ("fit", FIT)] == [0, 1]


@pytest.mark.parametrize("executor", ["local", "process"])
def test_a_failed_action_is_status_1(executor):
    done = act(FIT, "--params", '{"trouble": "fails"}', "--executor", executor)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ValueError: no good" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fid"], "did you mean 'fit'?"),
        (["toys:Fit"], "there is no module 'toys'"),
        ([FIT, "--set", "epochs=many"], "epochs is 'many'"),
        ([FIT, "--set", "epochs"], "write it as name=value"),
        ([FIT, "--params", "nowhere.json"], "can't be read from nowhere.json"),
        ([FIT, "--num-gpus", "1"], "--num-gpus is for --executor ray"),
        ([FIT, "--executor", "local", "--timeout", "3"], "can't be given a timeout"),
        ([], "no action is named"),
    ],
)
def test_a_mistake_is_status_2_and_says_the_mend(arguments, says):
    done = act(*arguments)
    assert done.returncode == 2
    assert done.stderr.count(says) == 1
    assert "Traceback" not in done.stderr


def test_parameters_come_from_stdin_and_single_ones_take_their_place():
    done = act(FIT, "--params", "-", "--set", "epochs=5", "--executor", "local", stdin='{"epochs": 1}')
    assert json.loads(done.stdout) == {"epochs": 5}


def test_the_predecessors_variables_count_where_nothing_else_is_said(monkeypatch):
    monkeypatch.setenv("SYNAPSE_ACTION_ENTRYPOINT", "toy_actions.Fit")
    monkeypatch.setenv("SYNAPSE_ACTION_PARAMS", '{"epochs": 6}')
    assert json.loads(act("--executor", "local").stdout) == {"epochs": 6}


def test_a_folder_elsewhere_is_where_modules_are_found(tmp_path):
    done = act("fit", "--folder", PLUGIN, cwd=tmp_path)
    assert json.loads(done.stdout) == {"epochs": 1}


@pytest.mark.parametrize("text", ["", "env: prod\ndefaults: [db: mysql]", "actions: !left [up, down]"])
def test_a_config_yaml_of_somebody_elses_is_left_alone(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "toy_actions.py").write_text((PLUGIN / "toy_actions.py").read_text())
    done = act(FIT, "--executor", "local", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_action_may_have_a_dot_in_its_name(tmp_path):
    (tmp_path / "config.yaml").write_text("actions: {train.v2: {entrypoint: toy_actions.Fit}}")
    (tmp_path / "toy_actions.py").write_text((PLUGIN / "toy_actions.py").read_text())
    done = act("train.v2", "--executor", "local", cwd=tmp_path)
    assert json.loads(done.stdout) == {"epochs": 1}, done.stderr


def test_a_killed_action_is_retried_as_the_next_attempt(own_environment):
    done = act(FIT, "--set", "trouble=is_killed_once", "--retries", "1", "--run-id", "one")
    assert done.returncode == 0, done.stderr
    assert attempts(own_environment / "one") == {1, 2}
    assert "trying again" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_stops_the_action_first(number, own_environment):
    command = [*COMMAND, "action", "run", FIT, "--set", "trouble=waits", "--run-id", "one"]
    process = subprocess.Popen(command, cwd=PLUGIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: is_at_work(own_environment), 30, "the action's work")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert [event.reason for event in told(own_environment / "one", RunInterrupted)] == ["SIGTERM"]


def test_killed_it_takes_the_action_with_it(own_environment):
    command = [*COMMAND, "action", "run", FIT, "--set", "trouble=waits", "--run-id", "one"]
    process = subprocess.Popen(command, cwd=PLUGIN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: is_at_work(own_environment), 30, "the action's work")
    process.kill()
    process.wait()
    wait_until(lambda: told(own_environment / "one", RunInterrupted), 20, "the action's end")
    action = owner(read_headers(own_environment / "one")).process
    wait_until(lambda: is_alive(action) is False, 20, "the end of its process")


def test_left_to_itself_it_goes_on_and_can_be_found(own_environment):
    done = act(FIT, "--detach", "--run-id", "one", "--set", "trouble=takes_its_time")
    found = json.loads(done.stdout)
    assert found["run"] == "one"
    wait_until(lambda: told(own_environment / "one", RunCompleted), 30, "its end")
    log = Path(found["log"])
    assert "said on stdout" in log.read_text()
    assert "trouble" not in "".join(file.read_text() for file in log.parent.iterdir())


def test_the_actions_of_a_plugin_are_listed():
    done = invoke("action", "list", "--folder", str(PLUGIN))
    assert done.exit_code == 0
    assert done.output.splitlines()[1].split() == ["fit", "job", "toy_actions.Fit", "Fits", "nothing"]
    as_json = invoke("action", "list", "--folder", str(PLUGIN), "--json")
    assert json.loads(as_json.output)["predict"]["method"] == "serve"


def test_a_folder_without_a_plugin_has_nothing_to_list(tmp_path):
    done = invoke("action", "list", "--folder", str(tmp_path))
    assert done.exit_code == 2
    assert "there is no config.yaml" in done.output
