"""A run on a terminal: one picture, drawn anew with each look."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainer_hooks.cli.watching.seen import Seen
from trainer_hooks.events import Level
from trainer_hooks.receiver.index.following import LEVELS
from trainer_hooks.receiver.index.logs import LogShown
from trainer_hooks.receiver.texts import duration, value

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {
    "completed": "green",
    "failed": "bold red",
    "interrupted": "yellow",
    "lost": "magenta",
    "running": "blue",
    "opened": "blue",
}
_LOG_STYLES = {"WARNING": "yellow", "ERROR": "red"}
_METRICS, _LINES = 12, 10


class Screen:
    """Draws what was seen; log records of less than `level` are left out."""

    def __init__(self, level: Level) -> None:
        self._level = LEVELS[level]
        self._logs: deque[LogShown] = deque(maxlen=_LINES)

    def draw(self, seen: Seen, width: int, trouble: str | None = None) -> RenderableType:
        """The picture; `trouble` is why nothing newer can be seen."""
        self._logs.extend(record for record in seen.logs if LEVELS[record.level] >= self._level)
        return Group(*self._parts(seen, width, trouble))

    def _parts(self, seen: Seen, width: int, trouble: str | None) -> Iterator[RenderableType]:
        yield _headline(seen)
        yield _progress(seen)
        if seen.metric and seen.curve:
            yield _curve(seen, width)
        yield _metrics(seen)
        for record in self._logs:
            yield Text(f"{record.level:8} {record.message}", _LOG_STYLES.get(record.level, "dim"), overflow="ellipsis")
        if seen.told.summary.failure:
            failure = seen.told.summary.failure
            yield Text(f"{failure.kind}: {failure.message}", "bold red")
        if trouble:
            yield Text(f"can't be reached, trying again: {trouble}", "yellow")


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The values as a line of bars, so many at most: each the mean of its share; a blank where there is none."""
    shares = [values[len(values) * n // width : len(values) * (n + 1) // width] for n in range(width)]
    some = [[one for one in share if one is not None] for share in (shares if len(values) > width else _each(values))]
    means = [math.fsum(share) / len(share) if share else None for share in some]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(" " if mean is None else _BARS[_height(mean, low, high)] for mean in means)


def _each(values: Sequence[float | None]) -> list[Sequence[float | None]]:
    return [[one] for one in values]


def _height(mean: float, low: float, high: float) -> int:
    return round((mean - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0


def _headline(seen: Seen) -> Text:
    summary = seen.told.summary
    about = " · ".join(word for word in (summary.model, summary.task, summary.framework, summary.host) if word)
    return Text.assemble((summary.run, "bold"), "  ", (summary.status, _STYLES[summary.status]), f"  {about}")


def _progress(seen: Seen) -> RenderableType:
    summary, beat = seen.told.summary, seen.told.heartbeat
    row = Table.grid(padding=(0, 2))
    done = f"{summary.done}{f' of {summary.total}' if summary.total else ''} {summary.unit}"
    notes = [f"{duration(summary.time_left)} left"] if summary.time_left is not None and seen.is_open else []
    if beat and beat.state == "stalled":
        notes.append(f"no progress for {duration(beat.idle)}")
    if summary.best:
        notes.append(f"best {value(summary.best.value)} ({summary.best.metric}, {summary.best.at})")
    row.add_row(ProgressBar(total=1, completed=summary.share or 0, width=30), done, " · ".join(notes))
    return row


def _curve(seen: Seen, width: int) -> Text:
    newest = next((one for one in reversed(seen.curve) if one is not None), None)
    label = f"{seen.metric} "
    number = "" if newest is None else f" {newest:.5g}"
    return Text.assemble(label, (sparkline(seen.curve, max(10, width - len(label) - len(number) - 1)), "cyan"), number)


def _metrics(seen: Seen) -> RenderableType:
    metrics = list(seen.told.attempts[-1].metrics.items())
    table = Table.grid(padding=(0, 3))
    for first in range(0, min(len(metrics), _METRICS), 3):
        table.add_row(*(f"{name} {value(given)}" for name, given in metrics[first : first + 3]), style="dim")
    return table
