"""A file's pieces, as uploads send them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.errors import BackendError

_PART = 1 << 20


def piece_of(file: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end`, a part at a time.

    Raises:
        BackendError: if the file has become shorter.
    """
    with file.open("rb") as opened:
        opened.seek(start)
        while start < end:
            part = opened.read(min(_PART, end - start))
            if not part:
                message = f"{file} became shorter while it was sent"
                raise BackendError(message)
            yield part
            start += len(part)


def content_range(start: int, end: int, size: int) -> str:
    """Those bytes as `Content-Range` has them."""
    return f"bytes {start}-{end - 1}/{size}"
