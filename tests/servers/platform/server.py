"""The server that tests use: it starts and stops, records, and is told how to behave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar, final

import httpx
import msgspec

from tests.servers.platform.backend import BASE, Answer, Backend, Rules
from tests.servers.platform.database import Job
from tests.servers.platform.faults import Faults, Reply
from tests.servers.platform.wire import Exchange, Listener

_T = TypeVar("_T")
_SHOWN_REQUESTS = 40
_SHOWN_BYTES = 300


@dataclass(frozen=True, slots=True)
class Received:
    """One request. `at` is `time.monotonic()`; `json` is None where the body is no JSON.

    `taken`: the backend did what it asks for, whether or not an answer got through. `answered`: the status that was
    sent whole; None while it waits, and for ever if the answer was lost, cut or never given.
    """

    method: str
    path: str
    headers: httpx.Headers
    body: bytes
    json: Any
    at: float
    taken: bool = False
    answered: int | None = None

    def __str__(self) -> str:
        outcome = f"{self.answered or 'no answer'}{', taken' if self.taken else ''}"
        return f"{self.method} {self.path} -> {outcome}: {self.body[:_SHOWN_BYTES].decode(errors='replace')}"


@final
class PlatformServer(Rules):
    """A platform for tests; see the package's docstring, and `Rules` for what it takes."""

    def __init__(self, jobs: Collection[str] | None = None, *, batch: bool = False, integer_jobs: bool = True) -> None:
        super().__init__(jobs, batch=batch, integer_jobs=integer_jobs)
        self._backend = Backend(self)
        self._faults = Faults()
        self._changed = threading.Condition()
        self._requests: list[Received] = []
        self._taken: list[Received] = []
        self._releases = 0
        self._listener: Listener
        self.witness: Callable[[Received], None] = lambda _: None
        """Called with each request that the backend takes, before it is answered."""

    def __enter__(self) -> PlatformServer:
        self._listener = Listener(0, self._exchange)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        if error is None and self._listener.failures:
            raise self._listener.failures[0]

    @property
    def url(self) -> str:
        """The base address, as CALLBACK_URL wants it."""
        return f"http://127.0.0.1:{self._listener.port}{BASE}"

    # What arrived

    @property
    def requests(self) -> list[Received]:
        """Every request so far, in the order of arrival."""
        return self._read(lambda: list(self._requests))

    def posts(self, path: str) -> list[Any]:
        """The bodies that the backend took (its own answer was 2xx) under this path, relative to `url`, in order."""
        return self._read(lambda: [one.json for one in self._taken if one.path == BASE + path])

    def job(self, identity: str) -> Job:
        """What the backend's database knows of a job."""
        return self._read(lambda: self._backend.job(identity).snapshot())

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """The events stored by way of our own protocol, by id, in the order of storing."""
        return self._read(lambda: dict(self._backend.events))

    @property
    def arrivals(self) -> dict[str, int]:
        """How often each event id came in a batch that was processed, rejected ones included."""
        return self._read(lambda: dict(self._backend.arrivals))

    @property
    def unknown_fields(self) -> set[str]:
        """Fields of taken bodies that B's schema drops: {"Progress.extra_data"}."""
        return self._read(lambda: set(self._backend.unknown_fields))

    def wait_for(self, predicate: Callable[[PlatformServer], object], timeout: float = 20) -> None:
        """Wait until the predicate holds; it is asked again after everything that happens.

        Raises:
            AssertionError: after `timeout` seconds, with what had arrived.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self), timeout):
                shown = "\n".join(str(request) for request in self._requests[-_SHOWN_REQUESTS:])
                message = f"not within {timeout:g} s; {len(self._requests)} requests had arrived, the last:\n{shown}"
                raise AssertionError(message)

    # How it behaves

    def script(self, replies: Iterable[Reply], path: str = "") -> None:
        """Give these replies, one per request whose path matches the regular expression, then behave as before."""
        self._read(lambda: self._faults.script(replies, path))

    def always(self, reply: Reply, path: str = "") -> None:
        """Give this reply to every request whose path matches, once no script has one for it."""
        self._read(lambda: self._faults.always(reply, path))

    def normal(self) -> None:
        """Behave, from the next request on."""
        self._read(self._faults.clear)

    def release(self) -> None:
        """Let the requests that hang now have their work done and their answer."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()

    def stop_listening(self) -> None:
        """Go down as a crashed server does: all connections end, new ones are refused. What it stored remains."""
        port = self._listener.port
        failures = self._listener.failures
        self._stop()
        self._listener = Listener(port, self._exchange)
        self._listener.failures = failures

    def listen_again(self) -> None:
        """Come up again, on the same port."""
        self._listener.start()

    # What happens to a request

    def _read(self, take: Callable[[], _T]) -> _T:
        with self._changed:
            return take()

    def _stop(self) -> None:
        self._listener.stopping.set()
        self.release()
        self._listener.stop()

    def _exchange(self, exchange: Exchange) -> None:
        request = Received(
            exchange.command, exchange.path, exchange.headers, exchange.body, _json(exchange.body), time.monotonic()
        )
        with self._changed:
            number = len(self._requests)
            self._requests.append(request)
            reply = self._faults.take(request.path)
            self._changed.notify_all()
        if not exchange.whole or (reply.hang and not self._released(exchange)):
            exchange.drop()
            return
        answer = reply.answer or self._work(number)
        if reply.commit_then_drop or not exchange.wait(reply.delay):
            exchange.drop()
            return
        self._send(exchange, number, answer, reply)

    def _released(self, exchange: Exchange) -> bool:
        stopping = exchange.server.stopping
        with self._changed:
            before = self._releases
            self._changed.wait_for(lambda: stopping.is_set() or self._releases > before)
        return not stopping.is_set()

    def _work(self, number: int) -> Answer:
        with self._changed:
            request = self._requests[number]
            answer = self._backend.handle(
                request.method,
                request.path,
                request.headers.get("Authorization"),
                request.headers.get("Content-Type", ""),
                request.body,
            )
            if answer.status < 300:
                self._requests[number] = replace(request, taken=True)
                self._taken.append(self._requests[number])
                self.witness(self._requests[number])
            self._changed.notify_all()
        return answer

    def _send(self, exchange: Exchange, number: int, answer: Answer, reply: Reply) -> None:
        # Noted ahead of sending: a test that has its answer in hand may look at once.
        self._note(number, answer.status)
        try:
            whole = exchange.send(answer, reply)
        except OSError:
            whole = False
        if not whole:
            self._note(number, None)
            exchange.drop()

    def _note(self, number: int, answered: int | None) -> None:
        with self._changed:
            self._requests[number] = replace(self._requests[number], answered=answered)
            self._changed.notify_all()


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
