"""How far a workflow of steps is, as its events tell it: each step by itself, and the whole, which never goes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from trainer_hooks.events import Level, StepFailed, StepFinished, StepRolledBack, StepStarted

StepEvent: TypeAlias = StepStarted | StepFinished | StepFailed | StepRolledBack
StepStatus: TypeAlias = Literal["running", "done", "skipped", "failed", "rolled back"]
_BEHIND: frozenset[StepStatus] = frozenset({"done", "skipped"})


@dataclass
class StepState:
    """A step: its `share` of the whole, the `fraction` of it that is done, and the seconds that its tries took."""

    status: StepStatus
    order: int
    share: float
    fraction: float = 0.0
    duration: float = 0.0
    retries: int = 0
    skipped: str | None = None


@dataclass
class Workflow:
    """The steps that have begun, by name, in their order."""

    steps: dict[str, StepState] = field(default_factory=dict)
    overall: float | None = None
    """The part of the whole that is done, from 0 to 1; None before the first step."""
    current: str | None = None
    """The step that is at work."""
    _current: StepState | None = None
    _total: int = 0

    def apply(self, event: StepEvent) -> None:
        """Take one event into account."""
        if isinstance(event, StepStarted):
            self._begin(event)
        elif event.step in self.steps:  # else the record of its start was lost
            self._go_on(self.steps[event.step], event)
        self._count()

    def reach(self, done: float, total: float | None) -> None:
        """So much of `total` is done of the current step, if there is one."""
        if self._current is not None and total is not None and total > 0:
            self._current.fraction = _within_bounds(done / total)
            self._count()

    def _begin(self, event: StepStarted) -> None:
        before = self.steps.get(event.step)
        duration = before.duration if before else 0.0
        self._current = StepState("running", event.order, event.share, duration=duration, retries=event.retry)
        self.steps[event.step], self.current = self._current, event.step
        self._total = event.total

    def _go_on(self, step: StepState, event: StepFinished | StepFailed | StepRolledBack) -> None:
        if isinstance(event, StepRolledBack):
            step.status = step.status if event.error else "rolled back"
            return
        self._current = self.current = None
        step.duration += event.duration
        if isinstance(event, StepFailed):
            step.status = "failed"
        else:
            step.status = "done" if event.skipped is None else "skipped"
            step.fraction, step.skipped = 1.0, event.skipped

    def _count(self) -> None:
        behind = [step for step in self.steps.values() if step.status in _BEHIND]
        current = 0.0 if self._current is None else self._current.share * self._current.fraction
        # Shares of all steps, added up, may miss 1 by a hair.
        counted = 1.0 if len(behind) == self._total else math.fsum([*(step.share for step in behind), current])
        self.overall = max(self.overall or 0.0, _within_bounds(counted))


def in_words(event: StepEvent) -> tuple[Level, str]:
    """The event as a log record: its level, and what it says."""
    if isinstance(event, StepStarted):
        again = f", retry {event.retry}" if event.retry else ""
        return "INFO", f"step {event.step!r} begins ({event.order} of {event.total}{again})"
    if isinstance(event, StepFinished):
        how = f"is done, in {event.duration:.1f} s" if event.skipped is None else f"is skipped: {event.skipped}"
        return "INFO", f"step {event.step!r} {how}"
    error = f"[{event.error}] {event.message}\n{event.traceback or ''}".rstrip()
    if isinstance(event, StepFailed):
        if event.retrying:
            return "WARNING", f"step {event.step!r} failed, and is tried again: {error}"
        return "ERROR", f"step {event.step!r} failed: {error}"
    if event.error is None:
        return "INFO", f"step {event.step!r} is rolled back"
    return "ERROR", f"step {event.step!r} could not be rolled back: {error}"


def _within_bounds(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
