"""What the tests of steps share: steps that do what they are told to, and a context in a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer_hooks.actions.context import RuntimeContext
from trainer_hooks.actions.steps.base import BaseStep, StepResult
from trainer_hooks.actions.steps.context import TrainContext
from trainer_hooks.actions.steps.orchestrator import Orchestrator
from trainer_hooks.actions.steps.registry import StepRegistry
from trainer_hooks.events import StepFailed, StepFinished, StepRolledBack, StepStarted
from trainer_hooks.journal import read_records
from trainer_hooks.run import Run, load_settings, open_run

OF_STEPS = (StepStarted, StepFinished, StepFailed, StepRolledBack)


class Step(BaseStep[TrainContext]):
    """A step that notes in `diary` what it does, and does that."""

    def __init__(
        self,
        name: str,
        diary: list[str] | None = None,
        *,
        weight: float = 1.0,
        do: Callable[[TrainContext], Any] = lambda _: StepResult(),
        skip: Callable[[TrainContext], bool] = lambda _: False,
        **attributes: Any,
    ) -> None:
        self._name, self._weight = name, weight
        self._do, self._skip = do, skip
        self.diary = [] if diary is None else diary
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    @property
    def name(self) -> str:
        return self._name

    @property
    def progress_weight(self) -> float:
        return self._weight

    def can_skip(self, ctx: TrainContext) -> bool:
        return self._skip(ctx)

    def execute(self, ctx: TrainContext) -> StepResult:
        self.diary.append(self.name)
        return self._do(ctx)


class Undoable(Step):
    """One that can be rolled back, too."""

    def __init__(self, *arguments: Any, undo: Callable[[TrainContext, StepResult], Any] = lambda *_: None, **more: Any):
        super().__init__(*arguments, **more)
        self._undo = undo

    def rollback(self, ctx: TrainContext, result: StepResult) -> None:
        self.diary.append(f"undo {self.name}")
        self._undo(ctx, result)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@contextmanager
def context_in(directory: Path, run: str = "a run", **fields: Any) -> Iterator[TrainContext]:
    """A context in a run there, which ends as the block does: the next one is the next attempt."""
    settings = load_settings(run_id=run, directory=str(directory), delivery="none")
    with open_run(settings, resumed=run) as opened:
        yield TrainContext(runtime_ctx=RuntimeContext(opened, opened.settings), **fields)


def work(context: TrainContext, *steps: BaseStep[TrainContext]) -> dict[str, Any]:
    """Do the steps."""
    registry: StepRegistry[TrainContext] = StepRegistry()
    for step in steps:
        registry.register(step)
    return Orchestrator(registry, context).execute()


def told(run: Run) -> list[Any]:
    """What the run has been told of steps in this attempt."""
    records = [record for record in read_records(run.directory) if record.attempt == run.attempt]
    return [record.event for record in records if isinstance(record.event, OF_STEPS)]


def in_short(run: Run) -> list[str]:
    """The same, in words: "+a" for a start, "a" for an end, "=a" for a skip, "!a", "~a" undone."""
    return [_in_short(event) for event in told(run)]


def _in_short(event: Any) -> str:
    if isinstance(event, StepFinished) and event.skipped is not None:
        return f"={event.step}"
    return {StepStarted: "+", StepFinished: "", StepFailed: "!", StepRolledBack: "~"}[type(event)] + event.step
