"""An action is one run, from its parameters to its result; its trainings are told as part of it."""

from __future__ import annotations

import enum
import functools
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
from mmengine.runner import Runner
from pydantic import BaseModel

import trainer_hooks
from tests.actions.steps.parts import Step, Undoable
from tests.hosts import mmengine, ultralytics
from trainer_hooks.actions import BaseTrainAction, BaseTrainParams, StepRegistry, StepResult, run_action
from trainer_hooks.actions.action import params_model_of
from trainer_hooks.actions.loading import load_action
from trainer_hooks.autologging import attached
from trainer_hooks.errors import (
    ActionError,
    ActionStopped,
    CannotResume,
    InvalidAction,
    InvalidParams,
    UnknownFramework,
)
from trainer_hooks.events import (
    EpochEnded,
    ImageSaved,
    Logged,
    MetricsLogged,
    ProgressMade,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records
from trainer_hooks.run import surrounding_run
from trainer_hooks.stopping import ask_to_stop

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")


class Params(BaseTrainParams):
    epochs: int = 1
    dataset_id: int | None = None


class Other(BaseModel): ...


class Action(BaseTrainAction[Params]):
    action_name = "fit"

    def execute(self) -> dict[str, Any]:
        return {"epochs": self.params.epochs}


def told(root: Path, *kinds: type) -> list[Any]:
    (run,) = list_runs(root)
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


def doing(work: Any) -> type[BaseTrainAction[Params]]:
    """An action that does this with itself."""

    class Doing(BaseTrainAction[Params]):
        def execute(self) -> Any:
            return work(self)

    return Doing


def test_an_action_is_a_run_with_its_parameters_and_its_result(own_environment):
    assert run_action(Action, {"epochs": 2}, run_id="night") == {"epochs": 2}
    (started,) = told(own_environment, RunStarted)
    assert (started.action, started.params["epochs"], started.operation) == ("fit", 2, "training")
    (completed,) = told(own_environment, RunCompleted)
    assert completed.result == {"epochs": 2}


def test_nothing_starts_with_parameters_that_can_not_be_used(own_environment):
    with pytest.raises(InvalidParams, match="epochs is 'many'"):
        run_action(Action, {"epochs": "many"})
    assert not own_environment.exists()


def test_what_the_action_raises_is_the_runs_failure_and_goes_on_to_the_caller(own_environment):
    error = MemoryError("no room")

    def fail(_: Any) -> None:
        raise error

    with pytest.raises(MemoryError) as caught:
        run_action(doing(fail), {})
    assert caught.value is error
    (failed,) = told(own_environment, RunFailed)
    assert (failed.error, failed.message) == ("ResourceError", "no room")


@pytest.mark.parametrize("status", [0, None])
def test_an_exit_in_the_midst_of_it_is_no_completion(own_environment, status):
    with pytest.raises(SystemExit):
        run_action(doing(lambda _: sys.exit(status)), {})
    (interrupted,) = told(own_environment, RunInterrupted)
    assert interrupted.reason == "the script exited before the work was done"
    assert not told(own_environment, RunCompleted)


def test_an_exit_with_a_status_is_a_failure(own_environment):
    with pytest.raises(SystemExit):
        run_action(doing(lambda _: sys.exit(3)), {})
    assert told(own_environment, RunFailed)[0].exit_status == 3


def test_a_loop_of_ones_own_in_an_action_is_part_of_it_and_does_not_end_it(own_environment):
    def work(_: Any) -> dict[str, Any]:
        with trainer_hooks.start_run(total_epochs=2, params={"lr": 1}) as run:
            for epoch in (1, 2):
                run.log_metrics({"loss": 1.0}, epoch=epoch)
        raise ValueError("the upload failed")

    with pytest.raises(ValueError, match="the upload failed"):
        run_action(doing(work), {"epochs": 7})
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    (failed,) = told(own_environment, RunFailed)
    assert (failed.message, failed.epoch) == ("the upload failed", 2)
    started = told(own_environment, RunStarted)[-1]
    assert (started.total_epochs, started.params["lr"], started.params["epochs"]) == (2, 1, 7)
    assert not told(own_environment, RunCompleted)


def test_an_action_in_an_action_is_a_run_of_its_own(own_environment):
    def work(action: BaseTrainAction[Params]) -> dict[str, Any]:
        inner = run_action(Action, {"epochs": 3}, run_id="inner")
        action.log_message("behind it")
        return {"inner": inner["epochs"]}

    assert run_action(doing(work), {}, run_id="outer") == {"inner": 3}
    ended = {run.name: read_history(run).latest.state.ended for run in list_runs(own_environment)}
    assert {name: event.result for name, event in ended.items()} == {"inner": {"epochs": 3}, "outer": {"inner": 3}}


def test_actions_in_two_threads_are_two_runs(own_environment):
    both = threading.Barrier(2, timeout=30)

    def work(action: BaseTrainAction[Params]) -> dict[str, Any]:
        both.wait()
        surrounding_run().log_metrics({"epochs": action.params.epochs})
        both.wait()
        return {"epochs": action.params.epochs}

    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(run_action, doing(work), {"epochs": n}, run_id=f"run {n}") for n in (1, 2)]
        assert [one.result(60) for one in made] == [{"epochs": 1}, {"epochs": 2}]
    for n in (1, 2):
        records = [record.event for record in read_records(own_environment / f"run {n}")]
        assert [event.metrics for event in records if isinstance(event, MetricsLogged)] == [{"epochs": n}]


@pytest.mark.framework
@pytest.mark.usefixtures("own_environment")
def test_actions_in_threads_attach_once_and_for_as_long_as_one_of_them_works():
    before = ultralytics.fingerprint()
    for turn in range(10):
        both = threading.Barrier(2, timeout=30)
        first_is_done = threading.Event()

        def work(
            action: BaseTrainAction[Params], both: Any = both, first_is_done: Any = first_is_done
        ) -> dict[str, Any]:
            both.wait()
            if action.params.epochs == 2:
                assert first_is_done.wait(30)
                assert attached().frameworks == ["mmengine", "ultralytics"]
            return {}

        with ThreadPoolExecutor(2) as pool:
            made = [pool.submit(run_action, doing(work), {"epochs": n}, run_id=f"{turn}-{n}") for n in (1, 2)]
            made[0].result(60)
            first_is_done.set()
            made[1].result(60)
        assert ultralytics.fingerprint() == before


def test_a_thread_that_an_action_starts_is_part_of_it(own_environment):
    def work(_: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: surrounding_run().log_metrics({"x": 1})).result(30)

    run_action(doing(work), {})
    assert told(own_environment, MetricsLogged)[0].metrics == {"x": 1}


def test_an_action_that_is_to_stop_does_so_between_its_steps(own_environment):
    diary: list[str] = []

    class Stopped(BaseTrainAction[Params]):
        def setup_steps(self, registry: StepRegistry[Any]) -> None:
            def ask(_: Any) -> StepResult:
                ask_to_stop(self.ctx.run.directory, self.ctx.run.attempt, "cancelled by ada")
                return StepResult()

            registry.register(Undoable("train", diary, do=ask))
            registry.register(Step("upload", diary))

    with pytest.raises(ActionStopped, match="stopped before step 'upload'"):
        run_action(Stopped, {}, run_id="night")
    (interrupted,) = told(own_environment, RunInterrupted)
    assert "cancelled by ada" in interrupted.reason
    assert diary == ["train"]
    assert (own_environment / "night" / "steps.json").exists()


def test_a_model_in_the_context_that_is_no_mapping_is_none_of_the_result(own_environment):
    class Odd(BaseTrainAction[Params]):
        def setup_steps(self, registry: StepRegistry[Any]) -> None:
            def set_model(context: Any) -> StepResult:
                context.model = object()
                return StepResult()

            registry.register(Step("train", do=set_model))

    assert run_action(Odd, {}) == {"success": True, "steps_executed": 1, "steps_total": 1}
    assert len(told(own_environment, RunCompleted)) == 1


def test_ctrl_c_is_an_interruption(own_environment):
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_action(doing(stop), {})
    assert len(told(own_environment, RunInterrupted)) == 1


def test_a_result_that_is_no_json_fails_the_run_with_its_place(own_environment):
    with pytest.raises(ActionError, match=r"result\['model'\] is object"):
        run_action(doing(lambda _: {"model": object()}), {})
    (failed,) = told(own_environment, RunFailed)
    assert "result['model'] is object" in failed.message
    assert not told(own_environment, RunCompleted)


def test_progress_metrics_and_messages_are_told(own_environment):
    def work(action: BaseTrainAction[Params]) -> None:
        action.set_progress(1, 3, action.progress.DATASET)
        action.set_metrics({"loss": 0.5}, "validation")
        action.log_message("half way", "WARNING")

    run_action(doing(work), {})
    (progress,) = told(own_environment, ProgressMade)
    assert (progress.current, progress.total, progress.category) == (1, 3, "dataset")
    assert told(own_environment, MetricsLogged)[0].metrics == {"validation/loss": 0.5}
    assert ("WARNING", "half way") in [(event.level, event.message) for event in told(own_environment, Logged)]


def test_a_logs_data_may_have_any_names(own_environment):
    data = {"source": "camera 3", "message": "dark", "level": 4, "self": 1, "extra": 2, "event": 3, "data": 4, 5: 6}
    run_action(doing(lambda action: action.log("images", data)), {})
    (log,) = [event for event in told(own_environment, Logged) if event.message == "images"]
    assert (log.level, log.source) == ("INFO", "action")
    assert log.data == {**{name: value for name, value in data.items() if name != 5}, "5": 6}


class PredecessorsLevel(str, enum.Enum):
    DEBUG = "debug"
    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    DANGER = "danger"
    ERROR = "error"
    CRITICAL = "critical"


def test_the_predecessors_levels_are_known(own_environment):
    def work(action: BaseTrainAction[Params]) -> None:
        for level in PredecessorsLevel:
            action.log("event", level=level)
            action.log_message("message", level.value.upper())
        action.log_message("message", logging.WARNING)  # type: ignore[arg-type]

    run_action(doing(work), {})
    levels = [event.level for event in told(own_environment, Logged) if event.source == "action"]
    as_they_are = ["DEBUG", "INFO", "INFO", "WARNING", "ERROR", "ERROR", "ERROR"]
    assert levels == [level for level in as_they_are for _ in range(2)] + ["WARNING"]


def test_a_file_is_named_in_the_log_and_an_image_told(own_environment, tmp_path):
    image, table = tmp_path / "seen.png", tmp_path / "results.csv"
    image.write_bytes(b"png")

    def work(action: BaseTrainAction[Params]) -> None:
        action.log("validation_samples", {"group": 1}, str(image))
        action.log("table", {}, table)

    run_action(doing(work), {})
    logs = [event.data for event in told(own_environment, Logged) if event.source == "action"]
    assert logs == [{"group": 1, "file": str(image)}, {"file": str(table)}]
    assert [(event.title, event.path) for event in told(own_environment, ImageSaved)] == [("seen", str(image))]


def test_what_the_predecessors_actions_tell_is_told(own_environment):
    def work(action: BaseTrainAction[Params]) -> None:
        action.log_message("{n} of {all} images", n=3, all="5")
        action.log_message("{as it is}")
        action.set_progress(1, 4, step="convert")
        action.set_progress(2, 4, None, step="convert")
        action.ctx.set_progress(3, 4, category="convert")
        action.set_metrics({"loss": 0.5}, step="validation")
        action.log_metric("train", "epoch", 3, loss=0.25)
        action.ctx.end_log()
        assert action.client is action.ctx.client

    run_action(doing(work), {})
    messages = [event.message for event in told(own_environment, Logged) if event.source == "action"]
    assert messages == ["3 of 5 images", "{as it is}"]
    assert [(event.current, event.category) for event in told(own_environment, ProgressMade)] == [
        (1, "convert"),
        (2, "convert"),
        (3, "convert"),
    ]
    metrics = [event.metrics for event in told(own_environment, MetricsLogged)]
    assert metrics == [{"validation/loss": 0.5}, {"train/loss": 0.25, "train/epoch": 3}]


@pytest.mark.parametrize(("current", "total"), [(1, 0), (-1, 3), (4, 3), (1, -2), (float("nan"), 3), (1, float("inf"))])
def test_progress_that_is_none_is_refused(current, total):
    with pytest.raises(ValueError, match="progress of 'train'"):
        run_action(doing(lambda action: action.set_progress(current, total)), {})


def test_a_framework_that_nobody_knows_is_an_error_at_once():
    with pytest.raises(UnknownFramework, match="did you mean 'ultralytics'") as caught:
        run_action(doing(lambda action: action.autolog("ultralitics")), {})
    assert isinstance(caught.value, ValueError)  # as the predecessor's code catches it


def test_a_dataset_that_the_parameters_do_not_name_is_a_clear_error():
    with pytest.raises(ActionError, match="Params has no dataset_id; give one, or override get_dataset") as caught:
        run_action(doing(lambda action: action.get_dataset()), {})
    assert isinstance(caught.value, ValueError)


def test_get_dataset_may_be_overridden():
    class Own(BaseTrainAction[Params]):
        def get_dataset(self) -> str:
            return "own.yaml"

        def execute(self) -> dict[str, Any]:
            return {"data": self.get_dataset()}

    assert run_action(Own, {}) == {"data": "own.yaml"}


def test_without_a_checkpoint_there_is_none():
    assert run_action(doing(lambda action: {"checkpoint": action.get_checkpoint()}), {}) == {"checkpoint": None}


def test_a_model_comes_back_as_a_checkpoint_with_its_parent(tmp_path):
    weights = tmp_path / "best.pt"
    weights.write_bytes(b"weights")
    made = run_action(doing(lambda action: action.create_model(weights, name="first")), {})

    def go_on(action: BaseTrainAction[Params]) -> dict[str, Any]:
        checkpoint = action.get_checkpoint()
        assert checkpoint is not None
        assert Path(checkpoint["path"]).read_bytes() == b"weights"
        return {**checkpoint, "made": action.create_model(weights, name="second")}

    result = run_action(doing(go_on), {"checkpoint": made["id"]})
    assert (result["id"], result["name"], result["category"]) == (made["id"], "first", "base")
    assert result["made"]["checkpoint"] == made["id"]


def test_a_model_that_is_not_there_is_an_error_and_the_run_fails(own_environment, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        run_action(doing(lambda action: action.create_model(tmp_path / "gone.pt")), {})
    assert len(told(own_environment, RunFailed)) == 1


def test_a_resumed_action_is_given_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "thread")
    file = tmp_path / "last.json"

    def work(action: BaseTrainAction[Params]) -> Any:
        found = action.get_checkpoint()
        if found is None:
            file.write_text("{}")
            action.ctx.run.log_checkpoint(file, epoch=1)
            action.ctx.run.flush(30)
            raise RuntimeError("taken away")
        return found

    with pytest.raises(RuntimeError):
        run_action(doing(work), {}, run_id="night", resume="auto")
    result = run_action(doing(work), {}, run_id="night", resume="auto")
    assert (result["category"], result["name"], result["id"]) == ("resumed", "last", "night")
    assert Path(result["path"]).read_text() == "{}"


def test_whose_checkpoint_it_is_that_can_not_be_found_out_begins_nothing_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "thread")
    file = tmp_path / "last.json"

    def work(action: BaseTrainAction[Params]) -> None:
        run = action.ctx.run
        if run.attempt == 1:
            file.write_text("{}")
            run.log_checkpoint(file, epoch=1)
            run.flush(30)
            raise RuntimeError("taken away")
        (run.directory / "journal" / "000099.jsonl").mkdir()
        try:
            run.checkpoint_for_training()
        finally:
            (run.directory / "journal" / "000099.jsonl").rmdir()

    with pytest.raises(RuntimeError):
        run_action(doing(work), {}, run_id="night", resume="auto")
    with pytest.raises(CannotResume, match="its checkpoint can't be had: IsADirectoryError"):
        run_action(doing(work), {}, run_id="night", resume="auto")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class A(BaseTrainAction[P]): pass", "has neither execute nor setup_steps"),
        ("class A(BaseTrainAction):\n    def execute(self): pass", "doesn't say what its parameters are"),
        (
            "class A(BaseTrainAction[P]):\n    def execute(self, data_path, checkpoint, *more, epochs=3): pass",
            "a:A: execute wants data_path, checkpoint, and is given nothing here; write execute(self), and ask",
        ),
        ("A = 3", "a:A is int, not a subclass of BaseTrainAction"),
        ("class B(BaseTrainAction[P]): pass", "a has no 'A' (its actions: B)"),
        ("", "a has no 'A' (its actions: none)"),
    ],
)
def test_what_is_no_action_is_a_clear_error(tmp_path, monkeypatch, code, said):
    (tmp_path / "a.py").write_text(
        "from pydantic import BaseModel\nfrom trainer_hooks.actions import BaseTrainAction\n"
        f"class P(BaseModel): pass\n{code}\n"
    )
    monkeypatch.delitem(sys.modules, "a", raising=False)
    with pytest.raises(InvalidAction) as caught:
        load_action("a:A", tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nowhere:A", "nowhere.A", ":A", "a:", "A", "trainer_hooks.nowhere:A", "..x", ".x:A", "x..y:A"]
)
def test_an_entrypoint_that_is_not_there_is_a_clear_error(tmp_path, name):
    with pytest.raises(InvalidAction, match=name):
        load_action(name, tmp_path)


ONE_ACTION = """
from pydantic import BaseModel
from trainer_hooks.actions import BaseTrainAction
class P(BaseModel): pass
class A(BaseTrainAction[P]):
    def execute(self): pass
"""


@pytest.mark.parametrize("module", ["plugin_of_two", "package_of_two.plugin", "json"])
def test_a_module_of_the_same_name_in_another_folder_is_not_taken_for_it(tmp_path, monkeypatch, module):
    monkeypatch.setattr(sys, "path", [*sys.path])
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        file = folder / f"{module.replace('.', '/')}.py"
        file.parent.mkdir(parents=True)
        file.write_text(ONE_ACTION)
    if module != "json":
        assert load_action(f"{module}:A", one) is load_action(f"{module}:A", one)
    with pytest.raises(InvalidAction, match=rf"'{module}:A' is in {two}/.*, but '{module}' was loaded from .*: rename"):
        load_action(f"{module}:A", two)


def test_an_action_that_is_not_in_the_folder_is_found_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_action("tests.actions.test_action:Action", tmp_path).action_name == "fit"


def test_the_folder_goes_before_whatever_is_on_the_path(tmp_path, monkeypatch):
    folder, other = tmp_path / "folder", tmp_path / "other"
    for place in (folder, other):
        place.mkdir()
        (place / "plugin_on_the_path.py").write_text(ONE_ACTION)
    monkeypatch.setattr(sys, "path", [str(other), *sys.path, str(folder)])
    action = load_action("plugin_on_the_path:A", folder)
    assert sys.modules[action.__module__].__file__ == str(folder / "plugin_on_the_path.py")
    assert sys.path.count(str(folder)) == 1


def test_what_a_module_lacks_itself_is_its_own_error(tmp_path):
    (tmp_path / "needs_more.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        load_action("needs_more:A", tmp_path)


def test_parameters_are_found_in_a_generic_parent():
    class Parent(BaseTrainAction[Params]):
        def execute(self) -> None: ...

    class Child(Parent): ...

    class Given(BaseTrainAction):  # type: ignore[type-arg]
        params_model = Params

    assert params_model_of(Child) is params_model_of(Given) is Params


M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Mixed(Generic[T]): ...


class Swapped(Mixed[T], BaseTrainAction[M], Generic[T, M]):
    def execute(self) -> None: ...


class Narrowed(Swapped[Other, M], Generic[M]): ...


def test_parameters_are_those_of_the_action_among_its_generic_parents():
    class First(Mixed[Other], BaseTrainAction[Params]): ...

    class Second(Swapped[Other, Params]): ...

    class Third(Narrowed[Params], Mixed[Other]): ...

    assert [params_model_of(kind) for kind in (First, Second, Third)] == [Params] * 3


def test_parameters_that_a_parent_leaves_open_are_none():
    class Open(Swapped[Other, M]): ...

    for kind in (Open, Swapped, Narrowed):
        with pytest.raises(InvalidAction, match="doesn't say what its parameters are"):
            params_model_of(kind)


def test_what_execute_is_given_by_others_is_their_matter():
    def given(execute: Any) -> Any:
        @functools.wraps(execute)
        def wrapper(self: Any) -> Any:
            return execute(self, 3)

        return wrapper

    class Wrapped(BaseTrainAction[Params]):
        @given
        def execute(self, more: int = 0, *_: Any, **__: Any) -> dict[str, Any]:
            return {"more": more}

    class Static(BaseTrainAction[Params]):
        @staticmethod
        def execute() -> dict[str, Any]:
            return {}

    class Needing(Wrapped):
        @given
        def execute(self, more: int) -> dict[str, Any]:  # type: ignore[override]
            return {"more": more}

    assert run_action(Wrapped, {}) == run_action(Needing, {}) == {"more": 3}
    assert run_action(Static, {}) == {}


def test_importing_actions_loads_nothing_heavy():
    code = "import sys, trainer_hooks.actions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"pydantic", "httpx", "yaml", "torch", "ray"} & set(loaded.stdout.split())


@pytest.mark.framework
def test_an_ultralytics_training_is_part_of_the_action(own_environment, tmp_path):
    def work(_: Any) -> dict[str, Any]:
        trained = ultralytics.train(tmp_path, 2)
        assert trained.error is None
        assert attached().frameworks == ["mmengine", "ultralytics"]
        return {"weights": trained.weights}

    before = attached().frameworks
    run_action(doing(work), {"epochs": 2})
    assert attached().frameworks == before
    started = told(own_environment, RunStarted)
    assert [event.framework for event in started] == [None, "ultralytics"]
    assert (started[-1].action, started[-1].params["dataset_id"], started[-1].total_epochs) == ("train", None, 2)
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    (completed,) = told(own_environment, RunCompleted)
    assert completed.epochs == 2


@pytest.mark.framework
def test_a_training_that_fails_in_an_action_fails_it_once(own_environment, tmp_path):
    def work(_: Any) -> None:
        trained = ultralytics.train(tmp_path, 2, at=["on_train_epoch_start"], do=lambda: 1 / 0)
        assert trained.error is not None
        raise trained.error

    with pytest.raises(ZeroDivisionError):
        run_action(doing(work), {})
    assert len(told(own_environment, RunFailed)) == 1


@pytest.mark.framework
def test_an_action_may_survive_a_training_that_fails(own_environment, tmp_path):
    def work(_: Any) -> dict[str, Any]:
        assert ultralytics.train(tmp_path / "one", 2, at=["on_train_epoch_start"], do=lambda: 1 / 0).error
        return {"weights": ultralytics.train(tmp_path / "two", 1).weights}

    run_action(doing(work), {})
    assert not told(own_environment, RunFailed)
    assert len(told(own_environment, RunCompleted)) == 1


@pytest.mark.framework
def test_an_mmengine_training_is_part_of_the_action(own_environment, tmp_path):
    def work(_: Any) -> None:
        assert mmengine.train(tmp_path, 2).error is None

    run_action(doing(work), {})
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    assert len(told(own_environment, RunCompleted)) == 1


@pytest.mark.framework
def test_a_test_behind_an_mmengine_training_is_part_of_the_training(own_environment, tmp_path):
    def work(_: Any) -> None:
        runner = Runner.from_cfg(mmengine.config(tmp_path, 1))
        runner.train()
        runner.test()

    run_action(doing(work), {})
    assert {event.operation for event in told(own_environment, RunStarted)} == {"training"}
    assert len(told(own_environment, Validated)) == 2


def killed_in(epoch: int, folder: Path) -> Any:
    """Trains three epochs, and is left in that one by an error; the courier has stored what there is by then."""

    def work(action: BaseTrainAction[Params]) -> dict[str, Any]:
        def leave() -> None:
            action.ctx.run.flush(30)
            raise RuntimeError("taken away")

        trained = ultralytics.train(folder, 3, at=["on_train_epoch_start"], epoch=epoch, do=leave)
        if trained.error is not None:
            raise trained.error
        return {"weights": trained.weights}

    return work


@pytest.mark.framework
def test_a_training_in_an_action_goes_on_where_it_was_left(own_environment, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "thread")
    with pytest.raises(RuntimeError, match="taken away"):
        run_action(doing(killed_in(2, tmp_path)), {}, run_id="night", resume="auto")
    run_action(doing(killed_in(9, tmp_path)), {}, run_id="night", resume="auto")
    records = list(read_records(own_environment / "night"))
    assert [r.event.epoch for r in records if r.attempt == 2 and isinstance(r.event, EpochEnded)] == [2, 3]
    assert [r.attempt for r in records if isinstance(r.event, RunCompleted)] == [2]


@pytest.mark.framework
def test_which_of_several_trainings_is_to_go_on_is_not_guessed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "thread")

    def two(action: BaseTrainAction[Params]) -> None:
        assert ultralytics.train(tmp_path / "one", 1).error is None
        killed_in(2, tmp_path / "two")(action)

    with pytest.raises(RuntimeError, match="taken away"):
        run_action(doing(two), {}, run_id="night", resume="auto")
    seen = []

    def again(_: Any) -> None:
        seen.append(ultralytics.train(tmp_path / "one", 1).error)

    run_action(doing(again), {}, run_id="night", resume="auto")
    assert isinstance(seen[0], CannotResume)
    assert "the newest checkpoint is of training 2, and training 1 begins" in str(seen[0])


def test_a_run_of_ones_own_goes_on_ending_its_trainings_by_themselves(own_environment, caplog):
    with caplog.at_level(logging.WARNING), trainer_hooks.start_run() as run:
        assert not run.takes_in_trainings
    assert len(told(own_environment, RunCompleted)) == 1


class ByHand(BaseModel):
    n: int


def test_the_result_is_what_json_gives_back(tmp_path):
    class Paths(BaseTrainAction[ByHand]):
        def execute(self) -> dict[str, Any]:
            return {"path": tmp_path / "x", "n": self.params.n}

    assert json.loads(json.dumps(run_action(Paths, {"n": 1}))) == {"path": str(tmp_path / "x"), "n": 1}


IN_TWO_RANKS = """
import sys
from pathlib import Path
from pydantic import BaseModel
from tests.hosts import ultralytics
from trainer_hooks.actions import BaseTrainAction, run_action

class Params(BaseModel): pass

class Action(BaseTrainAction[Params]):
    def execute(self):
        trained = ultralytics.train(Path(sys.argv[1]), 2, device="0,1")
        assert trained.error is None, trained.error
        return {}

if __name__ == "__main__":
    run_action(Action, {})
"""


@pytest.mark.long
@pytest.mark.framework
@pytest.mark.slow
def test_a_training_in_two_ranks_is_part_of_the_action(own_environment, tmp_path):
    script = tmp_path / "in_two_ranks.py"
    script.write_text(IN_TWO_RANKS)
    path = os.pathsep.join([ultralytics.TWO_RANKS["PYTHONPATH"], str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    assert len(told(own_environment, RunCompleted)) == 1
