"""The segments that a receiver writes: what is appended is on the disk when `append` returns, or it isn't there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.events import SegmentOpened
from trainer_hooks.files import sync_file
from trainer_hooks.journal import create_segment, encode_event, encode_line, segment_path

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Segment:
    """One segment of a run, of which this process is the only writer."""

    directory: Path
    number: int

    @classmethod
    def create(cls, directory: Path, header: SegmentOpened, at: float) -> Segment:
        """The run's next segment, with its first record, which is told as of then.

        Raises:
            OSError: if it can't be written.
        """
        number, handle = create_segment(directory)
        os.close(handle)
        segment = cls(directory, number)
        segment.append(encode_line(0, at, encode_event(header)))
        for folder in (segment.path.parent, directory, directory.parent):
            sync_file(folder)
        return segment

    @property
    def path(self) -> Path:
        """Its file."""
        return segment_path(self.directory, self.number)

    def append(self, lines: bytes) -> None:
        """Append whole lines.

        Raises:
            OSError: if the disk does not take them all; then none of them is there.
        """
        with self._opened() as handle:
            size = os.fstat(handle).st_size
            try:
                _write(handle, lines)
                os.fdatasync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise

    def mend(self) -> None:
        """Take away what a process that was killed has left of an unfinished line: nobody was told that it is kept."""
        with self._opened() as handle:
            size = os.fstat(handle).st_size
            whole = _end_of_last_line(handle, size)
            if whole < size:
                os.ftruncate(handle, whole)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # For each use anew: a receiver has more runs than a process may have open files.
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)


def _write(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = os.write(handle, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _end_of_last_line(handle: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(0, end - _CHUNK)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
