"""What a run's records add up to: its state, its epochs, its attempts. Derived, never stored."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    Metrics,
    MetricsLogged,
    ProgressMade,
    RankFailed,
    Record,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SegmentOpened,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    TrackerLinked,
    Validated,
)
from trainer_hooks.journal import owner, read_headers, read_records, sizes
from trainer_hooks.process import is_alive
from trainer_hooks.trainings import Training, next_training
from trainer_hooks.workflow import StepEvent, StepState, Workflow

Status: TypeAlias = Literal["opened", "running", "completed", "failed", "interrupted", "lost"]


@dataclass
class RunState:
    """What is known of one attempt; `apply` each of its events in order."""

    status: Status = "opened"
    started: RunStarted | None = None
    trainings: list[Training] = field(default_factory=list)
    """Those of frameworks that have begun, where the run is an action's."""
    epoch: int = 0
    total_epochs: int | None = None
    iteration: int = 0
    total_iterations: int | None = None
    progress: ProgressMade | None = None
    metrics: Metrics = field(default_factory=dict)
    best_epoch: int | None = None
    best_iteration: int | None = None
    best_metrics: Metrics = field(default_factory=dict)
    primary: str | None = None
    saved: dict[str, CheckpointSaved] = field(default_factory=dict)
    stored: dict[str, CheckpointStored] = field(default_factory=dict)
    linked: dict[str, TrackerLinked] = field(default_factory=dict)
    rank_failed: RankFailed | None = None
    signal: str | None = None
    ended: AnyEvent | None = None
    workflow: Workflow = field(default_factory=Workflow)

    def apply(self, event: AnyEvent) -> None:
        """Take one event into account."""
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event)

    @property
    def steps(self) -> dict[str, StepState]:
        """The workflow's steps so far, by name; empty where it has none."""
        return self.workflow.steps

    @property
    def overall(self) -> float | None:
        """How much of the workflow is done, from 0 to 1; None where it has no steps. It never goes back."""
        return self.workflow.overall

    def overall_after(
        self, event: RunStarted | ProgressMade | EpochEnded | MetricsLogged | StepFinished
    ) -> float | None:
        """What `overall` will be when this event has been applied, too."""
        if self.overall is None:
            return None
        later = copy.copy(self)
        later.workflow = copy.deepcopy(self.workflow)
        later.apply(event)
        return later.overall

    @property
    def counts_iterations(self) -> bool:
        """Whether the host counts this training in iterations, and not in epochs."""
        return self.total_iterations is not None and self.total_epochs is None

    @property
    def reached(self) -> dict[str, Any]:
        """How many epochs and iterations are finished, as terminal events tell it."""
        return {"epoch": None if self.counts_iterations else self.epoch, "iteration": self.iteration or None}

    @property
    def done(self) -> tuple[str, int, int | None]:
        """How far it is, for a reader: ("epochs", 3, 5), or ("iterations", 800, 1000); None for an unknown total."""
        if self.counts_iterations:
            return "iterations", self.iteration, self.total_iterations
        return "epochs", self.epoch, self.total_epochs

    @property
    def is_finished(self) -> bool:
        """Whether all epochs, or iterations, that were meant to be done are done."""
        _, done, total = self.done
        return total is not None and done >= total

    @property
    def best_at(self) -> str:
        """Where it was best, for a reader: "epoch 3"; empty where nothing was."""
        if self.best_iteration is not None:
            return f"iteration {self.best_iteration}"
        return "" if self.best_epoch is None else f"epoch {self.best_epoch}"

    @property
    def cause(self) -> RunFailed | None:
        """The failure of the rank that failed first, as that of the run: what other ranks suffer follows from it."""
        if self.rank_failed is None:
            return None
        told = msgspec.structs.asdict(self.rank_failed)
        # A rank that tells no epochs counts none.
        return RunFailed(**{**told, **{name: told[name] or done for name, done in self.reached.items()}})


def _run_started(state: RunState, event: RunStarted) -> None:
    state.status = "running"
    if event.trainings > len(state.trainings):
        state.trainings.append(next_training(state.trainings, state.workflow.current))
    state.started, state.total_epochs, state.total_iterations = event, event.total_epochs, event.total_iterations
    state.epoch, state.iteration = event.epoch or 0, event.iteration or 0
    if event.epoch or event.iteration:
        state.workflow.reach(event.epoch or state.iteration, event.total_epochs or event.total_iterations)


def _progress_made(state: RunState, event: ProgressMade) -> None:
    state.progress = event
    state.workflow.reach(event.current, event.total)


def _epoch_ended(state: RunState, event: EpochEnded) -> None:
    state.epoch = max(state.epoch, event.epoch)
    state.total_epochs = event.total_epochs or state.total_epochs
    state.metrics = event.metrics
    state.workflow.reach(event.epoch, state.total_epochs)


def _metrics_logged(state: RunState, event: MetricsLogged) -> None:
    state.iteration = max(state.iteration, event.iteration or 0)
    if state.counts_iterations and event.iteration is not None:
        state.metrics = event.metrics
        state.workflow.reach(event.iteration, state.total_iterations)


def _validated(state: RunState, event: Validated) -> None:
    state.primary = event.primary or state.primary
    if event.is_best:
        state.best_epoch, state.best_iteration = event.epoch, event.iteration
        state.best_metrics = event.metrics


def _checkpoint_saved(state: RunState, event: CheckpointSaved) -> None:
    if state.trainings:
        state.trainings[-1].saved = True
    for name in event.names:
        state.saved[name] = event
    if "best" in event.names and not event.final and (event.epoch, event.iteration) != (None, None):
        state.best_epoch, state.best_iteration = event.epoch, event.iteration
        state.best_metrics = event.metrics or state.best_metrics


def _checkpoint_stored(state: RunState, event: CheckpointStored) -> None:
    state.stored[event.name] = event


def _tracker_linked(state: RunState, event: TrackerLinked) -> None:
    state.linked[event.tracker] = event


def _rank_failed(state: RunState, event: RankFailed) -> None:
    state.rank_failed = state.rank_failed or event


def _signal_received(state: RunState, event: SignalReceived) -> None:
    state.signal = event.signal


def _of_a_step(state: RunState, event: StepEvent) -> None:
    state.workflow.apply(event)


def _run_ended(state: RunState, event: RunCompleted | RunFailed | RunInterrupted | RunLost) -> None:
    state.ended = event
    done = event.iterations if isinstance(event, RunCompleted) else event.iteration
    state.iteration = max(state.iteration, done or 0)
    state.status = _ENDINGS[type(event)]


_ENDINGS: dict[type, Status] = {
    RunCompleted: "completed",
    RunFailed: "failed",
    RunInterrupted: "interrupted",
    RunLost: "lost",
}
_HANDLERS: dict[type, Callable[[RunState, Any], None]] = {
    RunStarted: _run_started,
    ProgressMade: _progress_made,
    EpochEnded: _epoch_ended,
    MetricsLogged: _metrics_logged,
    Validated: _validated,
    CheckpointSaved: _checkpoint_saved,
    CheckpointStored: _checkpoint_stored,
    TrackerLinked: _tracker_linked,
    RankFailed: _rank_failed,
    SignalReceived: _signal_received,
    **dict.fromkeys((StepStarted, StepFinished, StepFailed, StepRolledBack), _of_a_step),
    **dict.fromkeys(_ENDINGS, _run_ended),
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

    @property
    def linked(self) -> dict[str, TrackerLinked]:
        """Where else the run is shown, by tracker: an attempt goes on in the task of the one before."""
        return {tracker: link for attempt in self.attempts for tracker, link in attempt.state.linked.items()}


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


@dataclass(frozen=True)
class Measured:
    """What was measured at one point of an attempt: at the end of an epoch, or after an iteration."""

    attempt: int
    epoch: int | None
    iteration: int | None
    time: float
    duration: float | None = None
    metrics: Metrics = field(default_factory=dict)


def read_measured(run_directory: Path) -> list[Measured]:
    """Each epoch's metrics, the validation's among them; where epochs aren't counted, each told iteration's.

    A repeated point replaces the earlier one. In order: by attempt, then by epoch or iteration.
    """
    epochs: dict[tuple[int, int], Measured] = {}
    iterations: dict[tuple[int, int], Measured] = {}
    for record in read_records(run_directory):
        event, attempt = record.event, record.attempt
        if isinstance(event, EpochEnded):
            point = Measured(attempt, event.epoch, None, record.time, event.duration, event.metrics)
            epochs[attempt, event.epoch] = point
        elif isinstance(event, MetricsLogged) and event.iteration is not None:
            iterations[attempt, event.iteration] = Measured(
                attempt, None, event.iteration, record.time, metrics=event.metrics
            )
        elif isinstance(event, Validated) and not event.final:
            _join_validation(epochs if event.iteration is None else iterations, record, event)
    found = epochs or iterations
    return [found[place] for place in sorted(found)]


def measured_at(record: Record) -> tuple[str, int, Metrics]:
    """On which axis ("epoch", "iteration"), where on it, and what a record tells of curves; no metrics if nothing."""
    event = record.event
    if isinstance(event, EpochEnded):
        return "epoch", event.epoch, event.metrics
    if isinstance(event, MetricsLogged) and event.iteration is not None:
        return "iteration", event.iteration, event.metrics
    if isinstance(event, Validated) and not event.final:
        if event.iteration is not None:
            return "iteration", event.iteration, event.metrics
        if event.epoch is not None:
            return "epoch", event.epoch, event.metrics
    return "", 0, {}


def _join_validation(points: dict[tuple[int, int], Measured], record: Record, event: Validated) -> None:
    place = record.attempt, (event.epoch if event.iteration is None else event.iteration) or 0
    bare = Measured(record.attempt, event.epoch, event.iteration, record.time)
    known = points.get(place, bare)
    points[place] = dataclasses.replace(known, metrics={**known.metrics, **event.metrics})


def stored_checkpoints(run_directory: Path) -> dict[str, CheckpointStored]:
    """The newest stored checkpoint of each name; reads only what couriers have written, or receivers."""
    headers, ends = read_headers(run_directory), sizes(run_directory)
    told_by = ("courier", "received")
    others = {n: end for n, end in ends.items() if n in headers and headers[n].writer not in told_by}
    events = (record.event for record in read_records(run_directory, others))
    return {event.name: event for event in events if isinstance(event, CheckpointStored)}


def state_of(records: Iterable[Record], attempt: int) -> RunState:
    """What the attempt's records among these add up to."""
    state = RunState()
    for record in records:
        if record.attempt == attempt:
            state.apply(record.event)
    return state


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
