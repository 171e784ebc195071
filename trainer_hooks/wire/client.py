"""HTTP: one request at a time, each with a deadline for all of it.

A timeout per read, which is what HTTP libraries offer, never ends a server that sends one byte a second, and a look-up
in a dead DNS heeds none at all. So each request is a coroutine on an event loop of the client's own, and is cancelled.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import httpx

from trainer_hooks import __version__
from trainer_hooks.errors import InvalidSetting, NotSent, RetryLater
from trainer_hooks.redact import Redactor, passwords_in
from trainer_hooks.settings import without_userinfo
from trainer_hooks.wire.answers import Answer
from trainer_hooks.wire.server import Server

CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 30.0
_MOST_REDIRECTS = 3
_REDIRECTS = (307, 308)  # the others turn a POST into a GET
LONGEST_BODY = 1 << 20
# Shorter than the 2 to 5 s after which common servers close: a request on a connection that just closes fails.
_KEPT_ALIVE = 1.0


class Client:
    """Speaks with one server. Used by one thread.

    `connect` and `total` are seconds: for the connection with its DNS look-up, and for the whole exchange, redirects
    included.
    """

    def __init__(self, server: Server, *, connect: float = CONNECT_WITHIN, total: float = ANSWER_WITHIN) -> None:
        self._server = server
        self._url = server.url.rstrip("/")
        self._total = total
        self._credentials: Mapping[str, str] | None = None
        self._redactor = Redactor()
        self._loop = EventLoop()
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(total, connect=connect),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEPT_ALIVE),
            headers={
                "User-Agent": f"trainer-hooks/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
        )

    def get(self, path: str, *, longest: int = LONGEST_BODY) -> Answer:
        """What the server answers, read up to a little over so many bytes.

        Raises:
            RetryLater: if no whole answer came within the deadline.
        """
        return self._ask("GET", path, None, {}, self._total, longest)

    def post(self, path: str, body: bytes, *, key: str | None = None, within: float | None = None) -> Answer:
        """What the server answers to a JSON body; `key` goes along as `Idempotency-Key`.

        `within` so many seconds, where that is less than what the client gives to all.

        Raises:
            RetryLater: if no whole answer came within the deadline; the server may have acted all the same.
            NotSent: if there was no connection.
        """
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = quote(key, safe="/:@+")  # a run's name may hold what no header can
        return self._ask("POST", path, body, headers, self._total if within is None else min(within, self._total))

    def patch(self, path: str, body: bytes) -> Answer:
        """As `post`, without a key: what is patched twice in the same way has been patched once.

        Raises:
            RetryLater, NotSent: as `post`.
        """
        return self._ask("PATCH", path, body, {"Content-Type": "application/json"}, self._total)

    def put(self, path: str, body: bytes) -> Answer:
        """What the server answers to a body of bytes.

        Raises:
            RetryLater, NotSent: as `post`.
        """
        return self._ask("PUT", path, body, {"Content-Type": "application/octet-stream"}, self._total)

    def close(self) -> None:
        """Close the connection."""
        self._loop.run_until_complete(self._http.aclose())
        # httpx's, of answers that were not read to their end: asyncio would log an error for each.
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        within: float,
        longest: int = LONGEST_BODY,
    ) -> Answer:
        credentials = self._current_credentials()
        # Credentials in the address would otherwise take the place of these.
        base = without_userinfo(self._url) if credentials else self._url
        request = self._http.build_request(method, base + path, content=body, headers={**headers, **credentials})
        try:
            answer = self._loop.run_until_complete(asyncio.wait_for(self._exchange(request, longest), within))
        except asyncio.TimeoutError as error:
            message = f"{without_userinfo(str(request.url))} gave no whole answer within {within:g} s"
            raise RetryLater(message) from error
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            message = f"{without_userinfo(str(request.url))}: {type(error).__name__}: {str(error) or 'no further word'}"
            kind = NotSent if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) else RetryLater
            raise kind(self._redactor.text(message)) from None  # the error's own text may hold them
        if answer.refuses_credentials:
            self._credentials = None
        return answer

    async def _exchange(self, request: httpx.Request, longest: int) -> Answer:
        for redirects_left in reversed(range(_MOST_REDIRECTS + 1)):
            response = await self._http.send(request, stream=True)
            try:
                if not redirects_left or response.status_code not in _REDIRECTS or response.next_request is None:
                    return await _read(response, longest, self._server, self._redactor)
            finally:
                await response.aclose()
            request = self._redirected(request.url, response.next_request)
        raise AssertionError  # pragma: no cover - the last round returns

    def _redirected(self, before: httpx.URL, request: httpx.Request) -> httpx.Request:
        """The next request, with what httpx does for `Authorization` alone: elsewhere, credentials are not sent."""
        if not _is_same_server(before, request.url):
            for name in self._credentials or ():
                request.headers.pop(name, None)
        return request

    def _current_credentials(self) -> Mapping[str, str]:
        if self._credentials is None:
            try:
                found = dict(self._server.credentials())
            except InvalidSetting as error:
                raise RetryLater(str(error)) from error
            if not all(value.isascii() and value.isprintable() for value in found.values()):
                message = f"{self._server.credentials_settings} holds characters that no header can carry"
                raise RetryLater(message)
            self._redactor = Redactor(self._secrets(found))
            self._credentials = found
        return self._credentials

    def _secrets(self, credentials: Mapping[str, str]) -> list[str]:
        """What is sent as such, in each form that a server may say it back in."""
        userinfo = httpx.URL(self._url).userinfo
        basic = base64.b64encode(unquote_to_bytes(userinfo)).decode()
        sent = (value.partition(" ")[2] for value in credentials.values())
        return [value for value in (*sent, basic, *passwords_in(self._url)) if value]


def _is_same_server(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether both are one origin, or the other is the one's safe side."""
    is_upgrade = (one.scheme, one.port, other.scheme, other.port) == ("http", None, "https", None)
    return one.host == other.host and (is_upgrade or (one.scheme, one.port) == (other.scheme, other.port))


async def _read(response: httpx.Response, longest: int, server: Server, redactor: Redactor) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > longest:
            break
    return Answer(
        url=without_userinfo(str(response.request.url)),
        status=response.status_code,
        body=bytes(body),
        is_whole=len(body) <= longest,
        content_type=response.headers.get("Content-Type", ""),
        retry_after=response.headers.get("Retry-After"),
        location=response.headers.get("Location"),
        server=server,
        redactor=redactor,
    )


class EventLoop(asyncio.SelectorEventLoop):
    """Looks names up in daemon threads: the usual pool's threads are waited for when the process ends."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """As `socket.getaddrinfo`."""
        found: asyncio.Future[Any] = self.create_future()

        def look_up() -> None:
            try:
                answer: Any = socket.getaddrinfo(host, port, **options)
            except (OSError, UnicodeError) as error:
                answer = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self.call_soon_threadsafe(settle, answer)

        def settle(answer: Any) -> None:
            if found.done():
                return
            if isinstance(answer, Exception):
                found.set_exception(answer)
            else:
                found.set_result(answer)

        threading.Thread(target=look_up, name="trainer_hooks DNS", daemon=True).start()
        return await found
