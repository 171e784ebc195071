"""What the courier itself writes into the run's journal: stored checkpoints, and the last word of the dead."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from trainer_hooks.errors import RetryLater
from trainer_hooks.events import AnyEvent, CheckpointStored, SegmentOpened
from trainer_hooks.journal import Journal


class OwnSegment:
    """The courier's segment, opened with its first event; every lane may write to it."""

    def __init__(self, run_directory: Path, header: SegmentOpened) -> None:
        """`header` is that of the attempt's owner, whose run and attempt these events belong to."""
        self._directory = run_directory
        self._header = header
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        self._closed = False
        self._stored: dict[str, CheckpointStored] = {}

    def remember(self, stored: Iterable[CheckpointStored]) -> None:
        """Know these checkpoints, which earlier couriers have told of."""
        self._stored |= {event.name: event for event in stored}

    def stored(self) -> dict[str, CheckpointStored]:
        """The newest stored checkpoint of each name, of all attempts: a resumed one need not improve on the best."""
        with self._lock:
            return dict(self._stored)

    def emit(self, event: AnyEvent) -> None:
        """Write an event.

        Raises:
            RetryLater: if this courier has ended meanwhile; another one will deliver, and tell, again.
            OSError: if no segment can be opened.
        """
        with self._lock:
            if self._closed:
                raise RetryLater("the courier has ended")
            if self._journal is None:
                self._journal = Journal.beside(self._directory, self._header, "courier")
            self._journal.append(event)
            if isinstance(event, CheckpointStored):
                self._stored[event.name] = event

    def retry(self) -> None:
        """Write what a full disk has refused so far."""
        with self._lock:
            if self._journal is not None:
                self._journal.retry()

    def close(self) -> None:
        """Write nothing more."""
        with self._lock:
            self._closed = True
            if self._journal is not None:
                self._journal.close()
