"""What the tests' servers of backends have in common: real HTTP on loopback, recorded, and told to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from tests.servers.platform.backend import Answer, answer_json
from tests.servers.platform.faults import Faults, Reply
from tests.servers.platform.wire import Exchange, Listener

_KEPT = 64 << 20


class Refusal(Exception):
    """The answer instead of the work's own."""

    def __init__(self, status: int, **content: Any) -> None:
        super().__init__(status)
        self.answer = answer_json(status, content)


@dataclass
class Stored:
    """The bytes of a file as they arrive, in order; of a large one, only their checksums."""

    size: int = 0
    content: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._sha256.update(piece)
        self._md5.update(piece)
        if self.size <= _KEPT:
            self.content += piece

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()


class RestServer:
    """Override `work`. `asked` are the requests so far, as "METHOD /path"."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[httpx.Headers] = []
        self._faults = Faults()
        self._lock = threading.Lock()

    def __enter__(self) -> Any:
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
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.port}"

    def script(self, replies: Iterable[Reply], path: str = "") -> None:
        """Give these replies to the next requests whose "METHOD /path" matches, one each."""
        with self._lock:
            self._faults.script(replies, path)

    def always(self, reply: Reply, path: str = "") -> None:
        """Give this one to all of them."""
        with self._lock:
            self._faults.always(reply, path)

    def count(self, pattern: str) -> int:
        """How many requests there were of that kind."""
        with self._lock:
            return sum(re.search(pattern, asked) is not None for asked in self.asked)

    def work(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Answer:
        """What the server does, with a lock held."""
        raise NotImplementedError

    def _exchange(self, exchange: Exchange) -> None:
        asked = f"{exchange.command} {exchange.path}"
        with self._lock:
            self.asked.append(asked)
            self.headers.append(exchange.headers)
            reply = self._faults.take(asked)
        if not exchange.whole or reply.hang:
            exchange.drop()
            return
        answer = reply.answer or self._answer(exchange)
        if reply.commit_then_drop or not exchange.wait(reply.delay):
            exchange.drop()
            return
        try:
            whole = exchange.send(answer, reply)
        except OSError:
            whole = False
        if not whole:
            exchange.drop()

    def _answer(self, exchange: Exchange) -> Answer:
        with self._lock:
            try:
                return self.work(exchange.command, exchange.path, exchange.headers, exchange.body)
            except Refusal as refusal:
                return refusal.answer


def json_object(body: bytes) -> dict[str, Any]:
    """The body, which must be a JSON object."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refusal(422, detail="a JSON object is wanted")
    return content


def span_of(headers: Mapping[str, str]) -> tuple[int, int, int]:
    """`Content-Range: bytes a-b/n` as a, b + 1 and n."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", ""))
    if not found:
        raise Refusal(400, detail="Error in request headers")
    start, last, size = map(int, found.groups())
    return start, last + 1, size


def file_answer(content: bytes, headers: Mapping[str, str], tag: str | None) -> Answer:
    """A file, or the rest of it that `Range` asks for."""
    described = {} if tag is None else {"ETag": f'"{tag}"'}
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
    if not asked or headers.get("If-Range", described.get("ETag")) != described.get("ETag"):
        return Answer(200, content, "application/octet-stream", described)
    start = int(asked[1])
    described["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Answer(206, content[start:], "application/octet-stream", described)
