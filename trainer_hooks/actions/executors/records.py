"""What a run's record tells of an attempt that runs elsewhere; and its last word, where nobody has said it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.attempts import safe_name
from trainer_hooks.deaths import learn
from trainer_hooks.errors import RemoteFailure
from trainer_hooks.events import AnyEvent, RunCompleted, RunFailed, RunInterrupted, RunLost, SegmentOpened
from trainer_hooks.history import RunState, state_of
from trainer_hooks.journal import owner, read_headers, read_records
from trainer_hooks.last_word import say
from trainer_hooks.process import is_alive
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment

_DIES_WITHIN = 5.0
_POLL = 0.05
_never = threading.Event()


@dataclass(frozen=True)
class Place:
    """Where a run is kept, as its submitter sees it; `before` is the newest attempt at the submission, 0 for none."""

    directory: Path
    before: int

    @classmethod
    def of(cls, settings: Settings) -> Place:
        """Of a run that is about to be submitted; the settings name it."""
        directory = settings.root / safe_name(settings.run_id or "")
        headers = read_headers(directory)
        return cls(directory, owner(headers).attempt if headers else 0)

    @classmethod
    def of_attempt(cls, directory: Path, number: int) -> Place:
        """Of an attempt that is known."""
        return cls(directory, number - 1)

    def attempt(self) -> SegmentOpened | None:
        """The attempt that was submitted; None where it has not begun, or is not to be seen from here."""
        headers = read_headers(self.directory)
        newest = owner(headers) if headers else None
        return newest if newest is not None and newest.attempt > self.before else None


def result_told(place: Place, reason: str, *, status: int | None = None) -> dict[str, Any]:
    """The result of the attempt whose process is gone without telling its submitter, as the run's record has it.

    `reason` is how that is known; `status` is the process's, if that is known: its exit status, or the signal that it
    died of as a negative number. Where the record can be reached and has no end, that is said now.

    Raises:
        RemoteFailure: if the attempt has not completed.
    """
    header = place.attempt()
    if header is None:
        message = f"{reason}; no attempt of its run is to be seen in {place.directory}"
        raise RemoteFailure(message, "lost", told=False)
    wait_until(lambda: is_alive(header.process) is not True, _DIES_WITHIN)
    told = _ended(place, header)
    if told is None and is_alive(header.process) is not True:
        say(place.directory, header, "submitter", lambda state: _last_word(place, header, state, reason, status))
        told = _ended(place, header)
    if isinstance(told, RunCompleted):
        return dict(told.result)
    raise _as_failure(told, f"attempt {header.attempt} of run {header.run}", reason)


def wait_until(condition: Callable[[], object], timeout: float) -> bool:
    """Whether it comes true within so many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        _never.wait(_POLL)
    return True


def _ended(place: Place, header: SegmentOpened) -> AnyEvent | None:
    return state_of(read_records(place.directory), header.attempt).ended


def _last_word(place: Place, header: SegmentOpened, state: RunState, reason: str, status: int | None) -> AnyEvent:
    redactor = Redactor(known_secrets(environment()))
    event = learn(place.directory, header.attempt, redactor, status=status).as_event(state)
    if isinstance(event, RunLost) and status is None:
        return msgspec.structs.replace(event, reason=redactor.word(reason) or event.reason)
    return event


def _as_failure(told: AnyEvent | None, which: str, reason: str) -> RemoteFailure:
    if isinstance(told, RunFailed):
        # Without an exception, others have found the words for it.
        return RemoteFailure(f"{which} has failed: {told.message}", "failed", told=told.exception is not None)
    if isinstance(told, RunInterrupted):
        return RemoteFailure(f"{which} was interrupted: {told.reason}", "interrupted")
    if isinstance(told, RunLost):
        return RemoteFailure(f"{which} is lost: {told.reason}", "lost", told=False)
    return RemoteFailure(f"{reason}; {which} has no end on record", "lost", told=False)
