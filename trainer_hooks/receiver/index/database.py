"""The index's file: opened, or made anew where it is damaged or of another version."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_VERSION = 4
_BUSY_FOR = 30.0

_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    directory TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    job TEXT NOT NULL,
    status TEXT NOT NULL,
    operation TEXT NOT NULL,
    began REAL NOT NULL,
    last REAL NOT NULL,
    words TEXT NOT NULL,
    told TEXT NOT NULL,
    cursor TEXT NOT NULL,
    beginning INTEGER NOT NULL
);
CREATE INDEX runs_by_run ON runs (run);
CREATE INDEX runs_by_job ON runs (job);
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    axis TEXT NOT NULL,
    UNIQUE (run, name, axis)
);
CREATE TABLE points (
    metric INTEGER NOT NULL REFERENCES metrics ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    x INTEGER NOT NULL,
    time REAL NOT NULL,
    value,
    PRIMARY KEY (metric, attempt, x)
) WITHOUT ROWID;
CREATE TABLE spans (
    metric INTEGER NOT NULL REFERENCES metrics ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    span INTEGER NOT NULL,
    points INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    time REAL NOT NULL,
    low REAL,
    high REAL,
    total REAL,
    finite INTEGER NOT NULL,
    PRIMARY KEY (metric, attempt, span)
) WITHOUT ROWID;
CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    time REAL NOT NULL,
    level INTEGER NOT NULL,
    source TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX logs_of_run ON logs (run, id);
"""


class Database:
    """One file, any number of readers, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_usable():
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            with self.connect() as connection:
                connection.executescript(f"PRAGMA journal_mode = WAL; {_TABLES} PRAGMA user_version = {_VERSION};")

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A connection of the caller's own; what is written takes effect at once, or with `writing`."""
        # What a power loss takes, the journals still have.
        connection = sqlite3.connect(self._path, timeout=_BUSY_FOR, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def writing(self, connection: sqlite3.Connection) -> Iterator[None]:
        """All that is written in the block, or nothing of it."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _is_usable(self) -> bool:
        if not self._path.exists():
            return False
        try:
            with self.connect() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                (fault,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError:
            return False
        return (version, fault) == (_VERSION, "ok")
