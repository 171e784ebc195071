"""The step engine: order, failures, rollbacks, retries; real runs, read back from their journals."""

from __future__ import annotations

import traceback
import weakref
from typing import Any

import pytest

from tests.actions.steps.parts import Step, Undoable, context_in, in_short, raising, told, work
from trainer_hooks.actions.steps.base import BaseStep, StepResult
from trainer_hooks.actions.steps.context import TrainContext
from trainer_hooks.errors import ActionError, ErrorType, StepError, classify
from trainer_hooks.events import StepFailed, StepFinished, StepRolledBack, StepStarted
from trainer_hooks.history import read_history


def test_steps_are_done_in_order_and_told(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context:
        steps = [Step("load", diary, weight=1), Step("train", diary, weight=3)]
        assert work(context, *steps) == {"success": True, "steps_executed": 2, "steps_total": 2}
        assert diary == ["load", "train"]
        assert len(context.step_results) == 2
        events = told(context.runtime_ctx.run)
    assert [type(event) for event in events] == [StepStarted, StepFinished] * 2
    assert [(event.step, event.order, event.total, event.share) for event in events[::2]] == [
        ("load", 1, 2, 0.25),
        ("train", 2, 2, 0.75),
    ]
    assert all(event.duration >= 0 and event.skipped is None for event in events[1::2])


def test_no_steps_are_done_at_once(tmp_path):
    with context_in(tmp_path) as context:
        assert work(context) == {"success": True, "steps_executed": 0, "steps_total": 0}


def test_steps_without_any_weight_share_the_work(tmp_path):
    with context_in(tmp_path) as context:
        work(context, Step("a", weight=0), Step("b", weight=0))
        assert [event.share for event in told(context.runtime_ctx.run)[::2]] == [0.5, 0.5]


def test_a_step_that_can_be_skipped_is_not_done(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context:
        done = work(context, Step("a", diary, skip=lambda _: True), Step("b", diary))
        assert (done, diary) == ({"success": True, "steps_executed": 1, "steps_total": 2}, ["b"])
        assert [result.skipped for result in context.step_results] == [True, False]
        assert in_short(context.runtime_ctx.run) == ["+a", "=a", "+b", "b"]


def test_a_step_may_say_itself_that_there_was_nothing_to_do(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context:
        idle = Undoable("a", diary, do=lambda _: StepResult(skipped=True))
        with pytest.raises(StepError):
            work(context, idle, Step("b", diary, do=raising(ValueError())))
        assert diary == ["a", "b"]  # and not "undo a"


def test_a_step_tells_in_its_own_name(tmp_path):
    def tell(context: Any) -> StepResult:
        context.set_progress(1, 2)
        context.set_metrics({"loss": 1})
        context.log_message("half of it")
        context.log("loaded", {"images": 3})
        with pytest.raises(ValueError, match="current is 3"):
            context.set_progress(3, 2)
        return StepResult()

    with context_in(tmp_path) as context:
        work(context, Step("load", do=tell))
        (attempt,) = read_history(context.runtime_ctx.run.directory).attempts
    assert attempt.state.progress.category == "load"


def test_what_is_done_is_rolled_back_in_reverse_and_the_error_is_the_cause(tmp_path):
    diary: list[str] = []
    seen: list[StepResult] = []
    wrong = ValueError("no room")
    with context_in(tmp_path) as context:
        steps = [
            Undoable("a", diary, do=lambda _: StepResult(rollback_data={"x": 1}), undo=lambda _, r: seen.append(r)),
            Step("b", diary),
            Undoable("c", diary),
            Undoable("skipped", diary, skip=lambda _: True),
            Undoable("fails", diary, do=raising(wrong)),
            Undoable("never", diary),
        ]
        with pytest.raises(StepError, match="step 'fails' failed: no room") as raised:
            work(context, *steps)
        assert raised.value.__cause__ is wrong
        assert raised.value.step == "fails"
        assert diary == ["a", "b", "c", "fails", "undo c", "undo a"]
        assert seen[0].rollback_data == {"x": 1}
        assert in_short(context.runtime_ctx.run)[-4:] == ["+fails", "!fails", "~c", "~a"]
        assert context.errors == ["step 'fails' failed: no room"]
        failed = next(event for event in told(context.runtime_ctx.run) if isinstance(event, StepFailed))
    assert (failed.exception, failed.message, failed.retrying) == ("ValueError", "no room", False)
    assert "raise error" in failed.traceback


def test_a_failing_rollback_stops_no_other_and_is_told_together_with_the_cause(tmp_path):
    diary: list[str] = []
    wrong, worse = MemoryError("CUDA"), OSError("disk")
    with context_in(tmp_path) as context:
        steps = [
            Undoable("a", diary),
            Undoable("b", diary, undo=raising(worse)),
            Step("c", diary, do=raising(wrong)),
        ]
        with pytest.raises(StepError) as raised:
            work(context, *steps)
        assert diary == ["a", "b", "c", "undo b", "undo a"]
        group = raised.value.__cause__
        assert group.exceptions == (wrong, worse)
        assert isinstance(group, Exception)
        assert classify(raised.value) == ErrorType.RESOURCE_ERROR
        text = "".join(traceback.format_exception(raised.value))
        assert "MemoryError: CUDA" in text
        assert "OSError: disk" in text
        rolled_back = [event for event in told(context.runtime_ctx.run) if isinstance(event, StepRolledBack)]
    assert [(event.step, event.exception) for event in rolled_back] == [("b", "OSError"), ("a", None)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_exception_rolls_back_and_goes_out_as_it_is(tmp_path, error):
    diary: list[str] = []
    with context_in(tmp_path) as context, pytest.raises(type(error)) as raised:
        work(context, Undoable("a", diary), Step("b", diary, do=raising(error)))
    assert raised.value is error
    assert error.__cause__ is None
    assert diary == ["a", "b", "undo a"]


def test_an_interrupt_keeps_what_it_was_raised_from_and_what_rollbacks_raised(tmp_path):
    before, in_rollback, error = ValueError("before"), OSError("in a rollback"), SystemExit(1)
    error.__cause__ = before
    with context_in(tmp_path) as context, pytest.raises(SystemExit) as raised:
        work(context, Undoable("a", undo=raising(in_rollback)), Step("b", do=raising(error)))
    assert raised.value is error
    assert error.__cause__.exceptions == (before, in_rollback)


def test_ctrl_c_within_a_rollback_ends_that_one_alone_and_goes_out(tmp_path):
    diary: list[str] = []
    wrong, ctrl_c = ValueError("first"), KeyboardInterrupt()
    steps = [Undoable("a", diary), Undoable("b", diary, undo=raising(ctrl_c)), Step("c", do=raising(wrong))]
    with context_in(tmp_path) as context, pytest.raises(KeyboardInterrupt) as raised:
        work(context, *steps)
    assert raised.value is ctrl_c
    assert ctrl_c.__cause__.exceptions == (wrong,)
    assert diary[-2:] == ["undo b", "undo a"]


def test_an_error_in_can_skip_is_a_failure_like_any_other(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context, pytest.raises(StepError, match="step 'b' failed: whether") as raised:
        work(context, Undoable("a", diary), Step("b", diary, skip=raising(LookupError("whether")), retries=3))
    assert isinstance(raised.value.__cause__, LookupError)
    assert diary == ["a", "undo a"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "execute returned None; it must return a StepResult"),
        ({"success": True}, "must return a StepResult"),
        (StepResult(success=False, error="no luck"), "step 'a' failed: no luck"),
        (StepResult(success=False), "StepResult.success=False."),
    ],
)
def test_what_is_no_successful_result_is_a_failure(tmp_path, returned, message):
    with context_in(tmp_path) as context, pytest.raises(StepError, match=message) as raised:
        work(context, Step("a", do=lambda _: returned))
    assert isinstance(raised.value.__cause__, ActionError)


def test_a_step_is_tried_again_as_often_as_it_says(tmp_path):
    outcomes = iter([raising(OSError("1")), lambda _: None, lambda _: StepResult(data={"tries": 3})])

    def do(context: Any) -> Any:
        return next(outcomes)(context)

    with context_in(tmp_path) as context:
        work(context, Step("a", do=do, retries=2, retry_delay=0.001))
        assert context.step_results[0].data == {"tries": 3}
        assert in_short(context.runtime_ctx.run) == ["+a", "!a", "+a", "!a", "+a", "a"]
        events = told(context.runtime_ctx.run)
    assert [event.retry for event in events if isinstance(event, StepStarted)] == [0, 1, 2]
    assert all(event.retrying for event in events if isinstance(event, StepFailed))


def test_the_last_try_tells_that_there_is_no_other(tmp_path):
    with context_in(tmp_path) as context:
        with pytest.raises(StepError, match="always"):
            work(context, Step("a", do=raising(OSError("always")), retries=1))
        events = told(context.runtime_ctx.run)
    assert [event.retrying for event in events if isinstance(event, StepFailed)] == [True, False]


def test_ctrl_c_is_not_tried_again(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context, pytest.raises(KeyboardInterrupt):
        work(context, Step("a", diary, do=raising(KeyboardInterrupt()), retries=5))
    assert diary == ["a"]


def test_what_a_failed_try_held_is_let_go_before_the_next(tmp_path):
    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def allocate(_: Any) -> StepResult:
        alive.extend(reference() is not None for reference in held)
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        if len(held) < 3:
            raise MemoryError
        return StepResult()

    with context_in(tmp_path) as context:
        work(context, Step("a", do=allocate, retries=2))
    assert alive == [False, False, False]


def test_a_silent_run_does_the_steps_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAINER_HOOKS_MODE", "disabled")
    diary: list[str] = []
    with context_in(tmp_path) as context, pytest.raises(StepError):
        work(context, Undoable("a", diary), Step("b", diary, do=raising(ValueError())))
    assert diary == ["a", "b", "undo a"]


def test_no_secret_is_told_of_steps(tmp_path, monkeypatch):
    secret = "supersecretvalue1"
    monkeypatch.setenv("MY_TOKEN", secret)
    wrong = ValueError(f"refused: {secret}")
    with context_in(tmp_path) as context:
        steps = [Undoable(f"a {secret}", undo=raising(wrong)), Step(f"b {secret}", do=raising(wrong))]
        with pytest.raises(StepError):
            work(context, *steps)
        run = context.runtime_ctx.run
        assert in_short(run) == ["+a ****", "a ****", "+b ****", "!b ****", "~a ****"]
        journal = b"".join(path.read_bytes() for path in run.directory.glob("journal/*"))
    assert b"refused: ****" in journal
    assert secret.encode() not in journal


class Backend:
    """A backend that has one data collection, and takes models."""

    def get_data_collection(self, collection_id: int) -> dict[str, Any]:
        return {"id": collection_id, "path": "/data"}

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"id": 5, **request}


class LoadDatasetStep(BaseStep[TrainContext]):
    @property
    def name(self) -> str:
        return "load_dataset"

    @property
    def progress_weight(self) -> float:
        return 0.2

    def execute(self, ctx: TrainContext) -> StepResult:
        ctx.dataset = ctx.client.get_data_collection(ctx.params["dataset_id"])
        return StepResult(success=True)


class TrainStep(BaseStep[TrainContext]):
    @property
    def name(self) -> str:
        return "train"

    @property
    def progress_weight(self) -> float:
        return 0.6

    def execute(self, ctx: TrainContext) -> StepResult:
        ctx.runtime_ctx.run.log_metrics({"loss": 1}, epoch=1, total_epochs=2)
        ctx.model_path = f"{ctx.dataset['path']}/best.pt"
        return StepResult(success=True)


class UploadModelStep(BaseStep[TrainContext]):
    name = "upload_model"  # a class attribute does as well
    progress_weight = 0.2

    def execute(self, ctx: TrainContext) -> StepResult:
        ctx.model = ctx.client.create_model({"file": ctx.model_path})
        return StepResult(success=True)


def test_steps_as_a_predecessor_writes_them(tmp_path):
    with context_in(tmp_path, params={"dataset_id": 3}) as context:
        context.runtime_ctx.client = Backend()
        done = work(context, LoadDatasetStep(), TrainStep(), UploadModelStep())
        assert done == {"success": True, "steps_executed": 3, "steps_total": 3}
        assert context.model == {"id": 5, "file": "/data/best.pt"}
        state = read_history(context.runtime_ctx.run.directory).latest.state
    assert [(name, step.status) for name, step in state.steps.items()] == [
        ("load_dataset", "done"),
        ("train", "done"),
        ("upload_model", "done"),
    ]
    assert state.overall == 1.0
