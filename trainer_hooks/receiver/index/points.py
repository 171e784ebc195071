"""The points of curves in the index, and spans of them: what a curve of a million points is drawn from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from trainer_hooks.events import Record, Scalar
from trainer_hooks.history import measured_at

SPAN = 64
"""How many places of an axis are told of in one row of `spans`."""
_LARGEST = 2**63 - 1  # that SQLite takes

_PUT_POINT = """
INSERT INTO points (metric, attempt, x, time, value) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET time = excluded.time, value = excluded.value
"""
# Told anew from the points, and not added to: a repeated point replaces the earlier one. Text is no finite number.
_PUT_SPAN = """
INSERT OR REPLACE INTO spans (metric, attempt, span, points, first, last, time, low, high, total, finite)
SELECT metric, attempt, ?3, COUNT(*), MIN(x), MAX(x), MIN(time), MIN(number), MAX(number), TOTAL(number), COUNT(number)
FROM (
    SELECT metric, attempt, x, time, CASE WHEN typeof(value) = 'text' THEN NULL ELSE value END AS number
    FROM points WHERE metric = ?1 AND attempt = ?2 AND x BETWEEN ?4 AND ?5
)
"""


def put_points(connection: sqlite3.Connection, run: int, records: Iterable[Record]) -> None:
    """Put in what these records of a run tell of curves."""
    points = list(_points(connection, run, records))
    connection.executemany(_PUT_POINT, points)
    touched = {(metric, attempt, x // SPAN) for metric, attempt, x, _, _ in points}
    bounds = ((metric, attempt, span, span * SPAN, span * SPAN + SPAN - 1) for metric, attempt, span in sorted(touched))
    connection.executemany(_PUT_SPAN, bounds)


def _points(
    connection: sqlite3.Connection, run: int, records: Iterable[Record]
) -> Iterator[tuple[int, int, int, float, float | str]]:
    numbers: dict[tuple[str, str], int] = {}
    for record in records:
        axis, x, metrics = measured_at(record)
        if abs(x) > _LARGEST - SPAN:
            continue
        for name, value in metrics.items():
            number = numbers.get((name, axis))
            if number is None:
                number = numbers[name, axis] = _number_of(connection, run, name, axis)
            yield number, record.attempt, x, record.time, _storable(value)


def _storable(value: Scalar) -> float | str:
    if not isinstance(value, int) or abs(value) <= _LARGEST:
        return value
    try:
        return float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"


def _number_of(connection: sqlite3.Connection, run: int, name: str, axis: str) -> int:
    connection.execute("INSERT OR IGNORE INTO metrics (run, name, axis) VALUES (?, ?, ?)", [run, name, axis])
    found = connection.execute("SELECT id FROM metrics WHERE (run, name, axis) = (?, ?, ?)", [run, name, axis])
    number: int = found.fetchone()[0]
    return number
