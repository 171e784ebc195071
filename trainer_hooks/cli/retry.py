"""Offers refused records to their destination once more: those alone, since all others have been delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trainer_hooks.delivery import RejectedRecord, keep_rejected, load_rejected, load_state, load_states, save_state
from trainer_hooks.destinations import Context, Receipt, known_destinations
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import (
    TERMINAL,
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    ExportCompleted,
    InferenceCompleted,
    ProgressMade,
    Record,
    RunStarted,
)
from trainer_hooks.history import RunHistory
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.settings import Settings

# Each of these tells how the run stands: told late, it would set the platform back to how it stood then.
_STANDING = (RunStarted, EpochEnded, ProgressMade, InferenceCompleted, ExportCompleted, *TERMINAL)


def retry_rejected(history: RunHistory, settings: Settings, stopping: Callable[[], bool]) -> int:
    """Give each destination the records that it has refused; what it refuses again, or can't take now, stays refused.

    Returns how many were not offered, since the destination has been told of something later that replaces them. The
    caller holds the run's courier lock.

    Raises:
        SetupError: if a destination is configured wrongly, or its package is missing.
    """
    own = _OwnEvents(history)
    context = _context(history, settings, own.append, stopping)
    overtaken = 0
    try:
        for name in load_states(history.directory):
            refused = load_rejected(history.directory, name)
            due = _due(history.directory, name, {entry.id for entry in refused})
            overtaken += len(refused) - len(due)
            if due:
                _settle(history.directory, name, refused, _offer(context, name, due))
    finally:
        own.close()
    return overtaken


def _due(directory: Path, destination: str, refused: set[str]) -> list[Record]:
    """The refused records that nothing later has replaced there, in the journal's order."""
    if not refused:
        return []
    cursor = load_state(directory, destination).cursor
    told: dict[str, int] = {}
    found: list[tuple[int, Record]] = []
    for place, record in enumerate(read_records(directory)):
        if record.id in refused:
            found.append((place, record))
        elif record.end <= cursor.get(record.segment, 0):
            told.update(dict.fromkeys(_topics(record.event), place))
    return [record for place, record in found if all(told.get(topic, -1) < place for topic in _topics(record.event))]


def _topics(event: AnyEvent) -> list[str]:
    """What it tells that a later event on the same topic replaces; most events stand for themselves."""
    if isinstance(event, CheckpointSaved):
        return [f"checkpoint {name}" for name in event.names]
    return ["standing"] if isinstance(event, _STANDING) else []


def _offer(context: Context, name: str, records: Sequence[Record]) -> list[Receipt]:
    receipts: list[Receipt] = []
    for record in records:
        if context.stopping():
            break
        # Opened anew for each: a destination may have to read what lies between two of them, which it isn't given.
        destination = known_destinations()[name].open_destination(context) if name in known_destinations() else None
        if destination is None:
            break
        try:
            receipts += [receipt for some in destination.deliver([record]) for receipt in some]
        except RetryLater:  # the rest stays refused, and can be offered another time
            break
        finally:
            destination.close()
    return receipts


def _settle(directory: Path, name: str, refused: Sequence[RejectedRecord], receipts: Sequence[Receipt]) -> None:
    """Move what was taken from the one side of the books to the other."""
    taken = {receipt.record.id: receipt.superseded for receipt in receipts if receipt.refused is None}
    reasons = {receipt.record.id: receipt.refused for receipt in receipts if receipt.refused is not None}
    state = load_state(directory, name)
    # A process that died between the two writes here may have left entries of records that count as delivered.
    moved = min(len(taken), state.rejected)
    superseded = min(sum(taken.values()), moved)
    state.rejected -= moved
    state.superseded += superseded
    state.delivered += moved - superseded
    save_state(directory, name, state)
    remaining = (entry for entry in refused if entry.id not in taken)
    keep_rejected(
        directory,
        name,
        [msgspec.structs.replace(entry, reason=reasons.get(entry.id, entry.reason)) for entry in remaining],
    )


def _context(
    history: RunHistory, settings: Settings, emit: Callable[[AnyEvent], None], stopping: Callable[[], bool]
) -> Context:
    header = history.latest.header
    stored = {name: event for attempt in history.attempts for name, event in attempt.state.stored.items()}
    return Context(
        run_directory=history.directory,
        run=header.run,
        job=header.job or header.run,
        settings=settings,
        emit=emit,
        stored=lambda: stored,
        stopping=stopping,
        linked=lambda: history.linked,
    )


class _OwnEvents:
    """A segment for what a destination tells in the journal, such as a stored checkpoint; opened when it is needed."""

    def __init__(self, history: RunHistory) -> None:
        self._directory = history.directory
        self._header = history.latest.header
        self._journal: Journal | None = None

    def append(self, event: AnyEvent) -> None:
        if self._journal is None:
            self._journal = Journal.beside(self._directory, self._header, "courier")
        self._journal.append(event)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
