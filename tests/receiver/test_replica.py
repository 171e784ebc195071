"""A replica of a log, without a database: what it does with requests that can't be done."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

WHY = "PostgreSQL has an environment of its own: make test-postgres"
pytest.importorskip("psycopg_pool", reason=WHY)

from trainer_hooks.receiver.clock import now  # noqa: E402 - behind what may be missing
from trainer_hooks.receiver.postgres.log import Entry, Request  # noqa: E402
from trainer_hooks.receiver.postgres.replica import Replica  # noqa: E402


class Log:
    """As PostgreSQL's, in memory."""

    id = "one"

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.lost = 0

    def append(self, request: Request, *, replaces_path: bool = False) -> int:
        assert not replaces_path
        self.entries.append(Entry(len(self.entries) + 1, time.time(), request))
        return len(self.entries) + self.lost

    def read(self, after: int) -> list[Entry]:
        return self.entries[after:]


class App:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.done: list[tuple[bytes, float]] = []
        self.disk_refuses = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"] == "/api/v1/x"
        body = (await receive())["body"]
        if body == b"boom":
            raise ValueError(body)
        if not self.disk_refuses:
            self.done.append((body, now()))
        status = 503 if self.disk_refuses else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def replica(root: Path, app: App, log: Log) -> Replica:
    (root / ".#receiver").mkdir(parents=True, exist_ok=True)
    return Replica(app, log, root)  # type: ignore[arg-type]


def post(*bodies: bytes, to: Replica) -> list[int]:
    async def all_of_them() -> list[int]:
        return [await one(body) for body in bodies]

    async def one(body: bytes) -> int:
        said: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/v1/x", "headers": [], "query_string": b""}
        await to(scope, receive, send)
        return said[0]["status"]

    return asyncio.run(all_of_them())


def test_one_that_fails_holds_up_nothing_behind_it(tmp_path: Path) -> None:
    app = App()
    assert post(b"a", b"boom", b"b", to=replica(tmp_path, app, Log())) == [200, 500, 200]
    assert [body for body, _ in app.done] == [b"a", b"b"]


def test_what_the_disk_does_not_take_is_done_once_it_does(tmp_path: Path) -> None:
    app, log = App(), Log()
    app.disk_refuses = True
    assert post(b"a", to=replica(tmp_path, app, log)) == [503]
    app.disk_refuses = False
    assert post(b"b", to=replica(tmp_path, app, log)) == [200]
    assert [body for body, _ in app.done] == [b"a", b"b"]


def test_a_replica_goes_on_where_it_was_and_a_new_one_does_all_of_it_as_of_then(tmp_path: Path) -> None:
    log, first, again, new = Log(), App(), App(), App()
    post(b"a", to=replica(tmp_path / "one", first, log))
    post(b"b", to=replica(tmp_path / "one", again, log))
    post(b"c", to=replica(tmp_path / "new", new, log))
    assert [body for body, _ in again.done] == [b"b"]
    assert [body for body, _ in new.done] == [b"a", b"b", b"c"]
    assert [at for _, at in new.done] == [entry.came_at for entry in log.entries]


def test_one_that_was_replaced_before_it_was_read_is_asked_for_again(tmp_path: Path) -> None:
    app, log = App(), Log()
    log.lost = 1
    assert post(b"a", to=replica(tmp_path, app, log)) == [503]
