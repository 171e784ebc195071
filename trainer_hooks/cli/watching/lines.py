"""A run where there is no terminal: a line for each thing that has changed."""

from __future__ import annotations

from collections.abc import Iterator

from trainer_hooks.cli.watching.seen import Seen
from trainer_hooks.events import Level
from trainer_hooks.receiver.index.following import LEVELS
from trainer_hooks.receiver.texts import value


class Lines:
    """Tells what has changed from one look to the next; log records of less than `level` are left out."""

    def __init__(self, level: Level) -> None:
        self._level = LEVELS[level]
        self._before: tuple[str, int, int] | None = None

    def tell(self, seen: Seen) -> Iterator[str]:
        """The lines."""
        for record in seen.logs:
            if LEVELS[record.level] >= self._level:
                yield f"{record.level} {record.message}"
        summary = seen.told.summary
        now = (summary.status, summary.attempts, summary.done)
        if now == self._before:
            return
        self._before = now
        metrics = ", ".join(f"{name} {value(given)}" for name, given in seen.told.attempts[-1].metrics.items())
        total = f" of {summary.total}" if summary.total else ""
        yield f"{summary.run} {summary.status}: {summary.done}{total} {summary.unit}{f'; {metrics}' if metrics else ''}"
        if summary.failure:
            yield f"{summary.failure.kind}: {summary.failure.message}"
