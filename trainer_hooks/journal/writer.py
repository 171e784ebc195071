"""Writing a journal: the one place where an event is accepted."""

from __future__ import annotations

import errno
import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from pathlib import Path

from trainer_hooks import __version__
from trainer_hooks.events import DROPPABLE, LIFECYCLE, AnyEvent, Logged, Process, RecordsDropped, SegmentOpened
from trainer_hooks.fitting import fitted
from trainer_hooks.journal.lines import FORMAT, LARGEST_EVENT, decode_event, encode_event, encode_line
from trainer_hooks.journal.segments import Cursor, create_segment
from trainer_hooks.process import this_process

_log = logging.getLogger("trainer_hooks")
_ROTATE_AT = 64 << 20
_KEPT_IN_MEMORY = 16 << 20
_NEVER_FORGOTTEN = (*LIFECYCLE, RecordsDropped)
_TELL_EVERY = 1.0
_LIMIT_REACHED = (
    "the journal has reached its limit (TRAINER_HOOKS_JOURNAL_LIMIT=%d): log records, then metrics of iterations and "
    "progress, are dropped and counted from now on"
)


class Journal:
    """Appends the events of this process. Safe to use from any thread; silent in a forked child."""

    def __init__(  # noqa: PLR0913 - the fields of its first record
        self,
        run_directory: Path,
        *,
        run: str,
        attempt: int,
        writer: str,
        job: str | None = None,
        launch: str | None = None,
        origin: str = "",
        supervisor: Process | None = None,
    ) -> None:
        """Open the next segment; its first record says all of this.

        Raises:
            OSError: if the directory can't be made or the segment can't be written.
        """
        self._directory = run_directory
        self._opened = SegmentOpened(
            format=FORMAT,
            version=__version__,
            run=run,
            attempt=attempt,
            writer=writer,
            job=job,
            launch=launch,
            origin=origin,
            supervisor=supervisor,
            process=this_process(),
        )
        # Re-entrant: a signal handler or a finalizer may emit while this very thread is emitting.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._backlog: deque[bytes] = deque()
        self._kept = 0
        self._dropped = 0
        self._limit = 0
        self._drops_from = math.inf
        self._filled = self._over = 0
        self._over_told = -math.inf
        self._warned = False
        self._trouble = ""
        self._finished: Cursor = {}
        self._handle = self._segment = -1
        self._torn = self._written = 0
        self._numbers = itertools.count(1)
        self._open_segment()

    @classmethod
    def beside(cls, run_directory: Path, header: SegmentOpened, writer: str) -> Journal:
        """A segment of another writer's in the attempt that the header belongs to.

        Raises:
            OSError: as the constructor.
        """
        return cls(
            run_directory, run=header.run, attempt=header.attempt, writer=writer, job=header.job, origin=header.origin
        )

    @property
    def position(self) -> Cursor:
        """How far this writer has written, per segment of its own; nothing in a forked child."""
        if os.getpid() != self._pid:
            return {}
        with self._lock:
            here = {} if self._handle < 0 else {self._segment: os.fstat(self._handle).st_size - self._torn}
            return {**self._finished, **here}

    @property
    def at_risk(self) -> str | None:
        """How many events exist in memory only or had to be dropped, and why; None if all are on disk."""
        count = len(self._backlog) + self._dropped
        return f"{count} ({self._trouble})" if count else None

    def append(self, event: AnyEvent) -> None:
        """Accept the event; never raises for a disk that refuses it (see `at_risk`).

        Raises:
            TypeError, ValueError: if a field holds what its type does not allow: no reader could read it back.
        """
        if os.getpid() != self._pid:
            return
        body = encode_event(event)
        if len(body) > LARGEST_EVENT:
            self._append_cut(event, len(body))
            return
        with self._lock:
            if self._handle < 0:
                return
            if self._filled < self._drops_from or not self._is_dropped(event):
                self._append(body, event)
                return
            warned, self._warned = self._warned, True
        if not warned:  # without the lock: a host's log handler may be waiting for it
            _log.warning(_LIMIT_REACHED, self._limit)

    def limit_to(self, size: int) -> None:
        """Leave out what may be dropped (`DROPPABLE`) once this process has written so many bytes; 0 for no limit."""
        self._limit = size
        self._drops_from = size * min(DROPPABLE.values()) if size else math.inf

    def retry(self) -> None:
        """Write what waits in memory, if the disk takes it now."""
        with self._lock:
            if os.getpid() == self._pid and self._handle >= 0 and self.at_risk:
                self._catch_up()

    def close(self) -> None:
        """Close the segment; what still waits in memory is tried a last time."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._handle >= 0:
                if self._over:
                    self._tell_over()
                self._catch_up()
                self._finished = self.position
                os.close(self._handle)
                self._handle = -1

    def _append(self, body: bytes, event: AnyEvent) -> None:
        if self._backlog or self._dropped:
            self._catch_up()
        line = _line(next(self._numbers), body)
        self._filled += len(line)
        rest = line if self._backlog else self._write(line)
        if rest:
            self._keep(rest, lifecycle=isinstance(event, _NEVER_FORGOTTEN))
        elif self._written > _ROTATE_AT:
            self._rotate()

    def _append_cut(self, event: AnyEvent, size: int) -> None:
        body = fitted(event, encode_event, LARGEST_EVENT)
        kind = event.__struct_config__.tag
        note = f"a {kind} of {size} bytes was cut to {len(body)}: its longest texts, lists and mappings"
        # In front: behind a terminal event there is nothing more to say.
        self.append(Logged(level="WARNING", message=note, source="trainer_hooks"))
        self.append(decode_event(body))

    def _is_dropped(self, event: AnyEvent) -> bool:
        if self._filled < self._limit * DROPPABLE.get(type(event), math.inf):
            # Not in front of each that may be dropped itself: the counts would take more room than what they count.
            if self._over and (type(event) not in DROPPABLE or self._is_time_to_tell):
                self._tell_over()
            return False
        self._over += 1
        if self._is_time_to_tell:
            self._tell_over()
        return True

    @property
    def _is_time_to_tell(self) -> bool:
        return time.monotonic() - self._over_told >= _TELL_EVERY

    def _tell_over(self) -> None:
        """Count on disk what was left out since the last time."""
        count, self._over, self._over_told = self._over, 0, time.monotonic()
        reason = f"the journal's limit of {self._limit} bytes (TRAINER_HOOKS_JOURNAL_LIMIT) is reached"
        event = RecordsDropped(count=count, reason=reason)
        self._append(encode_event(event), event)

    def _write(self, line: bytes) -> bytes:
        """Write the line; returns what has still to be written: nothing, its newline, or all of it again."""
        # A newline ends what a full disk let through of an earlier line; the reader passes over that part.
        whole = b"\n" + line if self._torn else line
        try:
            written = os.write(self._handle, whole)
        except OSError as error:
            self._trouble = error.strerror or str(error)
            return line
        self._written += written
        rest = whole[written:]
        if rest:
            self._trouble = "the disk took only a part"
        if len(rest) > 1:
            self._torn += written
            return line
        self._torn = 0
        return rest

    def _keep(self, line: bytes, *, lifecycle: bool) -> None:
        if self._kept + len(line) <= _KEPT_IN_MEMORY or lifecycle:
            self._backlog.append(line)
            self._kept += len(line)
        else:
            self._dropped += 1

    def _catch_up(self) -> None:
        while self._backlog:
            line = self._backlog.popleft()  # taken before it is written: a signal handler may come through here, too
            rest = self._write(line)
            self._kept += len(rest) - len(line)
            if rest:
                self._backlog.appendleft(rest)
                return
        if self._dropped:
            event = RecordsDropped(count=self._dropped, reason=self._trouble)
            line = _line(next(self._numbers), encode_event(event))
            rest = self._write(line)
            if rest != line:
                self._dropped -= event.count
            if rest == b"\n":
                self._keep(rest, lifecycle=True)

    def _rotate(self) -> None:
        self._written = 0
        segment, size, handle = self._segment, os.fstat(self._handle).st_size, self._handle
        try:
            self._open_segment()
        except OSError:  # no room for a new one: this one goes on
            return
        self._finished[segment] = size
        os.close(handle)

    def _open_segment(self) -> None:
        number, handle = create_segment(self._directory)
        line = _line(0, encode_event(self._opened))
        try:
            if os.write(handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))  # noqa: TRY301 - as if write had
        except OSError:
            os.close(handle)
            raise
        self._segment, self._handle = number, handle
        self._numbers = itertools.count(1)
        self._torn = self._written = 0


def _line(seq: int, body: bytes) -> bytes:
    return encode_line(seq, time.time(), body)
