"""How trials have ended, read from their runs; and which of them is the best."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from trainer_hooks.actions.tuning.telling import TELLING, is_better, told_by
from trainer_hooks.events import Metrics, RunCompleted, RunFailed, RunInterrupted, RunLost
from trainer_hooks.history import Attempt, read_history
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.stopping import asked_to_stop

Status: TypeAlias = Literal["not begun", "running", "completed", "stopped", "paused", "interrupted", "failed", "lost"]

STOPPED = "stopped by the search"
PAUSED = "paused by the search"
_BY_REQUEST: Mapping[str | None, Status] = {STOPPED: "stopped", PAUSED: "paused"}
_LOOK_EVERY = 0.1
_never = threading.Event()


@dataclass(frozen=True)
class Outcome:
    """What is known of a trial. `value` is the newest one of the metric; `names` are those of all metrics it told."""

    status: Status
    value: float | None = None
    metrics: Metrics = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    failure: RunFailed | None = None
    names: frozenset[str] = frozenset()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do for it, should the search be made again."""
        return self.status in ("completed", "stopped")

    @property
    def is_over(self) -> bool:
        """Whether it is not at work."""
        return self.status != "running"

    @property
    def is_sound(self) -> bool:
        """Whether nothing but the search itself has ended it."""
        return self.is_settled or self.status == "paused"

    @property
    def is_usable(self) -> bool:
        """Whether it can be the best."""
        return self.is_sound and self.value is not None and math.isfinite(self.value)


def read_outcome(run_directory: Path, metric: str) -> Outcome:
    """What the trial's run tells, up to now."""
    if not read_headers(run_directory):
        return Outcome("not begun")
    latest = read_history(run_directory).latest
    value, metrics, names = None, dict[str, Any](), set[str]()
    for record in read_records(run_directory):
        told = told_by(record.event, metric)
        if isinstance(record.event, TELLING):
            names.update(record.event.metrics)
        if told is not None:
            value, metrics = told.value, getattr(record.event, "metrics", metrics)
    return Outcome(
        status=_status(run_directory, latest),
        value=value,
        metrics=metrics,
        result=latest.state.ended.result if isinstance(latest.state.ended, RunCompleted) else {},
        reason=_reason(latest),
        failure=latest.state.ended if isinstance(latest.state.ended, RunFailed) else None,
        names=frozenset(names),
    )


def ended_outcome(run_directory: Path, metric: str, *, within: float) -> Outcome:
    """As `read_outcome`, once the trial is over; as it is after `within` seconds where it still is at work."""
    deadline = time.monotonic() + within
    while True:
        outcome = read_outcome(run_directory, metric)
        if outcome.is_over or time.monotonic() > deadline:
            return outcome
        _never.wait(_LOOK_EVERY)


def _status(run_directory: Path, latest: Attempt) -> Status:
    if latest.status == "interrupted":
        return _BY_REQUEST.get(asked_to_stop(run_directory, latest.number), "interrupted")
    return "running" if latest.status == "opened" else latest.status


def _reason(latest: Attempt) -> str:
    ended = latest.state.ended
    if isinstance(ended, RunFailed):
        return f"[{ended.error}] {ended.message}"
    if isinstance(ended, (RunInterrupted, RunLost)):
        return ended.reason
    return "its process is gone" if latest.status == "lost" else ""


def best_of(outcomes: Mapping[int, Outcome], mode: str) -> int | None:
    """The number of the best trial; None where none is usable.

    Of those that the search has not let come to their end, only where none has completed.
    """
    usable = {number: outcome for number, outcome in outcomes.items() if outcome.is_usable}
    completed = {number: outcome for number, outcome in usable.items() if outcome.status == "completed"}
    best: int | None = None
    highest = math.nan
    for number, outcome in (completed or usable).items():
        value = math.nan if outcome.value is None else outcome.value
        if best is None or is_better(value, highest, mode):
            best, highest = number, value
    return best
