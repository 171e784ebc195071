"""A receiver that does what the log says, in its order, on a directory of its own.

A request that changes something is put into the log, and answered once all up to it has been done here, in the way in
which every other receiver does it. So the rules are in one place, for one receiver and for many: this is ASGI, and
knows nothing of runs. To do a request again changes nothing: after a crash, the last ones are.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.errors import SetupError
from trainer_hooks.files import write_whole
from trainer_hooks.history import list_runs
from trainer_hooks.receiver.clock import as_of
from trainer_hooks.receiver.guard import BASE, READING, App, Receive, Scope, Send, path_of
from trainer_hooks.receiver.inbox import own_directory
from trainer_hooks.receiver.postgres.log import Entry, Log, Request, Unreachable

_log = logging.getLogger("trainer_hooks")
_FILE = "replica.json"
_KEPT_HEADERS = (b"content-type", b"idempotency-key")
_KEPT_ANSWERS = 1000
_FOLLOW_EVERY = 1.0
_DISK_REFUSES = 503
# They change nothing, or go into the store that all receivers share.
_NONE_OF_THE_LOGS = re.compile(r"/objects/|/runs/[^/]+/images/|/checkpoints/upload-url$")
_RETRY_AFTER = b"5"
_COLLECTIONS = b"/trainer-hooks/data-collections"
_MODELS = b"/trainer-hooks/models"


class Place(msgspec.Struct, frozen=True):
    """Which log's replica a directory is, and up to where."""

    log: str
    position: int = 0


class Replica:
    """The application, behind the log."""

    def __init__(self, app: App, log: Log, root: Path) -> None:
        """`root` is this receiver's directory of runs."""
        self._app = app
        self._log = log
        self._file = own_directory(root) / _FILE
        self._place = check_place(root, log)
        self._name = uuid.uuid4().hex
        self._turn = asyncio.Lock()
        self._answers: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._is_behind = False
        self._following: asyncio.Task[None] | None = None
        self._outer: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._following is None:
            self._outer = scope.get("app")
            self._following = asyncio.create_task(self._follow())
        path = path_of(scope)
        if scope["method"] in READING or not path.startswith(BASE) or _NONE_OF_THE_LOGS.search(path):
            # Where the database is away nobody waits: `_follow` finds out when it is there again.
            if not self._is_behind:
                await self._catch_up_if_possible()
            await self._app(scope, receive, send)
            return
        try:
            request = await _whole(scope, receive, self._name)
            position = await asyncio.to_thread(self._log.append, request, replaces_path=path.endswith("/heartbeat"))
            await self._catch_up()
        except OSError as error:
            await _refuse(send, error)
            return
        # A heartbeat may have been replaced before anybody has read it.
        for message in self._answers.pop(position, None) or _failure(503, "a newer one has come", []):
            await send(message)

    async def _follow(self) -> None:
        """For those who wait for what is told elsewhere."""
        while True:
            await asyncio.sleep(_FOLLOW_EVERY)
            await self._catch_up_if_possible()

    async def _catch_up_if_possible(self) -> None:
        """Reading goes on without the database, with what is here."""
        try:
            await self._catch_up()
        except OSError as error:
            if not self._is_behind:
                _log.warning("what is shown may be behind: %s", error)
            self._is_behind = True
        else:
            self._is_behind = False

    async def _catch_up(self) -> None:
        async with self._turn:
            while entries := await asyncio.to_thread(self._log.read, self._place.position):
                for entry in entries:
                    answer = await self._do(entry)
                    if entry.request.by == self._name:
                        self._answers[entry.position] = answer
                    self._place = Place(self._place.log, entry.position)
                write_whole(self._file, msgspec.json.encode(self._place))
            while len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)

    async def _do(self, entry: Entry) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = []

        async def keep(message: Any) -> None:
            answer.append(dict(message))

        with as_of(entry.came_at):
            try:
                scope = {**_scope(entry), "app": self._outer}
                await self._app(scope, _giving(_settled(entry)), keep)
            except Exception:
                # As it is on every other receiver; what comes behind it is not to blame.
                _log.exception("request %d of the log can't be done", entry.position)
                answer = _failure(500, "this can't be done", [])
        if answer[0]["status"] == _DISK_REFUSES:
            raise Unreachable("this receiver's own disk doesn't take it")  # it is done once that does
        return answer


def check_place(root: Path, log: Log) -> Place:
    """Up to where that directory has what the log holds.

    Raises:
        SetupError: if it holds other runs than the log's.
    """
    try:
        place = msgspec.json.decode((own_directory(root) / _FILE).read_bytes(), type=Place)
    except (FileNotFoundError, msgspec.MsgspecError):
        if next(iter(list_runs(root)), None) is not None:
            message = f"{root} holds runs that are not in the database: name an empty directory with --dir"
            raise SetupError(message) from None
        return Place(log.id)
    if place.log != log.id:
        message = f"{root} belongs to another database: name another directory with --dir, or remove it"
        raise SetupError(message)
    return place


async def _whole(scope: Scope, receive: Receive, by: str) -> Request:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(name, value) for name, value in scope["headers"] if name in _KEPT_HEADERS]
    path = path_of(scope).encode("utf-8", "surrogatepass")
    return Request(scope["method"], path, scope.get("query_string", b""), headers, body, by)


def _scope(entry: Entry) -> Scope:
    request = entry.request
    headers = list(request.headers)
    if request.path.endswith(_MODELS) and not any(name == b"idempotency-key" for name, _ in headers):
        headers.append((b"idempotency-key", b"log-%d" % entry.position))  # to be done again without another model
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path.decode("utf-8", "surrogatepass"),
        "root_path": "",
        "query_string": request.query,
        "headers": headers,
        "client": None,
        "server": None,
    }


def _settled(entry: Entry) -> bytes:
    """The body; a data collection without an id has its place in the log as one."""
    body = entry.request.body
    if not entry.request.path.endswith(_COLLECTIONS):
        return body
    try:
        wanted = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:  # for the route to refuse
        return body
    told = {key: value for key, value in wanted.items() if value is not None}
    return msgspec.json.encode({"id": entry.position, **told})


def _giving(body: bytes) -> Receive:
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await asyncio.Event().wait()  # whoever asks again waits for the caller to leave, which this one never does
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _refuse(send: Send, error: OSError) -> None:
    for message in _failure(503, str(error), [(b"retry-after", _RETRY_AFTER)]):
        await send(message)


def _failure(status: int, detail: str, headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    headers = [(b"content-type", b"application/json"), *headers]
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": msgspec.json.encode({"detail": detail})},
    ]
