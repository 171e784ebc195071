"""What stands in front of all routes: who may call, from where, how much, and how slowly. ASGI, and nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import msgspec

from trainer_hooks.receiver.batches import MOST_BYTES
from trainer_hooks.receiver.bodies import MOST_DEPTH, is_too_deep, with_plain_texts
from trainer_hooks.receiver.tokens import Tokens

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

BASE = "/api/v1"
SIGN_IN = "/sign-in"
SESSION = "trainer_hooks_session"
"""The cookie that is a browser's in place of a token."""
MOST_BYTES_OF_A_CALL = 16 << 20
BODY_WITHIN = 30.0
_MOST_BYTES_PASSED_OVER = 64 << 20
READING = {"GET", "HEAD", "OPTIONS"}
"""Methods that change nothing."""
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class _Refusal(Exception):
    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Guard:
    """Lets through what may pass, with its body whole; answers the rest.

    `signed` are paths that bring their own permission, and bodies that their routes read themselves; `open_to_all` are
    paths that tell nothing of runs, or all those below one if it ends in a slash. `url` is what a proxy in front is
    called by: its pages may change things, too.
    """

    def __init__(
        self,
        app: App,
        tokens: Tokens,
        *,
        signed: tuple[str, ...] = (),
        open_to_all: tuple[str, ...] = (),
        url: str | None = None,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._signed = signed
        self._open_to_all = frozenset(path for path in open_to_all if not path.endswith("/"))
        self._open_below = tuple(path for path in open_to_all if path.endswith("/"))
        self._public_host = urlsplit(url or "").netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # there is none, and a browser would send a cookie with it from anywhere
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            self._check(scope)
            if not path_of(scope).startswith(self._signed) and scope["method"] not in READING:
                receive = await _whole_body(scope, receive)
        except _Refusal as refusal:
            await _answer(send, refusal)
            return
        await self._app(scope, receive, _with_headers(send))

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._tokens.are_needed and not _is_loopback(host):
            # Some other name that leads here, as a page in a browser may have been given one (DNS rebinding).
            raise _Refusal(421, f"without a token this server answers to localhost only, and not to {host!r}")
        origin = headers.get(b"origin")
        if scope["method"] not in READING and origin and _host_of(origin) not in (host, self._public_host):
            raise _Refusal(403, "a page of another origin can't change anything here")
        path = path_of(scope)
        if self._is_open(path) or path.startswith(self._signed):
            return
        authorization = headers.get(b"authorization")
        told = authorization.decode("latin-1") if authorization else None
        if self._tokens.allow(told, path.removeprefix(BASE)) or self._tokens.allow_session(_session(headers)):
            return
        if scope["method"] in READING and not path.startswith(BASE):
            raise _Refusal(303, "sign in first", (b"location", _sign_in(scope)))
        raise _Refusal(401, "a bearer token that may do this is needed", (b"www-authenticate", b"Bearer"))

    def _is_open(self, path: str) -> bool:
        return path in self._open_to_all or path.startswith(self._open_below)


def _session(headers: Mapping[bytes, bytes]) -> str:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[SESSION].value if SESSION in cookies else ""


def _sign_in(scope: Scope) -> bytes:
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = f"{path_of(scope)}?{query}" if query else path_of(scope)
    return f"{scope.get('root_path', '')}{SIGN_IN}?next={quote(wanted, safe='')}".encode()


def path_of(scope: Scope) -> str:
    """The path without the prefix that a proxy in front has."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _whole_body(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that has the body already, which is of a bounded size and was there in a bounded time."""
    is_batch = path_of(scope).endswith("/events")  # whose events are looked at one by one
    limit = MOST_BYTES if is_batch else MOST_BYTES_OF_A_CALL
    headers = dict(scope["headers"])
    too_large = _Refusal(413, f"the body has more than {limit} bytes", (b"connection", b"close"))
    if int(headers.get(b"content-length", b"0") or 0) > _MOST_BYTES_PASSED_OVER:
        raise too_large
    try:
        body = await asyncio.wait_for(_read(receive, limit), BODY_WITHIN)
    except (TimeoutError, asyncio.TimeoutError):
        raise _Refusal(408, f"no whole body within {BODY_WITHIN:g} s", (b"connection", b"close")) from None
    if body is None:
        raise too_large
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if body and kind != b"application/json" and scope["method"] != "PUT" and path_of(scope) != SIGN_IN:
        # What a form on another page can send is never JSON. Signing in is a form, and gains that page nothing.
        raise _Refusal(415, "the body has to be JSON, and say so: Content-Type: application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _Refusal(415, "nothing is unpacked here: send the body without a Content-Encoding")
    if kind == b"application/json" and not is_batch:
        if await asyncio.to_thread(is_too_deep, body):
            raise _Refusal(400, f"the body is nested more than {MOST_DEPTH} deep")
        body = with_plain_texts(body)
    return _replayed(body, receive)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body; None if it is larger than that.

    A larger one is read to its end, and not kept: whoever is still sending would not see the answer.
    """
    body = bytearray()
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Refusal(400, "the caller left in the middle of the body")
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            body += part
        if not message.get("more_body") or size > _MOST_BYTES_PASSED_OVER:
            return bytes(body) if size <= limit else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def give() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _with_headers(send: Send) -> Send:
    async def send_all(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message.get("headers", [])}
            more = [header for header in _HEADERS if header[0] not in known]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return send_all


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = msgspec.json.encode({"detail": refusal.detail})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *_HEADERS,
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _host_of(origin: bytes) -> str | None:
    """Which host a page is from; None for none that can be told, "null" among them."""
    try:
        return urlsplit(origin.decode("latin-1")).netloc or None
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether that host, a name or an address, is this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
