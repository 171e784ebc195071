"""What is known of a run: grows with each of its records, and shows itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import msgspec

from trainer_hooks.destinations.platform.figures import primary_metric
from trainer_hooks.events import (
    EpochEnded,
    ImageSaved,
    Logged,
    MetricsLogged,
    Record,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SegmentOpened,
)
from trainer_hooks.receiver.shown import (
    AttemptShown,
    BestShown,
    CheckpointShown,
    FailureShown,
    ImageShown,
    RunShown,
    RunTold,
    StepShown,
    Value,
)
from trainer_hooks.replay import Attempt
from trainer_hooks.staging import MOST_IMAGES

_LONGEST_PREVIEW = 300


@dataclass
class _AttemptTold:
    """One attempt: its state, and what a state doesn't keep."""

    header: SegmentOpened
    state: Attempt = field(default_factory=Attempt)
    began: float = 0.0
    last: float = 0.0
    time_left: float | None = None
    values: dict[str, Value] = field(default_factory=dict)
    images: dict[str, ImageShown] = field(default_factory=dict)
    warnings: int = 0
    errors: int = 0
    dropped: int = 0

    def apply(self, record: Record) -> None:
        event = record.event
        self.began = min(self.began or record.time, record.time)
        self.last = max(self.last, record.time)
        if isinstance(event, RunStarted) and self.state.ended is not None:
            return  # no way back
        self.state.apply(event)
        if isinstance(event, EpochEnded):
            self.time_left = _time_left(event, self.state)
        elif isinstance(event, MetricsLogged) and event.iteration is None:
            self.values.update(event.metrics)
        elif isinstance(event, ImageSaved) and event.staged is not None:
            self._draw(event, event.staged, record.time)
        elif isinstance(event, Logged):
            self.warnings += event.level == "WARNING"
            self.errors += event.level == "ERROR"
        elif isinstance(event, RecordsDropped):
            self.dropped += event.count

    def _draw(self, event: ImageSaved, staged: str, at: float) -> None:
        """Keep the newest image of each title, and of many titles the newest."""
        self.images.pop(event.title, None)
        name = PurePosixPath(staged).name
        self.images[event.title] = ImageShown(name, event.title, at, event.epoch, event.iteration)
        if len(self.images) > MOST_IMAGES:
            del self.images[next(iter(self.images))]

    def show(self, number: int) -> AttemptShown:
        state, started = self.state, self.state.started or RunStarted()
        unit, done, total = state.done
        return AttemptShown(
            number=number,
            status=state.status,
            operation=state.operation,
            began=self.began,
            last=self.last,
            unit=unit,
            done=done,
            total=total,
            framework=started.framework,
            task=started.task,
            model=started.model,
            resumed_from=started.resumed_from,
            params=started.params,
            dataset=started.dataset,
            class_names=started.class_names,
            versions=started.versions,
            metrics=dict(state.metrics),
            values=self.values,
            best=_best(state),
            checkpoints=_checkpoints(state),
            images=list(self.images.values()),
            links=[msgspec.to_builtins(link) for link in state.linked.values()],
            steps=[StepShown(step=name, **dataclasses.asdict(step)) for name, step in state.steps.items()],
            result=state.ended.result if isinstance(state.ended, RunCompleted) else {},
            failure=_failure(state),
            duration=state.ended.duration if isinstance(state.ended, RunCompleted) else None,
            dropped=self.dropped,
        )


class Telling:
    """A run, as its records tell it."""

    def __init__(self, headers: Mapping[int, SegmentOpened]) -> None:
        self._attempts: dict[int, _AttemptTold] = {}
        self._headers = headers

    def apply(self, record: Record) -> None:
        """Take one record into account."""
        told = self._attempts.get(record.attempt)
        if told is None:
            header = record.event if isinstance(record.event, SegmentOpened) else self._headers[record.segment]
            told = self._attempts[record.attempt] = _AttemptTold(header)
        told.apply(record)

    @property
    def header(self) -> SegmentOpened | None:
        """Of the process that the newest attempt belongs to; None as long as nothing was told."""
        return self._attempts[max(self._attempts)].header if self._attempts else None

    @property
    def is_over(self) -> bool:
        """Whether the newest attempt has ended."""
        return bool(self._attempts) and self._attempts[max(self._attempts)].state.ended is not None

    def show(self) -> RunTold:
        """All that is known, by now."""
        attempts = [told.show(number) for number, told in sorted(self._attempts.items())]
        newest, told = attempts[-1], self._attempts[attempts[-1].number]
        share = _share(told.state)
        summary = RunShown(
            run=told.header.run,
            job=told.header.job or told.header.run,
            status=newest.status,
            operation=newest.operation,
            attempts=len(attempts),
            began=attempts[0].began,
            last=max(attempt.last for attempt in attempts),
            action=told.state.started.action if told.state.started else None,
            framework=newest.framework,
            task=newest.task,
            model=newest.model,
            host=told.header.process.host or None,
            unit=newest.unit,
            done=newest.done,
            total=newest.total,
            share=share,
            time_left=None if told.state.ended else told.time_left,
            best=newest.best,
            failure=_preview(newest.failure),
            warnings=told.warnings,
            errors=told.errors,
        )
        return RunTold(summary, attempts)


def _time_left(event: EpochEnded, state: Attempt) -> float | None:
    """As the host says; else as long as the last epoch took, for each that is left."""
    if event.time_left is not None:
        return event.time_left
    if event.duration is None or state.total_epochs is None:
        return None
    return max(0, state.total_epochs - state.epoch) * event.duration


def _share(state: Attempt) -> float | None:
    """How much is done, from 0 to 1; None where nobody knows how much there is."""
    _, done, total = state.done
    if isinstance(state.ended, RunCompleted):
        return 1.0
    if state.overall is not None:
        return state.overall
    if total:
        return min(1.0, done / total)
    progress = state.progress
    return min(1.0, max(0.0, progress.current / progress.total)) if progress and progress.total > 0 else None


def _best(state: Attempt) -> BestShown | None:
    chosen = primary_metric(state.best_metrics, state.primary)
    return BestShown(chosen[0], chosen[1], state.best_at) if chosen else None


def _checkpoints(state: Attempt) -> list[CheckpointShown]:
    told = state.ended.checkpoints if isinstance(state.ended, RunCompleted) else {}
    return [_checkpoint(state, name, told.get(name)) for name in dict.fromkeys((*state.saved, *state.stored, *told))]


def _checkpoint(state: Attempt, name: str, told: str | None) -> CheckpointShown:
    saved, stored = state.saved.get(name), state.stored.get(name)
    known: Any = stored or saved
    return CheckpointShown(
        name=name,
        uri=stored.uri if stored else told,
        path=saved.path if saved else None,
        size=known.size if known else None,
        sha256=stored.sha256 if stored else None,
        epoch=known.epoch if known else None,
        iteration=known.iteration if known else None,
        metrics=dict(known.metrics) if known else {},
        final=known.final if known else False,
    )


def _failure(state: Attempt) -> FailureShown | None:
    ended = state.ended
    if isinstance(ended, RunInterrupted):
        return FailureShown("interrupted", ended.reason)
    if isinstance(ended, RunLost):
        return FailureShown("lost", ended.reason)
    if not isinstance(ended, RunFailed):
        return None
    return FailureShown(
        kind=ended.error,
        message=ended.message,
        exception=ended.exception,
        traceback=ended.traceback,
        output=ended.output,
        rank=ended.rank,
        exit_status=ended.exit_status,
    )


def _preview(failure: FailureShown | None) -> FailureShown | None:
    """What a list has room for."""
    return (
        None if failure is None else FailureShown(failure.kind, failure.message[:_LONGEST_PREVIEW], failure.exception)
    )
