"""What Synapse shows of an attempt: how far each part of it is, and what was measured in it last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainer_hooks.destinations.synapse.figures import finite
from trainer_hooks.events import (
    AnyEvent,
    EpochEnded,
    Metrics,
    MetricsLogged,
    ProgressMade,
    Record,
    StepFinished,
    StepStarted,
    Validated,
)
from trainer_hooks.replay import Attempt

_TRAIN = "train"
_UPLOAD = "model_upload"
# Predecessor A's own shares of a training without steps: where its part of the whole begins and ends. All that it has
# no name for counts as work on the dataset, as with A.
_PARTS = {_TRAIN: (0.20, 0.95), _UPLOAD: (0.95, 1.0)}
_DATASET = (0.0, 0.20)
_PERCENT_DIGITS = 2
_LEAST_TO_GUESS_BY = 1e-6


@dataclass
class Part:
    """A workflow step; or, where there are none, a category of progress. `share` and `done` are between 0 and 1."""

    began: float
    order: int
    share: float
    done: float = 0.0
    left: float | None = None

    def advance(self, done: float, at: float, left: float | None = None) -> None:
        """So much is done by then; without a word on it, what is left takes as long as what is done has."""
        self.done, self.left = min(1.0, max(0.0, done)), left
        took = at - self.began
        if left is None and took > 0 and self.done >= _LEAST_TO_GUESS_BY:
            self.left = took * (1 - self.done) / self.done

    def shown(self) -> dict[str, Any]:
        """As A shows it."""
        left = None if self.left is None else round(self.left, 2)
        return {
            "proportion": round(100 * self.share),
            "order": self.order,
            "percent": round(100 * self.done, _PERCENT_DIGITS),
            "time_remaining": left,
        }


@dataclass
class Board(Attempt):
    """An attempt with its parts and metrics. The whole's progress never goes back, whatever its parts do.

    `step` is the workflow step that is at work, or was last; `current` the part, which is that step where there is one.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    current: str | None = None
    step: str | None = None
    whole: float = 0.0
    measured: dict[str, dict[str, float | None]] = field(default_factory=dict)
    began: float | None = None
    now: float = field(default_factory=time.time)

    def take(self, record: Record) -> None:
        """Take one record into account."""
        self.now = record.time
        self.began = record.time if self.began is None else self.began
        super().take(record)

    def apply(self, event: AnyEvent) -> None:
        """Take one event into account."""
        super().apply(event)
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event)
        self.whole = max(self.whole, min(1.0, self._whole_now()))

    def progress_record(self, *, elapsed: bool = False) -> dict[str, Any]:
        """How far everything is; `elapsed` adds how long the attempt has taken, as A does at its end."""
        current: dict[str, Any] = {"overall": round(100 * self.whole, _PERCENT_DIGITS)}
        if self.current is not None:
            part = self.parts[self.current].shown()
            current |= {"step": self.current, **{name: part[name] for name in ("percent", "time_remaining", "order")}}
        if elapsed and self.began is not None:
            current["time_elapsed"] = int(self.now - self.began)
        steps = {name: part.shown() for name, part in self.parts.items()}
        return {"record": {"steps": steps}, "current_progress": current}

    def metrics_record(self) -> dict[str, Any]:
        """The newest metrics of each part."""
        return {"record": {"steps": {name: dict(values) for name, values in self.measured.items()}}}

    def measure(self, category: str, metrics: Metrics) -> None:
        """Remember them: of the step that is at work, or else of the category."""
        self.measured.setdefault(self.step or category, {}).update(finite(metrics))

    def advance(self, category: str, done: float, left: float | None = None) -> None:
        """So much is done of the category; where there are steps, that moves the one that is at work."""
        if self.step is not None:
            self.follow(self.step, left)
            return
        if category not in self.parts:
            begins, ends = _PARTS.get(category, _DATASET)
            self.parts[category] = Part(began=self.now, order=len(self.parts), share=ends - begins)
        self.current = category
        self.parts[category].advance(done, self.now, left)

    def begin_step(self, event: StepStarted) -> None:
        """A step begins, or is tried again."""
        if self.step is None:  # what was told before the first step is no part of the work that steps are
            self.parts.clear()
        self.step = self.current = event.step
        self.parts[event.step] = Part(began=self.now, order=event.order - 1, share=event.share)

    def follow(self, step: str, left: float | None = None) -> None:
        """Show of the step what its workflow says."""
        if step in self.parts:
            self.parts[step].advance(self.steps[step].fraction, self.now, left)

    def _whole_now(self) -> float:
        if self.status == "completed":
            return 1.0
        if self.overall is not None:
            return self.overall
        if self.current is None:
            return 0.0
        done = self.parts[self.current].done
        if self.current == _TRAIN and len(self.parts) == 1:  # a training, and nothing around it
            return done
        begins, ends = _PARTS.get(self.current, _DATASET)
        return begins + (ends - begins) * done


def _step_started(board: Board, event: StepStarted) -> None:
    board.begin_step(event)


def _step_finished(board: Board, event: StepFinished) -> None:
    board.follow(event.step)


def _progress_made(board: Board, event: ProgressMade) -> None:
    if event.total > 0:
        board.advance(event.category, event.current / event.total)


def _epoch_ended(board: Board, event: EpochEnded) -> None:
    board.measure(_TRAIN, event.metrics)
    total = event.total_epochs or board.total_epochs
    if total:
        board.advance(_TRAIN, event.epoch / total, event.time_left)


def _metrics_logged(board: Board, event: MetricsLogged) -> None:
    board.measure(_TRAIN, event.metrics)
    if board.counts_iterations and board.total_iterations and event.iteration is not None:
        board.advance(_TRAIN, event.iteration / board.total_iterations)


def _validated(board: Board, event: Validated) -> None:
    board.measure("test" if board.operation == "test" else "validation", event.metrics)


_HANDLERS: dict[type, Callable[[Board, Any], None]] = {
    StepStarted: _step_started,
    StepFinished: _step_finished,
    ProgressMade: _progress_made,
    EpochEnded: _epoch_ended,
    MetricsLogged: _metrics_logged,
    Validated: _validated,
}
SHOWN = tuple(_HANDLERS)
"""The events that change what is shown."""
