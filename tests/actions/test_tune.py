"""Searches by real Ray Tune, in the environment of `make test-ray`."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.actions.tuning.toys import PerIteration, Quadratic
from tests.waiting import wait_until
from trainer_hooks.actions import run_action
from trainer_hooks.errors import ActionError, InvalidParams, MissingPackage
from trainer_hooks.events import Logged, ProgressMade, RunCompleted, RunFailed, RunInterrupted
from trainer_hooks.history import Attempt, list_runs, read_history
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.process import is_alive
from trainer_hooks.stopping import ask_to_stop

pytestmark = pytest.mark.timeout(400)
ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")

ROOT = Path(__file__).parent.parent.parent
UNIFORM = {"name": "x", "type": "uniform", "min": 0, "max": 1}
DRIVER = """
import json, sys
from tests.actions.tuning.toys import Quadratic
from trainer_hooks.actions import run_action
print(json.dumps(run_action(Quadratic, json.loads(sys.argv[1]), run_id="night")))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """One for all tests that don't ask for one of their own; its processes can import what the tests can."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    info = ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        yield info.address_info["gcs_address"]
    finally:
        ray.shutdown()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def grid(name: str, *options: Any) -> dict[str, Any]:
    return {"name": name, "type": "grid_search", "options": list(options)}


def asked(*entries: dict[str, Any], own: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    tune_config = {"metric": "loss", "mode": "min", **config}
    return {"is_tune": True, "tune_config": tune_config, "hyperparameters": list(entries), **(own or {})}


def search(*entries: dict[str, Any], own: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return run_action(Quadratic, asked(*entries, own=own, **config), run_id="night")


def latest(root: Path, number: int | None = None) -> Attempt:
    return read_history(root / ("night" if number is None else f"night-trial-{number}")).latest


def await_epoch(root: Path, number: int, epoch: int) -> None:
    run = root / f"night-trial-{number}"
    wait_until(lambda: bool(read_headers(run)), timeout=200, what=f"the beginning of trial {number}")
    wait_until(lambda: latest(root, number).state.epoch == epoch, what=f"its epoch {epoch}")


def told(root: Path, *kinds: type) -> list[Any]:
    return [record.event for record in read_records(root / "night") if isinstance(record.event, kinds)]


@contextlib.contextmanager
def in_the_background(work: Callable[[], None]) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        at_work = pool.submit(work)
        yield
        at_work.result(timeout=60)


def driver(given: dict[str, Any]) -> subprocess.Popen[str]:
    """The same search in a process of its own, with a cluster of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(given)], env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.usefixtures("cluster")
def test_each_trial_is_a_run_and_the_best_one_is_the_searchs_result(own_environment, monkeypatch):
    monkeypatch.setenv("JOB_ID", "17")
    monkeypatch.setenv("CALLBACK_URL", "http://127.0.0.1:9/api/v1")
    result = search(UNIFORM, num_samples=8)
    assert [row["status"] for row in result["trials"]] == ["completed"] * 8
    losses = {row["run"]: row["value"] for row in result["trials"]}
    assert result["best_run"] == min(losses, key=lambda run: losses[run])
    assert result["best_metrics"]["loss"] == min(losses.values())
    (completed,) = told(own_environment, RunCompleted)
    assert completed.result == result
    assert completed.metrics == result["best_metrics"]
    progress = told(own_environment, ProgressMade)
    assert (progress[-1].current, progress[-1].total, progress[-1].category) == (8, 8, "trials")
    assert latest(own_environment).header.job == "17"
    for number in range(1, 9):
        trial = latest(own_environment, number)
        x = result["trials"][number - 1]["hyperparameters"]["x"]
        assert (trial.state.started.parent, trial.state.started.params["x"]) == ("night", x)
        assert (trial.status, trial.state.epoch, trial.header.job) == ("completed", 2, None)
        assert "callback_url" not in json.loads((own_environment / f"night-trial-{number}" / "run.json").read_text())


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_fails_or_dies_does_not_end_the_search_and_nan_never_wins(own_environment):
    result = search(grid("trouble", "raise", "kill", "exit", "nan", "none"), own={"x": 0.75})
    assert [row["status"] for row in result["trials"]] == ["failed", "lost", "failed", "completed", "completed"]
    assert result["trials"][3]["value"] == "NaN"
    assert result["best_result"] == {"trouble": "none"}
    failed = latest(own_environment, 1).state.ended
    assert (failed.exception, failed.message) == ("ArithmeticError", "x is 0.75")
    warned = [event.message for event in told(own_environment, Logged) if event.level == "WARNING"]
    assert any("trial 1 failed: [UnknownError] x is 0.75" in message for message in warned)


@pytest.mark.usefixtures("cluster")
def test_where_all_fail_the_search_fails_with_the_first_cause(own_environment):
    with pytest.raises(ActionError, match="none of 2 trials has come to its end; the first, night-trial-1: failed: "):
        search(grid("x", 0.7, 0.8), own={"trouble": "raise"})
    (failed,) = told(own_environment, RunFailed)
    assert "ArithmeticError: x is 0.7" in failed.traceback


@pytest.mark.usefixtures("cluster")
def test_a_metric_that_nobody_tells_is_named_beside_those_that_are():
    with pytest.raises(ActionError, match=r"no trial has told 'los', .* \(known: loss\); did you mean 'loss'\?"):
        search(grid("x", 0.1), metric="los")


@pytest.mark.usefixtures("cluster")
def test_the_metric_may_be_a_key_of_the_result():
    result = search(grid("x", 0.1, 0.25, 0.6), metric="score", mode="max")
    assert result["best_result"] == {"x": 0.25}
    assert result["model_id"] == 250


@pytest.mark.usefixtures("cluster")
def test_a_scheduler_stops_trials_early(own_environment):
    asha = {"name": "asha", "options": {"grace_period": 1, "reduction_factor": 2, "max_t": 5}}
    result = search(grid("x", 0.25, 0.9), own={"epochs": 3, "trouble": "wait"}, scheduler=asha, max_concurrent_trials=1)
    assert [row["status"] for row in result["trials"]] == ["completed", "stopped"]
    ended = latest(own_environment, 2).state.ended
    assert isinstance(ended, RunInterrupted)
    assert ended.reason == "stopped by the search"
    assert result["best_result"] == {"x": 0.25}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", {"name": "asha", "options": {"max_t": 3}}])
def test_what_a_trial_does_behind_its_last_epoch_is_not_cut_off(scheduler):
    result = search(grid("x", 0.25), own={"epochs": 3, "upload": 2}, scheduler=scheduler)
    assert [row["status"] for row in result["trials"]] == ["completed"]
    assert result["model_id"] == 250


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_is_no_good_at_its_last_epoch_still_comes_to_its_end():
    asha = {"name": "asha", "options": {"grace_period": 2, "reduction_factor": 2, "max_t": 2}}
    own = {"epochs": 2, "upload": 2}
    result = search(grid("x", 0.25, 0.9), own=own, scheduler=asha, max_concurrent_trials=1)
    assert [row["status"] for row in result["trials"]] == ["completed", "completed"]


@pytest.mark.usefixtures("cluster")
def test_a_scheduler_counts_epochs_though_the_metric_comes_with_each_iteration():
    result = run_action(PerIteration, asked(grid("x", 0.25), own={"epochs": 3}, scheduler="asha"), run_id="night")
    assert [row["status"] for row in result["trials"]] == ["completed"]
    assert result["best_metrics"]["loss"] == pytest.approx(0.25 / 15)


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_a_scheduler_pauses_goes_on_as_its_next_attempt(own_environment, tmp_path):
    # Two trials that may go through; then three that pause after an epoch, and the best of which goes on.
    hyperband = {"name": "hyperband", "options": {"max_t": 3, "reduction_factor": 3}}
    own = {"epochs": 3, "trouble": "wait", "trouble_above": -1, "wait_at": 2, "until": str(tmp_path / "go")}

    def let_go() -> None:
        await_epoch(own_environment, 5, 1)
        wait_until(lambda: latest(own_environment, 5).is_over, timeout=100, what="the pause")
        (tmp_path / "go").touch()

    with in_the_background(let_go):
        result = search(grid("x", 0.1, 0.24, 0.3, 0.6, 0.9), own=own, scheduler=hyperband)
    first, second = read_history(own_environment / "night-trial-3").attempts
    assert first.state.ended == RunInterrupted(reason="paused by the search", epoch=1)
    assert second.status == "completed"
    statuses = [row["status"] for row in result["trials"]]
    assert statuses[:3] == ["completed"] * 3
    assert set(statuses[3:]) <= {"paused", "stopped"}
    assert result["best_result"] == {"x": 0.24}


def test_a_search_that_was_killed_goes_on_and_does_nothing_again(own_environment, tmp_path):
    (begun := tmp_path / "begun").mkdir()
    go = tmp_path / "go"
    own = {"begun": str(begun), "trouble": "wait", "until": str(go)}
    drawn = {**UNIFORM, "name": "noise"}
    given = asked(grid("x", 0.1, 0.2, 0.9, 0.3), drawn, own=own, max_concurrent_trials=1)
    with driver(given) as first:
        wait_until(lambda: len(list(begun.iterdir())) == 3, timeout=200, what="the third trial's beginning")
        await_epoch(own_environment, 3, 1)
        first.kill()
    wait_until(lambda: latest(own_environment, 3).is_over, what="the end of the orphaned trial")
    go.touch()
    with driver(given) as second:
        printed, _ = second.communicate(timeout=200)
    result = json.loads(printed)
    assert [row["status"] for row in result["trials"]] == ["completed"] * 4
    assert sorted(path.name.split("-")[0] for path in begun.iterdir()) == ["0.1", "0.2", "0.3", "0.9", "0.9"]
    assert [attempt.number for attempt in read_history(own_environment / "night-trial-3").attempts] == [1, 2]
    assert [attempt.status for attempt in read_history(own_environment / "night").attempts] == ["lost", "completed"]


def test_ctrl_c_ends_the_search_and_its_trials(own_environment):
    with driver(asked(grid("x", 0.9), own={"trouble": "wait"})) as searching:
        await_epoch(own_environment, 1, 1)
        searching.send_signal(signal.SIGINT)
        searching.communicate(timeout=100)
    assert latest(own_environment).status == "interrupted"
    trial = wait_until(lambda: latest(own_environment, 1) if latest(own_environment, 1).state.ended else None)
    assert trial.status == "interrupted"
    wait_until(lambda: is_alive(trial.header.process) is False, what="the end of the trial's process")


@pytest.mark.usefixtures("cluster")
def test_a_platform_that_stops_the_search_stops_its_trials(own_environment):
    def stop() -> None:
        await_epoch(own_environment, 1, 1)
        ask_to_stop(own_environment / "night", 1, "cancelled by the user")

    with in_the_background(stop):
        result = search(grid("x", 0.9, 0.95), own={"trouble": "wait"}, max_concurrent_trials=1)
    assert latest(own_environment).state.ended == RunInterrupted(reason="cancelled by the user", epoch=0)
    assert latest(own_environment, 1).state.ended.reason == "the search is stopped"
    assert result["trials"][0]["status"] == "interrupted"


def test_a_search_runs_on_the_cluster_that_ray_address_names(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    with driver(asked(grid("x", 0.25))) as searching:
        printed, _ = searching.communicate(timeout=200)
    assert json.loads(printed)["best_result"] == {"x": 0.25}


def test_more_than_a_cluster_of_its_own_has_is_an_error_at_once(own_environment):
    with driver(asked(UNIFORM, own={"num_cpus": 1000})) as searching:
        searching.communicate(timeout=100)
    (failed,) = told(own_environment, RunFailed)
    assert "a trial asks for 1000 CPUs and 0 GPUs; free in the cluster are" in failed.message


def idle_watch(cpus: float) -> Any:
    """Of a search whose trials want so many CPUs, and whose patience is short."""
    engine = importlib.import_module("trainer_hooks.actions.tuning.ray.watch")
    listener = SimpleNamespace(is_stopped=lambda: False, waits=lambda _: None)
    return engine.Watch(listener, {"cpu": cpus, "gpu": 0.0}, patience=0.05)


def end_of(watch: Any, *states: str) -> Exception:
    def ended() -> Exception | None:
        try:
            watch.on_step_end(1, [SimpleNamespace(status=state) for state in states])
        except Exception as error:  # noqa: BLE001 - which one is what is asked
            return error
        return None

    return wait_until(ended, timeout=20, what="the end of the search")


@pytest.mark.usefixtures("cluster")
def test_trials_that_never_get_their_resources_end_the_search():
    watch = idle_watch(1000)
    told = "no trial has got its resources for 0 s: free in the cluster are 4 of 4 CPUs"
    assert told in str(end_of(watch, "PENDING", "TERMINATED"))
    watch.on_step_end(1, [SimpleNamespace(status="PENDING"), SimpleNamespace(status="RUNNING")])
    watch.on_step_end(1, [SimpleNamespace(status="PENDING")])


@pytest.mark.usefixtures("cluster")
def test_trials_that_are_paused_and_have_room_are_left(monkeypatch):
    watching = importlib.import_module("trainer_hooks.actions.tuning.ray.watch")
    monkeypatch.setattr(watching, "_LEFT_AFTER", 0.01)
    assert isinstance(end_of(idle_watch(1), "PAUSED", "TERMINATED"), watching.NothingLeft)
    assert isinstance(end_of(idle_watch(1000), "PAUSED", "TERMINATED"), ActionError)
    assert isinstance(end_of(idle_watch(1), "PAUSED", "PENDING"), ActionError)


@pytest.mark.usefixtures("cluster")
def test_a_metric_may_be_called_as_what_is_told_of_a_trial_is():
    (trial,) = search(grid("x", 0.25), metric="status")["trials"]
    assert (trial["status"], trial["value"]) == ("completed", 3)


def test_an_option_that_a_scheduler_does_not_have_is_said_before_anything_starts(own_environment):
    with pytest.raises(InvalidParams, match=r"tune_config\.scheduler: .* can't be made of \{.*'max_tt': 5\}"):
        search(UNIFORM, scheduler={"name": "asha", "options": {"max_tt": 5}})
    assert not own_environment.exists()


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        ({"name": "asha", "options": {"metric": "x"}}, "leave them out of the options"),
        ({"name": "asha", "options": {"grace_period": 5}}, "grace_period must be <= max_t"),
    ],
)
def test_a_scheduler_that_ray_would_refuse_later_is_refused_before_anything_starts(own_environment, scheduler, told):
    with pytest.raises(InvalidParams, match=told):
        search(UNIFORM, own={"epochs": 3}, scheduler=scheduler)
    assert not own_environment.exists()


@pytest.mark.usefixtures("cluster")
def test_what_is_quantised_is_drawn_though_its_bounds_are_not():
    (trial,) = search({"name": "x", "type": "quniform", "min": 1, "max": 10, "q": 4})["trials"]
    assert trial["hyperparameters"]["x"] in (4, 8)


def test_an_algorithm_whose_package_is_missing_is_said_before_anything_starts(own_environment):
    with pytest.raises(MissingPackage, match="'optunasearch' needs the package 'optuna'"):
        search(UNIFORM, search_alg="optunasearch")
    assert not own_environment.exists()


def test_the_example_finds_the_better_half(own_environment, tmp_path):
    example = ROOT / "examples" / "actions" / "tune.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'batch': 50" in done.stdout
    parents = [read_history(run).latest.state.started.parent for run in list_runs(own_environment)]
    (search_run,) = set(parents) - {None}
    assert parents.count(search_run) == 6
    assert done.stdout.startswith(f"{search_run}-trial-")
