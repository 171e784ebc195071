"""Synapse's chunked upload: each chunk goes where the server's `offset` says, and the MD5 ends it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

from trainer_hooks.actions.archives import Packed
from trainer_hooks.actions.backends.asking import Asking, read
from trainer_hooks.actions.backends.http import Body
from trainer_hooks.actions.backends.pieces import content_range, piece_of
from trainer_hooks.errors import BackendError, BackendRefused, RetryLater

_START = "chunked_upload/"
_CHUNK = 50 << 20
_OFFSETS_DIFFER = frozenset({400, 409})
_ASKS = 5
_ASSEMBLED = 10 << 20  # bytes per second, at least, by which a server puts chunks together and reads them


class ChunkedUpload:
    """Sends one file. `chunk` is in bytes."""

    def __init__(self, asking: Asking, packed: Packed, *, chunk: int = _CHUNK) -> None:
        self._asking = asking
        self._packed = packed
        self._chunk = chunk
        self._path = _START
        self._offset = 0
        self._id: int | str = ""

    def send(self) -> int | str:
        """Send the file; returns the upload's id, once the server has it whole and verified.

        Raises:
            BackendRefused, BackendError: see `BackendClient`.
        """
        patience, furthest = self._asking.patience(), 0
        while self._offset < self._packed.size:
            problem = self._try_chunk()
            if problem is not None:
                patience.wait(problem)
                self._ask_where()
            if self._offset > furthest:
                furthest = self._offset
                patience.renew()
        self._finish()
        return self._id

    def _try_chunk(self) -> RetryLater | None:
        """Send the chunk that comes now; the trouble, if that brings nothing."""
        before = self._offset
        try:
            self._go_on(self._send_chunk())
        except RetryLater as problem:
            return problem
        except BackendRefused as refusal:
            # The chunk before was taken, and its answer lost; or this one is at fault, and nothing has moved.
            if refusal.status not in _OFFSETS_DIFFER or not self._has_moved():
                raise
        if self._offset > before:
            return None
        return RetryLater(
            f"{self._path} has taken none of the bytes from {before} on, and wants those from {self._offset}"
        )

    def _send_chunk(self) -> dict[str, Any]:
        start = self._offset
        end = min(start + self._chunk, self._packed.size)
        span = {"Content-Range": content_range(start, end, self._packed.size)}
        return read(self._asking.http.exchange("PUT", self._path, self._form(start, end), span))

    def _form(self, start: int, end: int) -> Body:
        """The chunk as a form's file, made while it is sent."""
        boundary = secrets.token_hex(16)
        name = self._packed.name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="filename"\r\n\r\n{name}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def parts() -> Iterator[bytes]:
            yield head
            yield from piece_of(self._packed.file, start, end)
            yield tail

        return Body(parts(), len(head) + end - start + len(tail), f"multipart/form-data; boundary={boundary}")

    def _go_on(self, answer: dict[str, Any]) -> None:
        """By the id and not by the `url` told with it: behind a proxy, that may be one that only the server knows."""
        try:
            self._id, offset = answer["id"], int(answer["offset"])
        except (KeyError, TypeError, ValueError) as error:
            message = f"{_START} answered {sorted(answer)}, without the upload's id and offset"
            raise BackendError(message) from error
        if not 0 <= offset <= self._packed.size:
            message = f"{_START} wants the bytes from {offset} on, of {self._packed.size}"
            raise BackendError(message)
        self._offset = offset
        self._path = f"{_START}{self._id}/"

    def _ask_where(self) -> None:
        """Where the server is. An upload whose first answer was lost is begun anew: nobody knows its id."""
        if self._path != _START:
            self._go_on(self._asking.get(self._path))

    def _has_moved(self) -> bool:
        before = self._offset
        self._ask_where()
        return self._offset != before

    def _finish(self) -> None:
        """Have the server verify the checksum; a second time only if the server says that it hasn't done so."""
        try:
            self._asking.order("POST", self._path, {"md5": self._packed.md5})
        except RetryLater:
            if not self._is_complete():
                self._finish_again()

    def _finish_again(self) -> None:
        try:
            self._asking.order("POST", self._path, {"md5": self._packed.md5})
        except RetryLater as lost:
            if not self._is_complete():
                message = f"the upload of {self._packed.name} is not complete, after two tries: {lost}"
                raise BackendError(message) from lost

    def _is_complete(self) -> bool:
        """Whether the server says so, asked several times, and for as long as assembling such a file may take it."""
        takes = self._packed.size / _ASSEMBLED
        patience, end = self._asking.patience(takes), time.monotonic() + takes
        asks = 1
        while not self._asking.get(self._path).get("completed_at"):
            if asks >= _ASKS and time.monotonic() >= end:
                return False
            patience.wait(RetryLater(f"{self._path} is not complete yet"))
            asks += 1
        return True
