"""Parquet: one row for each value."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer_hooks.cli.exports.points import missing, points_of
from trainer_hooks.history import RunHistory

_ROWS_AT_ONCE = 50_000


def write_parquet(histories: Sequence[RunHistory], place: Path) -> None:
    """One file of all runs, with the columns run, attempt, metric, axis, step, time (UTC) and value.

    Raises:
        MissingPackage: if pyarrow isn't installed.
        OSError: if it can't be written; what was there before is then as it was.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise missing("pyarrow", error) from error
    texts = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            ("run", texts),
            ("attempt", pa.int32()),
            ("metric", texts),
            ("axis", texts),
            ("step", pa.int64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("value", pa.float64()),
        ]
    )
    building = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(building, schema, compression="zstd") as writer:
            rows = _rows(histories)
            while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.table([list(column) for column in zip(*some, strict=True)], schema=schema))
        building.replace(place)
    finally:
        building.unlink(missing_ok=True)


def _rows(histories: Sequence[RunHistory]) -> Iterator[tuple[Any, ...]]:
    for history in histories:
        for point in points_of(history.directory):
            at = round(point.time * 1_000_000)
            yield history.run, point.attempt, point.metric, point.axis, point.step, at, point.value
