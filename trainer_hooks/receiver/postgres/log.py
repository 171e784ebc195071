"""The log of all requests that change something, in PostgreSQL.

A position is given while a lock is held until the commit: so whoever has read up to one has missed none before it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolTimeout

from trainer_hooks.errors import InvalidSetting, SetupError
from trainer_hooks.settings import without_userinfo

_VERSION = 1
LOCK = 0x7472_6169_6E68  # "trainh"
"""The advisory lock that whoever appends to the log holds."""

_CONNECT_WITHIN = 10.0
_CONNECTIONS = 4
# No wait without an end: for a receiver that has been cut off in the middle of its turn, or a server that is gone.
_PATIENCE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=10s -c lock_timeout=10s -c idle_in_transaction_session_timeout=10s",
}
_AT_ONCE = 100
_TABLES = """
CREATE TABLE IF NOT EXISTS trainer_hooks_log (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    came_at double precision NOT NULL,
    request bytea NOT NULL,
    replaces text UNIQUE
);
CREATE TABLE IF NOT EXISTS trainer_hooks_meta (version integer NOT NULL, id text NOT NULL);
"""


_READ = """
SELECT position, came_at, request FROM trainer_hooks_log WHERE position > %s ORDER BY position LIMIT %s
"""
_APPEND = "INSERT INTO trainer_hooks_log (came_at, request, replaces) VALUES (%s, %s, %s) RETURNING position"


class Unreachable(OSError):
    """The database can't be asked now."""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request, whole. Names of headers are in lower case; `by` is the receiver that it came to."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    by: str = ""


@dataclass(frozen=True)
class Entry:
    """A request in the log, and when it came (unix seconds)."""

    position: int
    came_at: float
    request: Request


class Log:
    """One database's log. Safe to use from any thread."""

    def __init__(self, url: str) -> None:
        """Connect, and make the tables where they aren't there.

        Raises:
            SetupError: if the database can't be had, or is of a later version.
        """
        _check(url)
        # Asked before it is used, so that a database that was started anew is not taken for one that is gone.
        self._pool = ConnectionPool(
            url,
            kwargs=_PATIENCE,
            min_size=1,
            max_size=_CONNECTIONS,
            open=False,
            timeout=_CONNECT_WITHIN,
            check=ConnectionPool.check_connection,
        )
        try:
            self._pool.open(wait=True, timeout=_CONNECT_WITHIN)
            with self._pool.connection() as connection:
                self.id = _prepare(connection)
        except SetupError:
            self._pool.close()
            raise
        except (psycopg.Error, PoolTimeout) as error:
            self._pool.close()
            message = f"the database {without_userinfo(url)} can't be had: {error}; is TRAINER_HOOKS_SERVE_STORE right?"
            raise SetupError(message) from error

    def close(self) -> None:
        """Let the connections go."""
        self._pool.close()

    def append(self, request: Request, *, replaces_path: bool = False) -> int:
        """Keep the request; returns its position once it is committed.

        With `replaces_path` it takes the place of the one before at the same path.

        Raises:
            Unreachable: if the database doesn't take it now; it may have been kept all the same.
        """
        replaced = hashlib.sha256(request.path).hexdigest() if replaces_path else None
        with self._connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            if replaced:
                connection.execute("DELETE FROM trainer_hooks_log WHERE replaces = %s", [replaced])
            found = connection.execute(_APPEND, [time.time(), msgspec.msgpack.encode(request), replaced])
            (position,) = found.fetchone() or (0,)
        return int(position)

    def read(self, after: int) -> list[Entry]:
        """The next entries behind that position; empty if there are none.

        Raises:
            Unreachable: if the database can't be asked now.
        """
        with self._connection() as connection:
            found = connection.execute(_READ, [after, _AT_ONCE]).fetchall()
        return [Entry(position, at, msgspec.msgpack.decode(request, type=Request)) for position, at, request in found]

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout) as error:
            message = f"the database can't be asked: {error}"
            raise Unreachable(message) from error


def _check(url: str) -> None:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # whose text quotes the password
        message = (
            "TRAINER_HOOKS_SERVE_STORE is no address of a database: it takes postgresql://user:password@host/name, "
            "with special characters of the password percent-encoded"
        )
        raise InvalidSetting(message) from None


def _prepare(connection: psycopg.Connection[Any]) -> str:
    """Make what isn't there; returns which log it is."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(_TABLES)
        known = connection.execute("SELECT version, id FROM trainer_hooks_meta").fetchone()
        if known is None:
            known = (_VERSION, uuid.uuid4().hex)
            connection.execute("INSERT INTO trainer_hooks_meta VALUES (%s, %s)", known)
    version, identity = known
    if version > _VERSION:
        message = (
            f"the database is of version {version} of trainer_hooks' tables, and this is {_VERSION}: update this server"
        )
        raise SetupError(message)
    return str(identity)
