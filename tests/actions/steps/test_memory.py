"""What an attempt knows of the steps that earlier ones have done."""

from __future__ import annotations

import dataclasses
import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.actions.steps.parts import Step, Undoable, context_in, in_short, raising, told, work
from tests.disks import small_disk
from trainer_hooks.actions.steps.base import BaseStep, StepResult
from trainer_hooks.actions.steps.context import TrainContext
from trainer_hooks.actions.steps.memory import forget_steps
from trainer_hooks.errors import StepError
from trainer_hooks.events import StepFinished


def failing(name: str = "fails") -> Step:
    return Step(name, do=raising(ValueError("not today")))


def attempt(directory: Path, *steps: BaseStep[TrainContext], **fields: Any) -> TrainContext:
    """One attempt at the run, which may fail."""
    with context_in(directory, **fields) as context:
        run = context.runtime_ctx.run
        try:
            work(context, *steps)
        except StepError as error:
            run.fail(error)
        else:
            run.complete()
            forget_steps(run)
    return context


def kept(directory: Path) -> list[str]:
    """The steps that are remembered."""
    path = directory / "a run" / "steps.json"
    return [step["name"] for step in json.loads(path.read_text())["steps"]] if path.exists() else []


def setting(**values: Any) -> Any:
    def set_them(context: TrainContext) -> StepResult:
        for name, value in values.items():
            setattr(context, name, value)
        return StepResult(data={"set": list(values)})

    return set_them


def test_what_is_done_is_not_done_again_and_what_it_has_left_is_there(tmp_path):
    diary: list[str] = []
    left = {"dataset": {"path": Path("/data"), "n": 3}, "model_path": "/m/best.pt"}

    def load(context: TrainContext) -> StepResult:
        setting(**left)(context)
        return StepResult(data={"images": 1.0}, rollback_data={"was": None})

    first = attempt(tmp_path, Step("load", diary, do=load), failing())
    second = attempt(tmp_path, Step("load", diary, do=load), Step("train", diary))
    assert diary == ["load", "train"]
    assert (second.dataset, second.model_path) == (left["dataset"], left["model_path"])
    restored = second.step_results[0]
    assert (restored.data, restored.rollback_data, restored.skipped) == ({"images": 1.0}, {"was": None}, True)
    assert restored.timestamp == first.step_results[0].timestamp
    assert in_short(second.runtime_ctx.run) == ["+load", "=load", "+train", "train"]
    finished = next(event for event in told(second.runtime_ctx.run) if isinstance(event, StepFinished))
    assert finished.skipped == "done in attempt 1"


def test_the_file_is_its_owners_alone_and_goes_when_all_is_done(tmp_path):
    attempt(tmp_path, Step("a"), failing())
    path = tmp_path / "a run" / "steps.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    attempt(tmp_path, Step("a"), Step("b"))
    assert not path.exists()
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), Step("b", diary))
    assert diary == ["a", "b"]


def test_only_the_context_that_a_step_has_changed_is_restored_by_it(tmp_path):
    def change_in_place(context: TrainContext) -> StepResult:
        context.dataset["split"] = [1]
        return StepResult()

    steps = [Step("load", do=setting(dataset={"path": "x"})), Step("split", do=change_in_place), failing()]
    attempt(tmp_path, *steps)
    saved = json.loads((tmp_path / "a run" / "steps.json").read_text())["steps"]
    assert [step["context"] for step in saved] == [
        {"dataset": {"path": "x"}},
        {"dataset": {"path": "x", "split": [1]}},
    ]
    assert attempt(tmp_path, *steps).dataset == {"path": "x", "split": [1]}


def test_what_a_step_sets_back_is_set_back_by_the_restored_one_too(tmp_path):
    steps = [Step("a", do=setting(model_path="/m")), Step("b", do=setting(model_path=None))]
    attempt(tmp_path, steps[0], failing())
    attempt(tmp_path, *steps, failing())
    assert attempt(tmp_path, *steps, failing()).model_path is None


def test_a_users_own_context_is_restored_too_but_for_what_is_private(tmp_path):
    class OwnContext(TrainContext):
        trials: list[int]

    def search(context: Any) -> StepResult:
        context.trials, context._lock = [1, 2], object()
        return StepResult()

    def run_with(*steps: Step) -> Any:
        with context_in(tmp_path) as given:
            context = OwnContext(runtime_ctx=given.runtime_ctx)
            with pytest.raises(StepError) as caught:
                work(context, *steps)
            given.runtime_ctx.run.fail(caught.value)
        return context

    run_with(Step("search", do=search), failing())
    assert run_with(Step("search", do=raising(AssertionError())), failing()).trials == [1, 2]


def test_with_other_parameters_all_is_done_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO, "trainer_hooks")
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), failing(), params={"epochs": 1})
    attempt(tmp_path, Step("a", diary), failing(), params={"epochs": 1.0})
    assert "all steps are done anew: the parameters are others" in caplog.text
    attempt(tmp_path, Step("a", diary), failing(), params={"epochs": 1.0})
    assert diary == ["a", "a"]


def test_what_other_parameters_have_begun_anew_is_not_done_for_the_first_ones_any_more(tmp_path):
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), failing(), params={"epochs": 1})
    attempt(tmp_path, failing("a"), params={"epochs": 2})
    attempt(tmp_path, Step("a", diary), failing(), params={"epochs": 1})
    assert diary == ["a", "a"]


def test_a_step_of_another_class_is_another_step(tmp_path):
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), failing())
    attempt(tmp_path, Undoable("a", diary), failing())
    assert diary == ["a", "a", "undo a"]


def test_another_action_of_the_same_run_begins_anew(tmp_path):
    diary: list[str] = []
    for action in ("train", "export", "export"):
        with context_in(tmp_path) as context:
            context.runtime_ctx.run.started(action=action)
            with pytest.raises(StepError) as caught:
                work(context, Step("a", diary), failing())
            context.runtime_ctx.run.fail(caught.value)
    assert diary == ["a", "a"]


def test_a_run_that_has_completed_is_done_anew_though_it_was_killed_before_it_forgot(tmp_path):
    diary: list[str] = []
    for _ in range(2):
        with context_in(tmp_path) as context:
            work(context, Step("a", diary))
        assert kept(tmp_path) == ["a"]
    assert diary == ["a", "a"]


def test_behind_a_step_that_is_new_all_is_done_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO, "trainer_hooks")
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), Step("b", diary), failing())
    diary.clear()
    attempt(tmp_path, Step("a", diary), Step("new", diary), Step("b", diary), failing())
    assert diary == ["new", "b"]
    assert "done anew, since they, or the steps before them, are others now: b" in caplog.text
    assert kept(tmp_path) == ["a", "new", "b"]


def test_behind_a_step_that_is_done_anew_all_is_done_anew(tmp_path):
    diary: list[str] = []
    may_skip = [True]
    steps = [Step("a", diary, skip=lambda _: may_skip[0]), Step("b", diary)]
    attempt(tmp_path, *steps, failing())
    attempt(tmp_path, *steps, failing())
    assert diary == ["b"]  # a skipped step in between does no harm
    may_skip[0] = False
    attempt(tmp_path, *steps, failing())
    assert diary == ["b", "a", "b"]


def test_what_begins_anew_is_not_done_any_more_even_if_it_fails(tmp_path):
    diary: list[str] = []
    attempt(tmp_path, Step("a", skip=lambda _: True), Step("b", diary), failing())
    attempt(tmp_path, failing("a"), Step("b", diary))
    attempt(tmp_path, Step("a", skip=lambda _: True), Step("b", diary))
    assert diary == ["b", "b"]


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda _: StepResult(data={"loss": float("nan")}), "its result's data['loss'] is nan"),
        (lambda _: StepResult(rollback_data={"x": {1}}), "its result's rollback_data['x'] is a set"),
        (setting(model={"net": object()}), "the context's model['net'] is a object"),
    ],
)
def test_what_cannot_be_restored_exactly_is_done_again_and_said_once(tmp_path, caplog, do, said):
    caplog.set_level(logging.INFO, "trainer_hooks")
    diary: list[str] = []
    steps = [Step("a", diary), Step("b", diary, do=do), Step("c", diary), failing()]
    attempt(tmp_path, *steps)
    assert kept(tmp_path) == ["a"]
    (line,) = [record.message for record in caplog.records if "again in a later attempt" in record.message]
    assert line.startswith("step 'b' and those behind it will be done again in a later attempt: ")
    assert said in line
    attempt(tmp_path, *steps)
    assert diary == ["a", "b", "c", "b", "c"]


def test_what_is_rolled_back_is_not_done_any_more_and_what_is_not_stays_done(tmp_path):
    diary: list[str] = []
    steps = [Step("a", diary), Undoable("b", diary), Step("c", diary)]
    attempt(tmp_path, *steps, failing())
    assert kept(tmp_path) == ["a"]
    attempt(tmp_path, *steps, Step("d", diary))
    assert diary == ["a", "b", "c", "undo b", "b", "c", "d"]


def test_a_restored_step_is_rolled_back_with_what_it_had_noted(tmp_path):
    undone: list[StepResult] = []
    path = tmp_path / "a run" / "steps.json"
    noted = Undoable(
        "a", do=lambda _: StepResult(rollback_data={"made": Path("/x")}), undo=lambda _, r: undone.append(r)
    )
    before: list[bytes] = []
    look = Step("look", do=lambda _: before.append(path.read_bytes()) or raising(ValueError())())
    attempt(tmp_path, noted, look)
    path.write_bytes(before[0])  # as if it had been killed there
    attempt(tmp_path, noted, look)
    assert [result.rollback_data for result in undone] == [{"made": Path("/x")}] * 2
    assert [result.skipped for result in undone] == [False, True]


def test_a_step_that_skipped_itself_is_not_asked_again_nor_rolled_back(tmp_path):
    diary: list[str] = []
    idle = Undoable("a", diary, do=lambda _: StepResult(skipped=True))
    attempt(tmp_path, idle, failing())
    attempt(tmp_path, idle, failing())
    assert diary == ["a"]


@pytest.mark.swallows
def test_a_result_that_cannot_be_read_costs_what_is_remembered_and_no_more(tmp_path):
    timeless = Step("b", do=lambda _: StepResult(timestamp=None))
    attempt(tmp_path, Step("a"), timeless, Step("c"), failing())
    assert kept(tmp_path) == ["a"]


def test_a_context_may_have_fields_without_a_value(tmp_path):
    @dataclasses.dataclass
    class OwnContext(TrainContext):
        trials: list[int] = dataclasses.field(init=False)

    with context_in(tmp_path) as given, pytest.raises(StepError, match="not today"):
        work(OwnContext(runtime_ctx=given.runtime_ctx), Step("a"), failing())
    assert kept(tmp_path) == ["a"]


@pytest.mark.swallows
def test_a_damaged_file_costs_what_is_remembered_and_no_more(tmp_path):
    diary: list[str] = []
    attempt(tmp_path, Step("a", diary), failing())
    (tmp_path / "a run" / "steps.json").write_text('{"params": ')
    attempt(tmp_path, Step("a", diary), failing())
    assert diary == ["a", "a"]
    assert kept(tmp_path) == ["a"]


@pytest.mark.swallows
def test_a_disk_that_takes_nothing_costs_what_is_remembered_and_no_more(tmp_path):
    diary: list[str] = []
    path = tmp_path / "a run" / "steps.json"

    def block(_: TrainContext) -> StepResult:
        path.mkdir()
        return StepResult()

    with context_in(tmp_path) as context:
        assert work(context, Step("a", diary, do=block), Step("b", diary))["steps_executed"] == 2
    assert diary == ["a", "b"]


@pytest.mark.swallows
def test_on_a_full_disk_nothing_is_remembered_rather_than_what_is_not_so_any_more(tmp_path):
    with small_disk(tmp_path / "disk") as disk:

        def fill_and_fail(_: TrainContext) -> StepResult:
            assert kept(disk.path) == ["a", "b"]
            disk.fill()
            raise ValueError

        attempt(disk.path, Step("a"), Undoable("b"), Step("c", do=fill_and_fail))
        assert kept(disk.path) == []


def test_parameters_that_cannot_be_compared_leave_nothing_remembered(tmp_path, caplog):
    caplog.set_level(logging.INFO, "trainer_hooks")
    attempt(tmp_path, Step("a"), failing(), params={"when": object()})
    assert kept(tmp_path) == []
    attempt(tmp_path, Step("a"), failing())
    attempt(tmp_path, failing("a"), params={"when": object()})
    assert kept(tmp_path) == []
    assert "not remembered for a later attempt: the context's params['when'] is a object" in caplog.text


def test_ranks_remember_nothing_since_each_would_have_to_skip_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    attempt(tmp_path, Step("a"), failing())
    assert kept(tmp_path) == []
