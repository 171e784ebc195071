"""Curves, asked of the index: as many points as a screen has room for, and no extreme value left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from trainer_hooks.receiver.index.points import SPAN
from trainer_hooks.receiver.shown import Value

Axis: TypeAlias = Literal["epoch", "iteration"]


@dataclass(frozen=True)
class MetricShown:
    """A metric of a run, and where its values lie."""

    name: str
    axis: Axis
    points: int
    first: int
    last: int
    value: Value


@dataclass(frozen=True)
class Curve:
    """A metric in one attempt. Where `points` are more than were asked for, `x` has the first of each bucket.

    `low`, `high` and `mean` are of the finite values in it; null where there is none. `time` is that of `x`.
    `not_finite` are the places of values that are no finite number, a thousand of them at most.
    """

    metric: str
    axis: Axis
    attempt: int
    points: int
    x: list[int]
    time: list[float]
    low: list[float | None]
    high: list[float | None]
    mean: list[float | None]
    not_finite: list[int]


_METRICS = """
SELECT metrics.name, metrics.axis, SUM(spans.points), MIN(spans.first), MAX(spans.last),
    (SELECT value FROM points WHERE metric = metrics.id ORDER BY attempt DESC, x DESC LIMIT 1)
FROM metrics JOIN spans ON spans.metric = metrics.id JOIN runs ON runs.id = metrics.run
WHERE runs.run = ? GROUP BY metrics.id ORDER BY metrics.id
"""
_FOUND = """
SELECT metrics.id, metrics.axis, attempt, SUM(spans.points), MIN(spans.first), MAX(spans.last),
    SUM(spans.points) > SUM(finite)
FROM metrics JOIN spans ON spans.metric = metrics.id JOIN runs ON runs.id = metrics.run
WHERE runs.run = ? AND metrics.name = ? GROUP BY metrics.id, attempt ORDER BY attempt
"""
_OF_POINTS = """
SELECT MIN(x), MIN(time), MIN(number), MAX(number), AVG(number) FROM (
    SELECT x, time, CASE WHEN typeof(value) = 'text' THEN NULL ELSE value END AS number
    FROM points WHERE metric = ?1 AND attempt = ?2 AND x BETWEEN ?3 AND ?4
) GROUP BY (x - ?3) / ?5 ORDER BY 1
"""
_OF_SPANS = """
SELECT MIN(first), MIN(time), MIN(low), MAX(high), SUM(total) / NULLIF(SUM(finite), 0)
FROM spans WHERE metric = ?1 AND attempt = ?2 AND span BETWEEN ?3 AND ?4 GROUP BY (span - ?3) / ?5 ORDER BY 1
"""
_NOT_FINITE = "SELECT x FROM points WHERE metric = ? AND attempt = ? AND typeof(value) = 'text' ORDER BY x LIMIT 1000"


def metrics_of(connection: sqlite3.Connection, run: str) -> list[MetricShown]:
    """All metrics of the run, in the order in which they were first told."""
    return [MetricShown(*row) for row in connection.execute(_METRICS, [run])]


def curves_of(
    connection: sqlite3.Connection,
    run: str,
    names: Sequence[str],
    axis: Axis | None,
    points: int,
    within: tuple[int, int] | None = None,
) -> list[Curve]:
    """The curves of these metrics, in `points` buckets at most; one for each attempt, in order.

    Where no axis is asked for, each metric has that of its epochs if it has one, else that of its iterations. `within`
    is the part of the axis to be shown.
    """
    curves: list[Curve] = []
    for name in names:
        found = [_Found(*row) for row in connection.execute(_FOUND, [run, name])]
        chosen = axis or ("epoch" if any(one.axis == "epoch" for one in found) else "iteration")
        for one in found:
            if one.axis == chosen:
                rows = _buckets(connection, one, within or (one.first, one.last), points)
                x, time, low, high, mean = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
                gaps = _not_finite(connection, one)
                curves.append(Curve(name, chosen, one.attempt, one.points, x, time, low, high, mean, gaps))
    return curves


class _Found(NamedTuple):
    metric: int
    axis: Axis
    attempt: int
    points: int
    first: int
    last: int
    has_not_finite: int


def _buckets(connection: sqlite3.Connection, found: _Found, within: tuple[int, int], points: int) -> list[Any]:
    first, last = max(found.first, within[0]), min(found.last, within[1])
    width = max(1, -(-(last - first + 1) // points))
    if width < SPAN:
        return connection.execute(_OF_POINTS, [found.metric, found.attempt, first, last, width]).fetchall()
    # Wide enough to be told from spans, whose bounds are then those of the buckets.
    start, end = first // SPAN, last // SPAN
    spans = max(1, -(-(end - start + 1) // points))
    return connection.execute(_OF_SPANS, [found.metric, found.attempt, start, end, spans]).fetchall()


def _not_finite(connection: sqlite3.Connection, found: _Found) -> list[int]:
    if not found.has_not_finite:
        return []
    return [x for (x,) in connection.execute(_NOT_FINITE, [found.metric, found.attempt])]
