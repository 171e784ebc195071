"""A TCP proxy on loopback whose faults are switched while it runs."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

_BLOCK = 1 << 16


class TcpProxy:
    """Passes everything to one address. Each fault is an attribute; set it to None (or False) to end it.

    refuse: new connections are reset. stall: bytes wait until it ends. delay: seconds before each block. rate: bytes
    per second in each direction of each connection. cut_upstream_after, cut_downstream_after: when that many more
    bytes have gone that way, over all connections, every connection is reset; then `refuse` becomes `refuse_after_cut`.
    flip_upstream_after, flip_downstream_after: of the byte after that many more, one bit is flipped.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._flowing = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stalled = False
        self.waiting = 0  # how many connections' bytes are held up by `stall`
        self.reset()

    @classmethod
    def before(cls, url: str) -> TcpProxy:
        """A running proxy in front of the server at that URL; `close` it."""
        parts = urlsplit(url)
        proxy = cls((parts.hostname or "", parts.port or 80))
        proxy._run(proxy._accept)
        return proxy

    def reset(self) -> None:
        """No faults, and counters at zero."""
        self.stall = False
        self.refuse = False
        self.refuse_after_cut = True
        self.delay: float | None = None
        self.rate: float | None = None
        self.cut_upstream_after: int | None = None
        self.cut_downstream_after: int | None = None
        self.flip_upstream_after: int | None = None
        self.flip_downstream_after: int | None = None
        self.connections = 0
        self.bytes_upstream = 0
        self.bytes_downstream = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def stall(self) -> bool:
        """Whether bytes wait."""
        return self._stalled

    @stall.setter
    def stall(self, value: bool) -> None:
        with self._flowing:
            self._stalled = value
            self._flowing.notify_all()

    def cut(self) -> None:
        """Reset all connections of this moment."""
        with self._flowing:
            sockets = list(self._sockets)
        for connection in sockets:
            _reset(connection)

    def close(self) -> None:
        """End everything; all threads are gone when it returns."""
        self._closing.set()
        self.stall = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                _reset(client)
                client.close()
                continue
            self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target, timeout=10) as server:
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = {client, server}
            with self._flowing:
                self._sockets |= pair
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, upstream=True)
            back.join()
            with self._flowing:
                self._sockets -= pair

    def _pump(self, source: socket.socket, sink: socket.socket, upstream: bool) -> None:
        way = "upstream" if upstream else "downstream"
        try:
            while block := source.recv(_BLOCK):
                self._wait(len(block))
                passed, cut = self._fault(block, way)
                sink.sendall(passed)
                if cut:
                    self.refuse = self.refuse_after_cut
                    self.cut()
                    return  # what the socket still holds was never on its way
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(sink)

    def _wait(self, size: int) -> None:
        with self._flowing:
            self.waiting += 1
            self._flowing.wait_for(lambda: not self._stalled)
            self.waiting -= 1
        seconds = (self.delay or 0) + (size / self.rate if self.rate else 0)
        if seconds:
            self._closing.wait(seconds)

    def _fault(self, block: bytes, way: str) -> tuple[bytes, bool]:
        """What passes of these bytes, and whether the connections are cut after it."""
        with self._flowing:
            flip = self._countdown(f"flip_{way}_after", len(block))
            if flip is not None:
                block = block[:flip] + bytes([block[flip] ^ 1]) + block[flip + 1 :]
            cut = self._countdown(f"cut_{way}_after", len(block))
            passed = block if cut is None else block[:cut]
            setattr(self, f"bytes_{way}", getattr(self, f"bytes_{way}") + len(passed))
        return passed, cut is not None

    def _countdown(self, fault: str, size: int) -> int | None:
        """Where in this many bytes the fault comes due; it happens once."""
        left: int | None = getattr(self, fault)
        due = left is not None and left < size
        setattr(self, fault, None if left is None or due else left - size)
        return left if due else None


@contextlib.contextmanager
def tcp_proxy(url: str) -> Iterator[TcpProxy]:
    """A proxy in front of the server at that URL."""
    proxy = TcpProxy.before(url)
    try:
        yield proxy
    finally:
        proxy.close()


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Linger 0: the other side sees a reset, as of a dead machine's successor, not an orderly end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
