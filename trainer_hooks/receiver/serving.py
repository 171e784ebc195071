"""The server process: its socket, its patience, and that it listens to nobody else without a token."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi.middleware import Middleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from trainer_hooks.errors import InvalidSetting, SetupError
from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.guard import is_loopback
from trainer_hooks.receiver.page import OPEN, pages
from trainer_hooks.receiver.web.app import create_app

_HEAD_WITHIN = 15.0
_KEPT_ALIVE = 30
_MOST_CONNECTIONS = 2000
_END_WITHIN = 5


def listen(host: str, port: int, *, needs_token: bool, url: str | None = None) -> socket.socket:
    """A socket on that address; port 0 is a free one. `url` is where a proxy in front of it is reached.

    Raises:
        InvalidSetting: for an address that others can reach, if no token keeps them out.
        SetupError: if it can't be had.
    """
    if not needs_token:
        _check_alone("--host", host)
        _check_alone("--url", urlsplit(url or "http://localhost").hostname or "")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        message = f"can't listen on {host}:{port}: {error.strerror}; choose another one with --host and --port"
        raise SetupError(message) from error


def _check_alone(option: str, host: str) -> None:
    if not is_loopback(host):
        message = (
            f"{option} {host} can be reached from other machines, and there is no token: set TRAINER_HOOKS_SERVE_TOKEN "
            "(or TRAINER_HOOKS_SERVE_TOKEN_FILE, --token-file) to what `openssl rand -hex 32` prints"
        )
        raise InvalidSetting(message)


def serve(backend: Backend, listening: socket.socket, behind: Middleware | None = None) -> None:
    """Answer until SIGTERM or SIGINT; requests at hand are answered first, for some seconds."""
    app = create_app(backend, *pages(), open_to_all=OPEN, behind=behind)
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        root_path=urlsplit(backend.url or "").path,  # which the proxy has taken away, and links need
        timeout_keep_alive=_KEPT_ALIVE,
        timeout_graceful_shutdown=_END_WITHIN,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    # Ahead of the first who asks; a process that ends doesn't wait for it, and the next one goes on.
    threading.Thread(target=backend.index.catch_up, name="index", daemon=True).start()
    server = uvicorn.Server(config)
    app.state.is_ending = lambda: server.should_exit
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises what ended it once more, when all is done
    server.run(sockets=[listening])


class _Impatient(H11Protocol):
    """Ends connections whose next request takes too long to begin: uvicorn itself would wait for ever."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._be_patient()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _be_patient(self) -> None:
        """Wait for a head that isn't there whole; its first byte, or the connection, begins the time."""
        is_at_work = self.cycle is not None and not self.cycle.response_complete
        if is_at_work:
            self._stop_waiting()
        elif self._patience is None:
            self._patience = self.loop.call_later(_HEAD_WITHIN, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
