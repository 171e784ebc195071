"""Tells a training that works from one that hangs: by the time between its epochs, or between its told iterations."""

from __future__ import annotations

import statistics
from collections import deque

from trainer_hooks.events import EpochEnded, Event, Logged, MetricsLogged, Record, RecordsDropped
from trainer_hooks.liveness import Progress

_REMEMBERED = 20
_NEEDED = 3
_SAYS_NOTHING: tuple[type[Event], ...] = (Logged, RecordsDropped)


class Pulse:
    """The usual time between two points of progress, and the time since anything was told.

    Log records don't count: a retry loop writes them for ever. Times are seconds since 1970.
    """

    def __init__(self, factor: float, least: float) -> None:
        """Stalled is what tells nothing for `factor` times the usual time, and for `least` seconds; 0: never."""
        self._factor = factor
        self._least = least
        self._gaps: deque[float] = deque(maxlen=_REMEMBERED)
        self._counts_epochs = False
        self._point: float | None = None
        self._told: float | None = None

    def note(self, record: Record) -> None:
        """The training has told this."""
        event = record.event
        if isinstance(event, _SAYS_NOTHING):
            return
        self._told = max(self._told or 0.0, record.time)
        if isinstance(event, EpochEnded):
            if not self._counts_epochs:  # iterations were told before the first epoch's end
                self._counts_epochs = True
                self._gaps.clear()
            self._gaps.append(event.duration if event.duration is not None else self._since_the_last(record.time))
            self._point = record.time
        elif isinstance(event, MetricsLogged) and event.iteration is not None and not self._counts_epochs:
            if self._point is not None:
                self._gaps.append(self._since_the_last(record.time))
            self._point = record.time

    def idle(self, now: float) -> float:
        """The seconds since anything was told."""
        return max(0.0, now - self._told) if self._told is not None else 0.0

    @property
    def usual(self) -> float | None:
        """The seconds that usually pass between two points of progress; None while that isn't known."""
        return statistics.median(self._gaps) if len(self._gaps) >= _NEEDED else None

    def state(self, now: float) -> Progress:
        """How it stands."""
        if self._point is None:
            return "starting"
        if self._factor and self.usual is not None:
            limit = max(self._least, self._factor * self.usual)
            return "stalled" if self.idle(now) > limit else "progressing"
        return "progressing"

    def _since_the_last(self, time: float) -> float:
        return max(0.0, time - self._point) if self._point is not None else 0.0
