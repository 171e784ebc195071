"""Log records, asked of the index: the newest, those before, those behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from trainer_hooks.events import Level
from trainer_hooks.receiver.index.following import LEVELS

_Row: TypeAlias = tuple[int, int, float, int, str, str, str]
_LONGEST_ANSWER = 4 << 20
_NAMES = {number: level for level, number in LEVELS.items()}


@dataclass(frozen=True)
class LogShown:
    """A log record. `id` grows with each, and says where to go on."""

    id: int
    attempt: int
    time: float
    level: Level
    source: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True)
class LogPage:
    """Log records in the order in which they came. `last` is where to go on `after`, and `first` what lies `before`."""

    records: list[LogShown]
    first: int
    last: int


@dataclass(frozen=True)
class LogsWanted:
    """Records of at least that level that hold that text, `limit` of them.

    The first behind `after`, else the last before `before`, else the newest.
    """

    level: Level = "DEBUG"
    search: str = ""
    after: int | None = None
    before: int | None = None
    limit: int = 200


def logs_of(connection: sqlite3.Connection, run: str, wanted: LogsWanted) -> LogPage:
    """The log records that are wanted."""
    forward = wanted.after is not None
    query = f"""
        SELECT logs.id, attempt, time, level, source, message, data FROM logs JOIN runs ON runs.id = logs.run
        WHERE runs.run = ? AND level >= ? AND logs.id > ? AND logs.id < ? AND INSTR(LOWER(message), ?) > 0
        ORDER BY logs.id {"ASC" if forward else "DESC"} LIMIT ?
    """  # noqa: S608 - no value is in it
    after, before = wanted.after or 0, 2**63 - 1 if wanted.before is None else wanted.before
    values = [run, LEVELS[wanted.level], after, before, wanted.search.lower(), wanted.limit]
    rows = list(_bounded(connection.execute(query, values)))
    records = [_record(row) for row in (rows if forward else rows[::-1])]
    first, last = (records[0].id, records[-1].id) if records else (wanted.before or 0, after)
    return LogPage(records, first, last)


def _bounded(rows: Iterable[_Row]) -> Iterator[_Row]:
    """As many as an answer has room for, and one at least: who wants more asks for those behind."""
    room = _LONGEST_ANSWER
    for row in rows:
        yield row
        *_, message, data = row
        room -= len(message) + len(data)
        if room < 0:
            return


def _record(row: _Row) -> LogShown:
    number, attempt, at, level, source, message, data = row
    return LogShown(number, attempt, at, _NAMES[level], source, message, msgspec.json.decode(data))
