"""Runs, asked of the index: lists with filters, and one with all its attempts."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from trainer_hooks.journal import owner, read_headers
from trainer_hooks.liveness import load_liveness
from trainer_hooks.process import is_alive
from trainer_hooks.receiver.jobs import Jobs
from trainer_hooks.receiver.residents import is_resident_stopping
from trainer_hooks.receiver.shown import AttemptShown, Heartbeat, RunShown, RunTold, Shown

Order: TypeAlias = Literal["began", "last", "run", "status"]
_MISSED = 3
_OPEN: tuple[Shown, ...] = ("opened", "running")
_DESCENDING = {"began": "DESC", "last": "DESC", "run": "ASC", "status": "ASC"}


@dataclass(frozen=True)
class Wanted:
    """Which runs a list is to hold, and which part of it."""

    status: tuple[Shown, ...] = ()
    operation: str | None = None
    job: str | None = None
    search: str = ""
    order: Order = "began"
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class RunList:
    """A part of a list; `total` is how many runs all of it has, `counts` how many of them stand how."""

    runs: list[RunShown]
    total: int
    counts: dict[str, int]


class Lists:
    """Reads runs from the index, and adds what no journal holds: whether they still live."""

    def __init__(self, root: Path, jobs: Jobs, heartbeat: float) -> None:
        """`heartbeat` is how many seconds lie between two signs of life."""
        self._root = root
        self._jobs = jobs
        self._silence = _MISSED * heartbeat

    def settle(self, connection: sqlite3.Connection) -> None:
        """Note in the index which of the runs that have not ended are lost by now."""
        rows = connection.execute("SELECT id, directory, status, told FROM runs WHERE status IN (?, ?, 'lost')", _OPEN)
        for number, directory, status, told in rows.fetchall():
            shown = msgspec.json.decode(told, type=RunTold)
            now = self._status(self._root / directory, shown.summary)
            if now != status:
                connection.execute("UPDATE runs SET status = ? WHERE id = ?", [now, number])

    def find(self, connection: sqlite3.Connection, wanted: Wanted) -> RunList:
        """The runs that are wanted."""
        where, values = _conditions(wanted)
        of_all = f"SELECT status, COUNT(*) FROM runs WHERE {where} GROUP BY status"  # noqa: S608 - no value is in it
        counts = dict(connection.execute(of_all, values).fetchall())
        if wanted.status:
            where += f" AND status IN ({', '.join('?' * len(wanted.status))})"
            values = [*values, *wanted.status]
        order = f"{wanted.order} {_DESCENDING[wanted.order]}, id"
        query = f"SELECT directory, status, told FROM runs WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - as above
        rows = connection.execute(query, [*values, wanted.limit, wanted.offset]).fetchall()
        found = [
            self._with_wish(replace(msgspec.json.decode(told, type=RunTold).summary, status=status), directory)
            for directory, status, told in rows
        ]
        total = sum(count for status, count in counts.items() if not wanted.status or status in wanted.status)
        return RunList(found, total, counts)

    def get(self, connection: sqlite3.Connection, run: str) -> RunTold | None:
        """The run with all its attempts; None if there is none."""
        row = connection.execute("SELECT directory, told FROM runs WHERE run = ?", [run]).fetchone()
        if row is None:
            return None
        directory, told = self._root / row[0], msgspec.json.decode(row[1], type=RunTold)
        status = self._status(directory, told.summary)
        *before, newest = told.attempts
        return RunTold(
            self._with_wish(replace(told.summary, status=status), row[0]),
            [*before, replace(newest, status=status)],
            _heartbeat(directory, newest),
        )

    def of_job(self, connection: sqlite3.Connection, job: str) -> list[RunShown]:
        """The runs of a job, the newest first."""
        return self.find(connection, Wanted(job=job, limit=100)).runs

    def _with_wish(self, run: RunShown, directory: str) -> RunShown:
        wanted = self._jobs.cancelled(run.job) is not None
        # An attempt that began later is told so only where it asks.
        if wanted and run.status in _OPEN and is_resident_stopping(self._root / directory) is False:
            wanted = False
        return replace(run, cancelled=wanted)

    def _status(self, directory: Path, shown: RunShown) -> Shown:
        """As its events say; one that has fallen silent is lost."""
        if shown.status not in _OPEN:
            return shown.status
        headers = read_headers(directory)
        if headers and is_alive(owner(headers).process) is False:
            return "lost"
        newest = _beat_at(directory)
        silent = newest is not None and time.time() - max(newest, shown.last) > self._silence
        return "lost" if silent else shown.status


def _conditions(wanted: Wanted) -> tuple[str, list[Any]]:
    conditions = {
        "operation = ?": wanted.operation,
        "job = ?": wanted.job,
    }
    found = {condition: value for condition, value in conditions.items() if value is not None}
    words = wanted.search.lower().split()
    texts = [r"words LIKE ? ESCAPE '\'"] * len(words)
    return " AND ".join(["1", *found, *texts]), [*found.values(), *(f"%{_escaped(word)}%" for word in words)]


def _escaped(word: str) -> str:
    return "".join(f"\\{character}" if character in r"\%_" else character for character in word)


def _heartbeat(directory: Path, newest: AttemptShown) -> Heartbeat | None:
    beat, came = load_liveness(directory), _beat_at(directory)
    if beat is None or came is None or beat.attempt != newest.number or newest.status not in _OPEN:
        return None
    return Heartbeat(max(0.0, time.time() - came), beat.state, beat.idle)


def _beat_at(directory: Path) -> float | None:
    """When the newest sign of life came, by this machine's clock."""
    try:
        return (directory / "alive.json").stat().st_mtime
    except FileNotFoundError:
        return None
