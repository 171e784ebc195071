"""What a run's records add up to: its state, its epochs, its attempts. Derived, never stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from trainer_hooks.events import (
    TERMINAL,
    AnyEvent,
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    Metrics,
    ProgressMade,
    Record,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SegmentOpened,
    Validated,
)
from trainer_hooks.journal import owner, read_headers, read_records, sizes
from trainer_hooks.process import is_alive

Status: TypeAlias = Literal["opened", "running", "completed", "failed", "interrupted", "lost"]


@dataclass
class RunState:
    """What is known of one attempt; `apply` each of its events in order."""

    status: Status = "opened"
    started: RunStarted | None = None
    epoch: int = 0
    total_epochs: int | None = None
    progress: ProgressMade | None = None
    metrics: Metrics = field(default_factory=dict)
    best_epoch: int | None = None
    best_metrics: Metrics = field(default_factory=dict)
    primary: str | None = None
    saved: dict[str, CheckpointSaved] = field(default_factory=dict)
    stored: dict[str, CheckpointStored] = field(default_factory=dict)
    ended: AnyEvent | None = None

    def apply(self, event: AnyEvent) -> None:
        """Take one event into account."""
        if isinstance(event, EpochEnded):
            self.epoch = max(self.epoch, event.epoch)
            self.total_epochs = event.total_epochs or self.total_epochs
            self.metrics = event.metrics
        elif isinstance(event, Validated):
            self._validated(event)
        elif isinstance(event, CheckpointSaved):
            self._checkpoint_saved(event)
        elif isinstance(event, CheckpointStored):
            self.stored[event.name] = event
        elif isinstance(event, ProgressMade):
            self.progress = event
        elif isinstance(event, RunStarted):
            self.status = "running"
            self.started, self.total_epochs = event, event.total_epochs
        elif isinstance(event, TERMINAL):
            self.ended = event
            self.status = _ENDINGS[type(event)]

    def _validated(self, event: Validated) -> None:
        self.primary = event.primary or self.primary
        if event.is_best:
            self.best_epoch, self.best_metrics = event.epoch, event.metrics

    def _checkpoint_saved(self, event: CheckpointSaved) -> None:
        for name in event.names:
            self.saved[name] = event
        if "best" in event.names and not event.final and event.epoch is not None:
            self.best_epoch = event.epoch
            self.best_metrics = event.metrics or self.best_metrics


_ENDINGS: dict[type, Status] = {
    RunCompleted: "completed",
    RunFailed: "failed",
    RunInterrupted: "interrupted",
    RunLost: "lost",
}


@dataclass
class Attempt:
    """One attempt at a run."""

    number: int
    header: SegmentOpened
    state: RunState = field(default_factory=RunState)
    began: float = 0.0
    last: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has ended, by word or visibly without one."""
        return self.state.ended is not None or is_alive(self.header.process) is False

    @property
    def status(self) -> Status:
        """As its events say; an attempt that is visibly gone without a word is lost."""
        return "lost" if self.state.ended is None and self.is_over else self.state.status


@dataclass
class RunHistory:
    """A run with all its attempts, as read from its directory."""

    directory: Path
    attempts: list[Attempt]

    @property
    def run(self) -> str:
        """The run's id."""
        return self.attempts[-1].header.run if self.attempts else self.directory.name

    @property
    def latest(self) -> Attempt:
        """The newest attempt."""
        return self.attempts[-1]


def read_history(run_directory: Path) -> RunHistory:
    """Read a run's directory: every attempt with its state."""
    headers = read_headers(run_directory)
    numbers = {header.attempt for header in headers.values()}
    attempts = {number: Attempt(number, owner(headers, number)) for number in numbers}
    for record in read_records(run_directory):
        if record.attempt in attempts:
            attempt = attempts[record.attempt]
            attempt.state.apply(record.event)
            attempt.began = attempt.began or record.time
            attempt.last = max(attempt.last, record.time)
    return RunHistory(run_directory, [attempts[number] for number in sorted(attempts)])


def stored_checkpoints(run_directory: Path) -> dict[str, CheckpointStored]:
    """The newest stored checkpoint of each name; reads only what couriers have written."""
    headers, ends = read_headers(run_directory), sizes(run_directory)
    others = {number: end for number, end in ends.items() if number in headers and headers[number].writer != "courier"}
    events = (record.event for record in read_records(run_directory, others))
    return {event.name: event for event in events if isinstance(event, CheckpointStored)}


def last_epoch(records: Iterable[Record], attempt: int) -> int | None:
    """The last epoch that the attempt has finished."""
    epochs = [r.event.epoch for r in records if r.attempt == attempt and isinstance(r.event, EpochEnded)]
    return max(epochs, default=None)


def list_runs(root: Path) -> Iterator[Path]:
    """The run directories under `root`, the newest first: by when the last segment was opened."""
    try:
        found = [path for path in root.iterdir() if (path / "journal").is_dir()]
    except FileNotFoundError:
        return
    yield from sorted(found, key=lambda path: (path / "journal").stat().st_mtime_ns, reverse=True)


def age(seconds_since_epoch: float) -> float:
    """How many seconds ago that was."""
    return max(0.0, time.time() - seconds_since_epoch)
