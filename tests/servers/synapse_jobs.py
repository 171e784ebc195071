"""Predecessor A's backend for tests, as far as jobs and their logs go: a real HTTP server that enforces A's rules.

`GET`, `PATCH jobs/{id}/`: the fields that A knows, and no others; status names; no way back from a terminal status,
which may be set again as it is. `POST logs/`: an entry or an array of at most 1000, taken as a whole or not at all;
those with a file come alone. `GET logs/`: pages of them.

It misbehaves as `tests.servers.platform.Reply` says.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tests.servers.platform.backend import Answer, Refusal, answer_json
from tests.servers.platform.faults import Faults, Reply
from tests.servers.platform.server import Received
from tests.servers.platform.wire import Exchange, Listener
from tests.waiting import wait_until

TOKENS = {
    "Synapse-Access-Token": "access-3f9a7c51e2",
    "Authorization": "user-3f9a7c51e2",
    "Synapse-Tenant": "tenant-3f9a7c51e2",
}
_TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_MOST = 1000
_LARGEST_FILE = 2_500_000


class _Patch(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"] | None = None
    progress_record: dict[str, Any] | None = None
    metrics_record: dict[str, Any] | None = None
    console_logs: dict[str, Any] | list[dict[str, Any]] | None = None
    result: dict[str, Any] | list[Any] | None = None
    meta: dict[str, Any] | None = None


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    event: Annotated[str, msgspec.Meta(min_length=1)]
    data: dict[str, Any]
    datetime: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    job: str
    step: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    level: Literal["debug", "info", "success", "warning", "danger", "error", "critical"] | None = None
    file: Annotated[str, msgspec.Meta(pattern="^data:image/[a-z]+;base64,")] | None = None


class SynapseServer:
    """Jobs by their ids, and all that was told of them.

    tokens: what requests must carry; None asks for nothing. refuse: entries that it holds to be invalid. stumble: those
    that it answers with a fault of its own. may_list: whether the log can be read. newest_first: its order.
    stopped_by_user: whether STOPPED is answered as the job's status, whatever was told. largest: the bytes that a
    request's body may have. largest_page: how many entries of the log it gives at once, however many are asked for.
    """

    def __init__(self, *jobs: str, tokens: Mapping[str, str] | None = None) -> None:
        self.jobs: dict[str, dict[str, Any]] = {job: {"id": job, "status": "PENDING"} for job in jobs or ("j-1",)}
        self.tokens = tokens
        self.statuses: list[str] = []
        self.progress: list[dict[str, Any]] = []
        self.patches: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.requests: list[Received] = []
        self.refuse: Callable[[dict[str, Any]], bool] = lambda _: False
        self.stumble: Callable[[dict[str, Any]], bool] = lambda _: False
        self.may_list = True
        self.newest_first = False
        self.stopped_by_user = False
        self.largest = 1 << 30
        self.largest_page = 1000
        self._faults = Faults()
        self._lock = threading.Lock()
        self._listener: Listener

    def __enter__(self) -> SynapseServer:
        self._listener = Listener(0, self._exchange)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.stop()
        if error is None and self._listener.failures:
            raise self._listener.failures[0]

    @property
    def url(self) -> str:
        """As SYNAPSE_HOST wants it."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def job(self) -> dict[str, Any]:
        """The first job."""
        return next(iter(self.jobs.values()))

    def entries(self, event: str) -> list[dict[str, Any]]:
        """The log's entries of one kind, in order."""
        return [entry for entry in self.logs if entry["event"] == event]

    def messages(self) -> list[str]:
        """What A's users read."""
        return [entry["data"]["content"] for entry in self.entries("message")]

    def points(self) -> list[tuple[str, str, int, dict[str, Any]]]:
        """The metrics, as (category, key, value, metrics)."""
        found = (entry["data"] for entry in self.entries("metric"))
        return [(data["category"], data["key"], data["value"], data["metrics"]) for data in found]

    def wait_for(self, predicate: Callable[[SynapseServer], object]) -> None:
        """Wait until that is so."""
        wait_until(lambda: predicate(self), what=f"what is waited for; there is {self.jobs} {self.logs}")

    def script(self, replies: Iterable[Reply], path: str = "") -> None:
        """Give these replies, one per request whose path matches, then behave."""
        with self._lock:
            self._faults.script(replies, path)

    def always(self, reply: Reply, path: str = "") -> None:
        """Give this reply to every request whose path matches."""
        with self._lock:
            self._faults.always(reply, path)

    def normal(self) -> None:
        """Behave, from the next request on."""
        with self._lock:
            self._faults.clear()

    def stop_listening(self) -> None:
        """Go down; what was told remains."""
        port, failures = self._listener.port, self._listener.failures
        self._listener.stop()
        self._listener = Listener(port, self._exchange)
        self._listener.failures = failures

    def listen_again(self) -> None:
        """Come up again, on the same port."""
        self._listener.start()

    def _exchange(self, exchange: Exchange) -> None:
        with self._lock:
            content = _decoded(exchange.body)
            self.requests.append(
                Received(exchange.command, exchange.path, exchange.headers, exchange.body, content, 0.0)
            )
            reply = self._faults.take(exchange.path)
            answer = reply.answer or self._handle(exchange, content)
        if reply.commit_then_drop or not exchange.send(answer, reply):
            exchange.drop()

    def _handle(self, exchange: Exchange, content: Any) -> Answer:
        url = urlsplit(exchange.path)
        try:
            self._admit(exchange)
            if url.path == "/logs/" and exchange.command == "POST":
                return answer_json(HTTPStatus.CREATED, self._take_logs(content))
            if url.path == "/logs/" and exchange.command == "GET" and self.may_list:
                return answer_json(HTTPStatus.OK, self._list_logs(parse_qs(url.query)))
            if url.path.startswith("/jobs/") and exchange.command in {"GET", "PATCH"}:
                return answer_json(HTTPStatus.OK, self._take_job(exchange.command, url.path, content))
        except Refusal as refusal:
            return refusal.answer
        return answer_json(HTTPStatus.NOT_FOUND, {"detail": "Not found."})

    def _admit(self, exchange: Exchange) -> None:
        for name, token in (self.tokens or {}).items():
            if exchange.headers.get(name) != f"Token {token}":
                raise Refusal(HTTPStatus.UNAUTHORIZED, f"Invalid token: {exchange.headers.get(name)}")
        if len(exchange.body) > self.largest:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request body exceeded what it may be.")

    def _take_job(self, method: str, path: str, content: Any) -> dict[str, Any]:
        job = self.jobs.get(unquote(path.removeprefix("/jobs/").removesuffix("/")))
        if job is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "Not found.")
        if method == "PATCH":
            _convert(content, _Patch)
            status = content.get("status", job["status"])
            if job["status"] in _TERMINAL and status != job["status"]:
                raise Refusal(HTTPStatus.BAD_REQUEST, f"INVALID_TRANSITION: {job['status']} -> {status}")
            self.statuses += [content["status"]] if "status" in content else []
            self.progress += [content["progress_record"]] if "progress_record" in content else []
            self.patches.append(content)
            job.update(content)
        return {**job, "status": "STOPPED"} if self.stopped_by_user else job

    def _take_logs(self, content: Any) -> Any:
        entries = content if isinstance(content, list) else [content]
        if len(entries) > _MOST:
            raise Refusal(HTTPStatus.BAD_REQUEST, "BULK_SIZE_EXCEEDED")
        if any(map(self.stumble, entries)):
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "DataError")
        for entry in entries:
            told = _convert(entry, _Entry)
            if told.job not in self.jobs or self.refuse(entry):
                raise Refusal(HTTPStatus.BAD_REQUEST, f"invalid entry: {entry['data']}")
            if told.file is not None and (isinstance(content, list) or len(told.file) > _LARGEST_FILE):
                raise Refusal(HTTPStatus.BAD_REQUEST, "a file comes alone, and is no larger than that")
        self.logs += entries
        return content

    def _list_logs(self, query: dict[str, list[str]]) -> dict[str, Any]:
        found = [entry for entry in self.logs if entry["job"] == query["job"][0]][:: -1 if self.newest_first else 1]
        size, page = min(int(query["page_size"][0]), self.largest_page), int(query["page"][0])
        shown = [{**entry, "datetime": entry["datetime"].replace("+00:00", "Z")} for entry in found]
        return {"count": len(found), "next": None, "results": shown[size * (page - 1) : size * page]}


def _decoded(body: bytes) -> Any:
    return msgspec.json.decode(body) if body else None


def _convert(content: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
