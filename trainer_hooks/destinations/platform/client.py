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
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import httpx

from trainer_hooks import __version__
from trainer_hooks.destinations.platform.answers import Answer
from trainer_hooks.errors import InvalidSetting, NotSent, RetryLater
from trainer_hooks.redact import Redactor, passwords_in
from trainer_hooks.settings import without_userinfo

CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 30.0
_MOST_REDIRECTS = 3
_REDIRECTS = (307, 308)  # the others turn a POST into a GET
_LONGEST_BODY = 1 << 20
# Shorter than the 2 to 5 s after which common servers close: a request on a connection that just closes fails.
_KEPT_ALIVE = 1.0


class Client:
    """Speaks with one server, whose base address is `url`. Used by one thread.

    `token` is asked when the first request is made and again after the server has refused it. `connect` and `total`
    are seconds: for the connection with its DNS look-up, and for the whole exchange, redirects included.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str | None],
        *,
        connect: float = CONNECT_WITHIN,
        total: float = ANSWER_WITHIN,
    ) -> None:
        self._url = url.rstrip("/")
        self._ask_token = token
        self._total = total
        self._token: str | None = None
        self._token_known = False
        self._redactor = Redactor()
        self._loop = _EventLoop()
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(total, connect=connect),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEPT_ALIVE),
            headers={
                "User-Agent": f"trainer-hooks/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
        )

    def get(self, path: str) -> Answer:
        """What the server answers.

        Raises:
            RetryLater: if no whole answer came within the deadline.
        """
        return self._ask("GET", path, None, {}, self._total)

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

    def close(self) -> None:
        """Close the connection."""
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], within: float) -> Answer:
        if token := self._current_token():
            headers["Authorization"] = f"Bearer {token}"
        # Credentials in the address would otherwise take the place of the token.
        base = without_userinfo(self._url) if token else self._url
        request = self._http.build_request(method, base + path, content=body, headers=headers)
        try:
            answer = self._loop.run_until_complete(asyncio.wait_for(self._exchange(request), within))
        except asyncio.TimeoutError as error:
            message = f"{without_userinfo(str(request.url))} gave no whole answer within {within:g} s"
            raise RetryLater(message) from error
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            message = f"{without_userinfo(str(request.url))}: {type(error).__name__}: {str(error) or 'no further word'}"
            kind = NotSent if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) else RetryLater
            raise kind(self._redactor.text(message)) from None  # the error's own text may hold the token
        self._token_known = not answer.refuses_credentials
        return answer

    async def _exchange(self, request: httpx.Request) -> Answer:
        for redirects_left in reversed(range(_MOST_REDIRECTS + 1)):
            response = await self._http.send(request, stream=True)
            try:
                if not redirects_left or response.status_code not in _REDIRECTS or response.next_request is None:
                    return await _read(response, self._redactor)
            finally:
                await response.aclose()
            request = response.next_request
        raise AssertionError  # pragma: no cover - the last round returns

    def _current_token(self) -> str | None:
        if not self._token_known:
            try:
                self._token = (self._ask_token() or "").strip() or None
            except InvalidSetting as error:
                raise RetryLater(str(error)) from error
            if self._token and not (self._token.isascii() and self._token.isprintable()):
                raise RetryLater("the token (TRAINER_HOOKS_TOKEN, …_FILE) holds characters that no header can carry")
            self._redactor = Redactor(self._credentials(self._token))
            self._token_known = True
        return self._token

    def _credentials(self, token: str | None) -> list[str]:
        """What is sent as such, in each form that a server may say it back in."""
        userinfo = httpx.URL(self._url).userinfo
        basic = base64.b64encode(unquote_to_bytes(userinfo)).decode()
        return [value for value in (token, basic, *passwords_in(self._url)) if value]


async def _read(response: httpx.Response, redactor: Redactor) -> Answer:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _LONGEST_BODY:
            break
    return Answer(
        url=without_userinfo(str(response.request.url)),
        status=response.status_code,
        body=bytes(body),
        content_type=response.headers.get("Content-Type", ""),
        retry_after=response.headers.get("Retry-After"),
        location=response.headers.get("Location"),
        redactor=redactor,
    )


class _EventLoop(asyncio.SelectorEventLoop):
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
