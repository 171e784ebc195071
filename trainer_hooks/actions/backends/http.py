"""HTTP as backends need it: each exchange with a deadline for all of it, bodies streamed, nothing tried twice.

A timeout per read, which is what HTTP libraries offer, never ends a server that sends one byte a second: so each
exchange is a coroutine that is cancelled. It runs on a loop and thread of its own, which end with it: the caller's
thread may have a loop running, as notebooks do, and may have been forked since the last call.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import ssl
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote_to_bytes

import httpx

from trainer_hooks import __version__
from trainer_hooks.errors import BackendError, InvalidSetting, NotSent, RetryLater
from trainer_hooks.redact import Redactor, passwords_in
from trainer_hooks.settings import without_userinfo
from trainer_hooks.wire.answers import Answer
from trainer_hooks.wire.client import ANSWER_WITHIN, CONNECT_WITHIN, EventLoop
from trainer_hooks.wire.server import Server

_LONGEST_ANSWER = 16 << 20  # a model's configuration may be long
_MOST_REDIRECTS = 5
_SLOWEST = 64 << 10  # bytes per second, below which a connection is as good as broken
_LOOKED_AT_EVERY = 60.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class Body:
    """What is sent: `size` bytes in all, made anew for each try. In memory, there is never more than one part of it."""

    parts: Iterator[bytes]
    size: int
    content_type: str


@dataclass
class Incoming:
    """A file on its way here. What has come so far stays, and the next try goes on behind it."""

    file: BinaryIO
    tag: str | None = field(default=None, init=False)
    size: int | None = field(default=None, init=False)
    """Of the whole file, where the server tells it."""
    has_end: bool = field(default=False, init=False)
    """Whether the server says where it ends; else a broken connection looks the same as its end."""


class Http:
    """Speaks with one server. `total` are the seconds that a small exchange may take."""

    def __init__(self, server: Server, *, total: float = ANSWER_WITHIN) -> None:
        self.server = server
        self._base = _base_of(server)
        self._total = total
        self._redactor = Redactor(passwords_in(server.url))

    def exchange(
        self, method: str, path: str, body: Body | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """What the server answers; `path` is relative to its address.

        Raises:
            RetryLater: if no whole answer came in time; the server may have acted all the same.
            NotSent: if there was no connection.
        """
        url = self._base.join(path)
        within = self._total + (body.size / _SLOWEST if body else 0)
        return self._run(self._exchange(method, url, body, headers or {}), url, within)

    def receive(self, address: str, incoming: Incoming) -> Answer:
        """Fetch a file, or what is still missing of it, from this server or another; a bad status brings none of it.

        Raises:
            RetryLater: if it hasn't come whole.
            NotSent: if there was no connection.
            BackendError: if HTTP can't go to such an address.
            OSError: if it can't be written.
        """
        try:
            url = self._base.join(address)
        except (httpx.InvalidURL, ValueError) as error:
            message = f"a file can't be fetched from {without_userinfo(address)!r}: {error}"
            raise BackendError(message) from error
        return self._run(self._receive(url, incoming), url, None)

    async def _exchange(self, method: str, url: httpx.URL, body: Body | None, headers: Mapping[str, str]) -> Answer:
        async with self._client() as client:
            response = await client.send(self._request(client, method, url, headers, body), stream=True)
            try:
                return await self._answer(response)
            finally:
                await response.aclose()

    async def _receive(self, url: httpx.URL, incoming: Incoming) -> Answer:
        async with self._client() as client:
            for _ in range(_MOST_REDIRECTS):
                request = self._request(client, "GET", url, _rest_of(incoming))
                response = await asyncio.wait_for(client.send(request, stream=True), self._total)
                try:
                    if response.next_request is None:
                        return await self._taken(response, incoming)
                    url = response.next_request.url
                finally:
                    await response.aclose()
        message = f"{without_userinfo(str(url))} redirects more than {_MOST_REDIRECTS} times"
        raise RetryLater(message)

    async def _taken(self, response: httpx.Response, incoming: Incoming) -> Answer:
        if not response.is_success:
            return await asyncio.wait_for(self._answer(response), self._total)
        _begin(response, incoming)
        looked, before = time.monotonic(), incoming.file.tell()
        async with _pieces_of(response) as pieces:
            async for piece in pieces:
                incoming.file.write(piece)
                now = time.monotonic()
                if now - looked > _LOOKED_AT_EVERY:
                    if incoming.file.tell() - before < _SLOWEST * _LOOKED_AT_EVERY:
                        message = f"{without_userinfo(str(response.request.url))} sends too slowly"
                        raise RetryLater(message)
                    looked, before = now, incoming.file.tell()
        return self._described(response, b"")

    def _client(self) -> httpx.AsyncClient:
        headers = {"User-Agent": f"trainer-hooks/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        return httpx.AsyncClient(
            headers=headers, timeout=httpx.Timeout(self._total, connect=CONNECT_WITHIN), verify=_tls()
        )

    def _request(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: Body | None = None,
    ) -> httpx.Request:
        credentials = self._credentials() if self._is_ours(url) else {}
        described = {} if body is None else {"Content-Type": body.content_type, "Content-Length": str(body.size)}
        return client.build_request(
            method,
            # Credentials in the address would otherwise take the place of these.
            without_userinfo(str(url)) if credentials else url,
            content=None if body is None else _streamed(body.parts),
            headers={**headers, **described, **credentials},
        )

    def _is_ours(self, url: httpx.URL) -> bool:
        """Whether it is the server's own: what lets us in there is nobody else's business."""
        return (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)

    def _credentials(self) -> Mapping[str, str]:
        found = dict(self.server.credentials())
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            message = f"{self.server.credentials_settings} holds characters that no header can carry"
            raise InvalidSetting(message)
        basic = base64.b64encode(unquote_to_bytes(self._base.userinfo)).decode()
        secrets = [value.partition(" ")[2] for value in found.values()]
        self._redactor = Redactor(value for value in (*secrets, basic, *passwords_in(self.server.url)) if value)
        return found

    async def _answer(self, response: httpx.Response) -> Answer:
        body = bytearray()
        async with _pieces_of(response) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    break
        return self._described(response, bytes(body))

    def _described(self, response: httpx.Response, body: bytes) -> Answer:
        return Answer(
            url=_shown(response.request.url),
            status=response.status_code,
            body=body,
            content_type=response.headers.get("Content-Type", ""),
            retry_after=response.headers.get("Retry-After"),
            location=response.headers.get("Location"),
            server=self.server,
            redactor=self._redactor,
        )

    def _run(self, work: Coroutine[Any, Any, _T], url: httpx.URL, within: float | None) -> _T:
        try:
            with _own_loop() as loop:
                return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, within), loop).result()
        except asyncio.TimeoutError as error:
            message = f"{_shown(url)} gave no whole answer in time"
            raise RetryLater(message) from error
        except httpx.UnsupportedProtocol as error:
            message = f"a file can't be fetched from {_shown(url)}: {error}"
            raise BackendError(message) from None
        except (httpx.HTTPError, UnicodeError) as error:
            message = f"{_shown(url)}: {type(error).__name__}: {str(error) or 'no further word'}"
            kind = NotSent if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) else RetryLater
            raise kind(self._redactor.text(message)) from None  # the error's own text may hold the token


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: reading all the authorities' certificates takes longer than a request."""
    return httpx.create_ssl_context()


@contextmanager
def _own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own; with the block, also by Ctrl-C, what still runs on it is cancelled."""
    loop = EventLoop()
    thread = threading.Thread(target=_serve, args=(loop,), name="trainer_hooks backend", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_cancel_the_rest())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _cancel_the_rest() -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _streamed(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _pieces_of(response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """To be closed where it isn't read to its end: the loop that it runs on is closed, too."""
    return aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes()))


def _rest_of(incoming: Incoming) -> dict[str, str]:
    """Without a tag nobody could tell whether what is still missing is of the same file: it begins again."""
    position = incoming.file.tell()
    return {"Range": f"bytes={position}-", "If-Range": incoming.tag} if position and incoming.tag else {}


def _begin(response: httpx.Response, incoming: Incoming) -> None:
    """Go to where the answer's content begins."""
    position = incoming.file.tell()
    length = response.headers.get("Content-Length", "")
    # Of what was compressed, neither the length nor a place in it is ours.
    is_compressed = response.headers.get("Content-Encoding", "identity") != "identity"
    tag = response.headers.get("ETag", "")
    # A weak one doesn't promise the same bytes.
    incoming.tag = tag if tag.startswith('"') and not is_compressed else None
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        span, _, length = response.headers.get("Content-Range", "").partition("/")
        if not span.startswith(f"bytes {position}-") or is_compressed:
            message = f"{_shown(response.request.url)} sends {span!r} where the bytes from {position} on were asked for"
            raise RetryLater(message)
        incoming.has_end = length.isdecimal()
    else:
        incoming.file.seek(0)
        incoming.file.truncate()
        incoming.has_end = length.isdecimal() or "chunked" in response.headers.get("Transfer-Encoding", "")
    incoming.size = int(length) if length.isdecimal() and not is_compressed else None


def _base_of(server: Server) -> httpx.URL:
    try:
        return httpx.URL(server.url.rstrip("/") + "/")
    except (httpx.InvalidURL, ValueError) as error:
        message = f"{server.address_setting} is {without_userinfo(server.url)!r}, which is no address: {error}"
        raise InvalidSetting(message) from error


def _shown(url: httpx.URL) -> str:
    """Without its query, which may be a signature, and without a password."""
    return str(without_userinfo(str(url.copy_with(query=None))))
