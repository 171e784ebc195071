"""The last word on an attempt whose process is gone: on one machine it is said once, whoever says it.

Three may want to: the courier, `trainer-hooks run` as the parent, and whoever begins the next attempt. Each holds the
run's claim lock, looks whether the attempt has ended meanwhile, and only then writes, into a segment of its own. What
the disk refuses has not been said: it is not kept in memory, to be written after the lock is let go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer_hooks.events import AnyEvent, Record, SegmentOpened
from trainer_hooks.files import locked
from trainer_hooks.history import RunState, state_of
from trainer_hooks.journal import Journal, Reader, read_records, sizes

_LOCK_FILE = "claim.lock"
_SAID_WITHIN = 5.0
_TAIL = 1 << 20


@contextlib.contextmanager
def claiming(run_directory: Path, timeout: float) -> Iterator[None]:
    """Be the only one on this machine that begins or ends an attempt of this run.

    Raises:
        TimeoutError: if another process has been at it for `timeout` seconds.
    """
    with locked(run_directory / _LOCK_FILE, timeout):
        yield


def recent_state(run_directory: Path, attempt: int) -> RunState:
    """What the ends of the segments say of an attempt: journals can be long, and whether it has ended stands there.

    How far it was need not stand there.
    """
    ends = {number: max(0, size - _TAIL) for number, size in sizes(run_directory).items()}
    return state_of(read_records(run_directory, ends), attempt)


def say(run_directory: Path, header: SegmentOpened, writer: str, tell: Callable[[RunState], AnyEvent]) -> None:
    """End the attempt, if nobody has; `header` is that of its owner, and `tell` gives the event.

    Raises:
        OSError: if it could not be written, or somebody keeps the lock: it has not been said.
    """
    known = _Known(run_directory, header)
    known.catch_up()  # a long journal takes seconds, for which nobody has to wait
    with claiming(run_directory, _SAID_WITHIN):
        _say(known, writer, tell)


def say_claimed(run_directory: Path, header: SegmentOpened, writer: str, tell: Callable[[RunState], AnyEvent]) -> None:
    """`say`, for one who has the lock already."""
    _say(_Known(run_directory, header), writer, tell)


class _Known:
    """All that the journal says of the attempt: its end alone does not tell how far the attempt was."""

    def __init__(self, run_directory: Path, header: SegmentOpened) -> None:
        self.run_directory = run_directory
        self.header = header
        self._reader = Reader(run_directory)
        self._state = RunState()

    def catch_up(self) -> RunState:
        """Its state by now."""
        while found := self._reader.read():
            for item in found:
                if isinstance(item, Record) and item.attempt == self.header.attempt:
                    self._state.apply(item.event)
        return self._state


def _say(known: _Known, writer: str, tell: Callable[[RunState], AnyEvent]) -> None:
    state = known.catch_up()
    if state.ended is not None:
        return
    event = tell(state)
    journal = Journal.beside(known.run_directory, known.header, writer)
    try:
        journal.append(event)
        problem = journal.at_risk
    finally:
        journal.close()
    if problem:
        raise OSError(problem)
