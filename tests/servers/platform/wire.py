"""The network part: connections, requests read whole, and answers sent in every good and bad manner."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.servers.platform.backend import Answer, answer_json
from tests.servers.platform.faults import NORMAL, Reply

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Listener(ThreadingHTTPServer):
    """Bound to a port from the start, so that nobody else gets it; refuses connections until `start`."""

    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, port: int, exchange: Callable[[Exchange], None]) -> None:
        super().__init__(("127.0.0.1", port), Exchange, bind_and_activate=False)
        self.exchange = exchange
        self.stopping = threading.Event()
        self.failures: list[BaseException] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.server_bind()

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind, without HTTPServer's look-up of the host's name, which waits for a DNS server."""
        socketserver.TCPServer.server_bind(self)

    def start(self) -> None:
        """Take connections."""
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="platform server")
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections, and wait for their threads."""
        self.stopping.set()
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that `stop` can end it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the base's signature)
        """Keep what went wrong in this server itself; a client that is gone is no error."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.failures.append(error)


class Exchange(BaseHTTPRequestHandler):
    """One connection, and the request that it carries now."""

    server: Listener
    raw_requestline: bytes
    headers: httpx.Headers  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    body: bytes

    def parse_request(self) -> bool:
        """Read the request's head; the base's way, through the email parser, takes as long as all the rest."""
        if not self.raw_requestline.endswith(b"\n"):  # the client is gone
            return False
        self.command, self.path, version = self.raw_requestline.decode("latin-1").split()
        fields = []
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
        self.headers = httpx.Headers(fields)
        self.close_connection = version == "HTTP/1.0" or self.headers.get("Connection", "").lower() == "close"
        return line != b""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") is not None:
            self.close_connection = True
            self.send(answer_json(HTTPStatus.LENGTH_REQUIRED, {"detail": "Length Required"}))
        else:
            self.server.exchange(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  (the base's names)

    @property
    def whole(self) -> bool:
        """Whether the body arrived in full length."""
        return len(self.body) == int(self.headers.get("Content-Length") or 0)

    def wait(self, seconds: float) -> bool:
        """Wait; False if the server stops meanwhile."""
        return not self.server.stopping.wait(seconds)

    def drop(self) -> None:
        """End the connection with no further word."""
        self.close_connection = True

    def send(self, answer: Answer, manner: Reply = NORMAL) -> bool:
        """Send the answer; whether it went out whole.

        Raises:
            OSError: if the client is gone.
        """
        head = self._head(answer)
        if manner.truncate or manner.reset:
            self.connection.sendall(head + answer.body[: len(answer.body) // 2])
            if manner.reset:
                self._reset()
            return False
        if manner.drip:
            return self._drip(head + answer.body, manner.drip)
        self.connection.sendall(head + answer.body)
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base's signature)
        """Say nothing."""

    def _head(self, answer: Answer) -> bytes:
        fields = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **({"Connection": "close"} if self.close_connection else {}),
            **answer.headers,
        }
        lines = [f"{self.protocol_version} {answer.status} {responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # Closed here, so that socketserver's own shutdown doesn't send an orderly end ahead of the reset.
        self.connection.close()

    def _drip(self, data: bytes, rate: float) -> bool:
        step = max(1, int(rate / 50))
        for start in range(0, len(data), step):
            self.connection.sendall(data[start : start + step])
            if not self.wait(step / rate):
                return False
        return True
