"""How the server misbehaves: the replies it was told to give, and which request gets which."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses

from tests.servers.platform.backend import Answer, answer_json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manner:
    """How an answer goes out."""

    delay: float = 0.0  # seconds between the work and the answer
    hang: bool = False  # neither work nor answer before `PlatformServer.release`; none at all if the server stops
    drip: float | None = None  # bytes per second, the header's too
    reset: bool = False  # half of the answer, then a TCP reset
    truncate: bool = False  # half of the body that Content-Length promises, then the end of the connection
    commit_then_drop: bool = False  # the end of the connection, no answer


@dataclass(frozen=True, slots=True)
class Reply(_Manner):
    """One answer. With a status (or a redirect) it stands in for the backend, which then does nothing.

    Without, the backend does its work and its own answer goes out in the manner asked for: slowly, half, or not at all.
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    redirect: str | None = None  # to this address, with 302 where no status is given

    @property
    def answer(self) -> Answer | None:
        """What stands in for the backend's answer; None where the backend is to answer itself."""
        status = self.status or (HTTPStatus.FOUND if self.redirect else None)
        if status is None:
            return None
        location = {"Location": self.redirect} if self.redirect else {}
        headers = {**location, **self.headers}
        if self.body is None:
            return answer_json(status, {"detail": responses.get(status, "")}, headers)
        return Answer(status, self.body, self.content_type, headers)


NORMAL = Reply()


class Faults:
    """The replies that were asked for. Not thread-safe: its server holds a lock around each call."""

    def __init__(self) -> None:
        self._scripts: list[tuple[re.Pattern[str], deque[Reply]]] = []
        self._rules: list[tuple[re.Pattern[str], Reply]] = []

    def script(self, replies: Iterable[Reply], path: str) -> None:
        """Give these, one per request that matches, ahead of all rules; scripts for the same path follow each other."""
        self._scripts.append((re.compile(path), deque(replies)))

    def always(self, reply: Reply, path: str) -> None:
        """Give this to every request that matches; of several rules that match, the latest counts."""
        self._rules.insert(0, (re.compile(path), reply))

    def clear(self) -> None:
        """Forget all scripts and rules."""
        self._scripts.clear()
        self._rules.clear()

    def take(self, path: str) -> Reply:
        """The reply for this request."""
        for pattern, replies in self._scripts:
            if replies and pattern.search(path):
                return replies.popleft()
        return next((reply for pattern, reply in self._rules if pattern.search(path)), NORMAL)
