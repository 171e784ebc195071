"""Looking at a run of this machine: its journal, read on from where the last look has ended."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict, deque
from pathlib import Path

from trainer_hooks.cli.finding import find_run, read_runs
from trainer_hooks.cli.watching.seen import OPEN, Seen, main_metric
from trainer_hooks.events import Logged, Record
from trainer_hooks.history import measured_at
from trainer_hooks.journal import Reader, owner, read_headers
from trainer_hooks.process import is_alive
from trainer_hooks.receiver.index.logs import LogShown
from trainer_hooks.receiver.index.telling import Telling
from trainer_hooks.receiver.shown import RunTold

_KEPT = 200
_LOGS_KEPT = 1000


class LocalRuns:
    """The runs below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._following: dict[str, _Following] = {}

    def newest(self) -> str | None:
        """The newest one that is open."""
        return next((history.run for history in read_runs(self._root) if history.latest.status in OPEN), None)

    def look(self, run: str, metric: str | None) -> Seen:
        """The run by now."""
        if run not in self._following:
            self._following[run] = _Following(find_run(self._root, run).directory)
        return self._following[run].look(metric)


class _Following:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reader = Reader(directory)
        self._headers = read_headers(directory)
        self._telling = Telling(self._headers)
        self._curves: dict[str, deque[float | None]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._logs: deque[LogShown] = deque(maxlen=_LOGS_KEPT)
        self._count = 0

    def look(self, metric: str | None) -> Seen:
        self._headers.update(read_headers(self._directory))
        while found := self._reader.read():
            for item in found:
                if isinstance(item, Record):
                    self._apply(item)
        told = self._standing(self._telling.show())
        chosen = metric or main_metric(told, lambda: self._curves)
        logs, self._logs = list(self._logs), deque(maxlen=_LOGS_KEPT)
        return Seen(told, chosen, list(self._curves[chosen]) if chosen else [], logs)

    def _apply(self, record: Record) -> None:
        self._telling.apply(record)
        for name, value in measured_at(record)[2].items():
            self._curves[name].append(float(value) if math.isfinite(float(value)) else None)
        event = record.event
        if isinstance(event, Logged):
            self._count += 1
            shown = LogShown(
                self._count, record.attempt, record.time, event.level, event.source, event.message, event.data
            )
            self._logs.append(shown)

    def _standing(self, told: RunTold) -> RunTold:
        """As its events say; one whose process is gone is lost."""
        summary = told.summary
        if summary.status in OPEN and is_alive(owner(self._headers).process) is False:
            summary = dataclasses.replace(summary, status="lost")
        return dataclasses.replace(told, summary=summary)
