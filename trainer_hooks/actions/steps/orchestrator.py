"""The engine: does the steps in order, and undoes those that are done where one fails."""

from __future__ import annotations

import functools
import time
from typing import Any, Generic

from trainer_hooks.actions.steps.base import BaseStep, C, StepResult
from trainer_hooks.actions.steps.deadline import within
from trainer_hooks.actions.steps.failing import kept, outgoing, said
from trainer_hooks.actions.steps.memory import DoneStep, open_memory
from trainer_hooks.actions.steps.registry import StepRegistry
from trainer_hooks.errors import ActionError, ActionStopped

_NOTHING_TO_DO = "there is nothing to do"


class Orchestrator(Generic[C]):
    """Does a registry's steps, once; the context's run is told of each."""

    def __init__(self, registry: StepRegistry[C], context: C) -> None:
        self._steps = registry.get_steps()
        self._weight = registry.total_weight
        self._context = context
        self._run = context.runtime_ctx.run
        self._memory = open_memory(self._steps, context)
        self._done: list[tuple[BaseStep[C], StepResult]] = []
        self._executed = 0
        self._began = time.monotonic()

    def execute(self) -> dict[str, Any]:
        """Do the steps; returns success, steps_executed and steps_total.

        Where one fails for good, those that are done are rolled back, the last one first; also on Ctrl-C.

        What is done is remembered until `forget_steps`.

        Raises:
            ActionStopped: if the run is to stop: nothing is rolled back, and the next attempt goes on from there.
            StepError: from what the step raised; from a group of that and what rollbacks raised, where some did.
            BaseException: what is no Exception, a KeyboardInterrupt for one, as it is.
        """
        for order, step in enumerate(self._steps, 1):
            if self._run.should_stop:
                message = f"stopped before step {step.name!r}: {self._run.stop_reason}"
                raise ActionStopped(message)
            error = kept(functools.partial(self._do, step, order))
            if error is not None:
                raise self._fail(step, error)
        return {"success": True, "steps_executed": self._executed, "steps_total": len(self._steps)}

    def _do(self, step: BaseStep[C], order: int) -> None:
        self._context.current_step = step.name
        self._begin(step, order, retry=0)
        done = self._memory.recall(step.name)
        if done is not None:
            self._take_as_done(step, done)
        elif step.can_skip(self._context):
            self._skip(step, StepResult(skipped=True), _NOTHING_TO_DO)
        else:
            self._memory.forget(step.name)
            self._finish(step, self._try(step, order))

    def _take_as_done(self, step: BaseStep[C], done: DoneStep) -> None:
        result = done.result()
        if not done.skipped:
            self._done.append((step, result))
        self._skip(step, result, f"done in attempt {done.attempt}")

    def _begin(self, step: BaseStep[C], order: int, retry: int) -> None:
        self._began = time.monotonic()
        share = step.progress_weight / self._weight if self._weight else 1 / len(self._steps)
        self._run.step_started(step.name, order=order, total=len(self._steps), share=share, retry=retry)

    def _try(self, step: BaseStep[C], order: int) -> StepResult:
        """The first result that is one, of as many tries as there may be."""
        for retry in range(step.retries):
            result = self._try_once(step)
            if result is not None:
                return result
            time.sleep(step.retry_delay * 2**retry)
            self._begin(step, order, retry + 1)
        return self._execute(step)

    def _try_once(self, step: BaseStep[C]) -> StepResult | None:
        """None where it has failed, and may be tried again."""
        outcome = kept(lambda: self._execute(step))
        if isinstance(outcome, StepResult):
            return outcome
        if not isinstance(outcome, Exception):
            raise outcome
        self._run.step_failed(step.name, outcome, duration=self._elapsed(), retrying=True)
        del outcome  # else it and this frame hold each other, and what the failed try has allocated
        return None

    def _execute(self, step: BaseStep[C]) -> StepResult:
        return _checked(within(step.timeout, f"step {step.name!r}", lambda: step.execute(self._context)))

    def _finish(self, step: BaseStep[C], result: StepResult) -> None:
        duration = self._elapsed()
        if result.skipped:
            self._memory.remember(step.name, result)
            self._skip(step, result, _NOTHING_TO_DO)
            return
        self._done.append((step, result))  # first, so that it is rolled back whatever interrupts the rest
        self._executed += 1
        self._context.step_results.append(result)
        self._memory.remember(step.name, result)
        self._run.step_finished(step.name, duration=duration)

    def _skip(self, step: BaseStep[C], result: StepResult, reason: str) -> None:
        self._context.step_results.append(result)
        self._run.step_finished(step.name, skipped=reason)

    def _fail(self, step: BaseStep[C], error: BaseException) -> BaseException:
        """Roll back; returns what is to be raised."""
        duration = self._elapsed()
        troubles = [kept(lambda: self._tell_failed(step, error, duration))]
        for done, result in reversed(self._done):
            if _has_rollback(done):
                troubles += self._roll_back(done, result)
        return outgoing(step.name, error, [trouble for trouble in troubles if trouble is not None])

    def _tell_failed(self, step: BaseStep[C], error: BaseException, duration: float) -> None:
        self._context.errors.append(f"step {step.name!r} failed: {said(error)}")
        self._run.step_failed(step.name, error, duration=duration)

    def _roll_back(self, step: BaseStep[C], result: StepResult) -> list[BaseException | None]:
        began = time.monotonic()
        error = kept(lambda: self._undo(step, result))
        duration = time.monotonic() - began
        return [error, kept(lambda: self._tell_rolled_back(step, error, duration))]

    def _undo(self, step: BaseStep[C], result: StepResult) -> None:
        self._memory.forget(step.name)
        step.rollback(self._context, result)

    def _tell_rolled_back(self, step: BaseStep[C], error: BaseException | None, duration: float) -> None:
        if error is not None:
            self._context.errors.append(f"step {step.name!r} could not be rolled back: {said(error)}")
        self._run.step_rolled_back(step.name, duration=duration, error=error)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _has_rollback(step: BaseStep[Any]) -> bool:
    return getattr(step.rollback, "__func__", None) is not BaseStep.rollback


def _checked(result: Any) -> StepResult:
    """The result, if it is one, and a success.

    Raises:
        ActionError: if it isn't.
    """
    if not isinstance(result, StepResult):
        message = f"execute returned {result!r:.200}; it must return a StepResult, such as StepResult(data={{…}})"
        raise ActionError(message)
    if not result.success:
        raise ActionError(result.error or "execute returned StepResult(success=False), and no error")
    return result
