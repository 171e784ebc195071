"""Brings the index up to the journals: whoever has written them, and however far it was."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from trainer_hooks.events import Level, Logged, Record
from trainer_hooks.history import list_runs
from trainer_hooks.journal import Cursor, Reader, read_headers, segments, sizes
from trainer_hooks.receiver.index.database import Database
from trainer_hooks.receiver.index.points import put_points
from trainer_hooks.receiver.index.telling import Telling

_log = logging.getLogger("trainer_hooks")
LEVELS: dict[Level, int] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
_AT_ONCE = 5000
_KEPT = 512
_LOOK_EVERY = 0.5
_PATIENCE = 5.0
_LONGEST_BEGINNING = 1 << 16

_PUT_RUN = """
INSERT INTO runs (directory, run, job, status, operation, began, last, words, told, cursor, beginning)
VALUES (:directory, :run, :job, :status, :operation, :began, :last, :words, :told, :cursor, :beginning)
ON CONFLICT (directory) DO UPDATE SET run = :run, job = :job, status = :status, operation = :operation, began = :began,
    last = :last, words = :words, told = :told, cursor = :cursor, beginning = :beginning
RETURNING id
"""
_PUT_LOG = "INSERT INTO logs (run, attempt, time, level, source, message, data) VALUES (?, ?, ?, ?, ?, ?, ?)"


class _Known(NamedTuple):
    """How far the index knows a run, and what that run began with."""

    cursor: str
    beginning: int


class _Place(NamedTuple):
    """How far a run directory has been read."""

    directory: Path
    cursor: Cursor
    beginning: int


_UNKNOWN = _Known("{}", 0)


class Follower:
    """The only one that writes into the index. Safe to use from any thread."""

    def __init__(self, root: Path, database: Database) -> None:
        self._root = root
        self._database = database
        self._lock = threading.Lock()
        self._told: OrderedDict[Path, tuple[Telling, Cursor]] = OrderedDict()
        self._looked = float("-inf")

    def follow_all(self) -> None:
        """Bring every run up to now; what was looked at a moment ago counts as now.

        Where another thread is at it for long, as with a large directory that is read for the first time, the index
        stays as it is by then.
        """
        with self._alone() as alone:
            if not alone or time.monotonic() - self._looked < _LOOK_EVERY:
                return
            with self._database.connect() as connection:
                rows = connection.execute("SELECT directory, cursor, beginning FROM runs")
                known = {name: _Known(*state) for name, *state in rows}
                found = {directory.name: directory for directory in list_runs(self._root)}
                for name in known.keys() - found.keys():
                    self._forget(connection, name)
                for name, directory in found.items():
                    self._try_to_catch_up(connection, directory, known.get(name, _UNKNOWN))
            self._looked = time.monotonic()

    def follow(self, directory: Path) -> None:
        """Bring one run up to now; see `follow_all`."""
        with self._alone() as alone, self._database.connect() as connection:
            if not alone:
                return
            query = "SELECT cursor, beginning FROM runs WHERE directory = ?"
            row = connection.execute(query, [directory.name]).fetchone()
            if directory.is_dir():
                self._try_to_catch_up(connection, directory, _Known(*row) if row else _UNKNOWN)
            elif row:
                self._forget(connection, directory.name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        held = self._lock.acquire(timeout=_PATIENCE)
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def _forget(self, connection: sqlite3.Connection, name: str) -> None:
        self._told.pop(self._root / name, None)
        connection.execute("DELETE FROM runs WHERE directory = ?", [name])

    def _try_to_catch_up(self, connection: sqlite3.Connection, directory: Path, known: _Known) -> None:
        try:
            self._catch_up(connection, directory, known)
        except (OSError, sqlite3.OperationalError, ArithmeticError) as error:
            # One that can't be read, or counted with, hides none of the others.
            _log.warning("run %s can't be brought into the index: %s", directory.name, error)

    def _catch_up(self, connection: sqlite3.Connection, directory: Path, known: _Known) -> None:
        cursor, ends = msgspec.json.decode(known.cursor, type=Cursor), sizes(directory)
        if ends == cursor:
            return
        beginning = _beginning(directory)
        if cursor and beginning != known.beginning:
            self._forget(connection, directory.name)  # another run has taken its place
            cursor = {}
        telling, reader = self._telling(directory, cursor)
        while found := reader.read(_AT_ONCE):
            records = [item for item in found if isinstance(item, Record)]
            for record in records:
                telling.apply(record)
            if telling.header is not None:
                with self._database.writing(connection):
                    self._put(connection, telling, records, _Place(directory, reader.cursor, beginning))
        self._told[directory] = telling, dict(reader.cursor)
        self._told.move_to_end(directory)
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)

    def _telling(self, directory: Path, cursor: Cursor) -> tuple[Telling, Reader]:
        """What is known of the run up to the cursor, and a reader that goes on from there."""
        telling, known = self._told.get(directory) or (Telling(read_headers(directory)), {})
        if known != cursor:  # the index knows more than this process: it is read once more, and not put in again
            telling = Telling(read_headers(directory))
            for record in _up_to(directory, cursor):
                telling.apply(record)
        return telling, Reader(directory, cursor)

    def _put(self, connection: sqlite3.Connection, telling: Telling, records: list[Record], place: _Place) -> None:
        told = telling.show()
        summary = told.summary
        words = (
            summary.run,
            summary.job,
            summary.action,
            summary.model,
            summary.framework,
            summary.task,
            summary.host,
        )
        row = {
            "directory": place.directory.name,
            **{name: getattr(summary, name) for name in ("run", "job", "status", "operation", "began", "last")},
            "words": "\n".join(word for word in words if word).lower(),
            "told": msgspec.json.encode(told).decode(),
            "cursor": msgspec.json.encode(place.cursor).decode(),
            "beginning": place.beginning,
        }
        (run,) = connection.execute(_PUT_RUN, row).fetchone()
        put_points(connection, run, records)
        connection.executemany(_PUT_LOG, _logs(run, records))


def _beginning(directory: Path) -> int:
    """What tells a run from another one in the same place: its first line holds random parts, and the time."""
    for _, path in segments(directory):
        with path.open("rb") as file:
            return zlib.crc32(file.readline(_LONGEST_BEGINNING))
    return 0


def _up_to(directory: Path, cursor: Cursor) -> Iterator[Record]:
    reader = Reader(directory)
    while found := reader.read(_AT_ONCE):
        for item in found:
            if isinstance(item, Record) and item.end <= cursor.get(item.segment, 0):
                yield item


def _logs(run: int, records: list[Record]) -> Iterator[tuple[int, int, float, int, str, str, str]]:
    for record in records:
        event = record.event
        if isinstance(event, Logged):
            data = msgspec.json.encode(event.data).decode()
            yield run, record.attempt, record.time, LEVELS[event.level], event.source, event.message, data
