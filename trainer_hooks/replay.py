"""What was told of each attempt before the record whose turn it is: destinations need more than the one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from trainer_hooks.events import TERMINAL, AnyEvent, ExportCompleted, InferenceCompleted, Operation, Record
from trainer_hooks.history import RunState
from trainer_hooks.journal import read_headers, read_records, sizes


@dataclass
class Attempt(RunState):
    """An attempt's state; of several terminal events the first counts. `reported`: its results were told."""

    reported: bool = False

    @property
    def operation(self) -> Operation:
        """What kind of work it is; an attempt that never started counts as a training."""
        return self.started.operation if self.started else "training"

    def apply(self, event: AnyEvent) -> None:
        """Take one event into account."""
        if self.ended is not None and isinstance(event, TERMINAL):
            return
        super().apply(event)
        self.reported = self.reported or isinstance(event, (InferenceCompleted, ExportCompleted))

    def take(self, record: Record) -> None:
        """Take one record into account: its event, and for those to whom that matters, when it happened."""
        self.apply(record.event)


AttemptT = TypeVar("AttemptT", bound=Attempt)


class Attempts(Generic[AttemptT]):
    """The state of each attempt, read from the journal where delivery begins in its middle."""

    def __init__(self, run_directory: Path, new: Callable[[], AttemptT]) -> None:
        self._directory = run_directory
        self._new = new
        self._known: dict[int, AttemptT] = {}

    def before(self, record: Record) -> AttemptT:
        """The record's attempt as it was just before the record."""
        if record.attempt not in self._known:
            self._known[record.attempt] = self._read_up_to(record)
        return self._known[record.attempt]

    def passed(self, record: Record) -> None:
        """The record has been told."""
        self.before(record).take(record)

    def _read_up_to(self, record: Record) -> AttemptT:
        attempt = self._new()
        of_others = {n for n, header in read_headers(self._directory).items() if header.attempt != record.attempt}
        behind = {number: size for number, size in sizes(self._directory).items() if number in of_others}
        for earlier in read_records(self._directory, behind):
            if earlier.id == record.id:
                break
            attempt.take(earlier)
        return attempt
