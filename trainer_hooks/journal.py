"""The journal: every accepted event of a run, on local disk, before anything else happens to it.

On disk
-------
`<run directory>/journal/000001.jsonl`, `000002.jsonl`, …: numbered segments of JSON lines, readable with `jq`. A
segment is created with O_EXCL and has exactly one writer for all time; a resumed attempt, another rank and the courier
each open the next one. Its first record, `segment_opened`, says whose it is. A line is one `write(2)` with O_APPEND:

    {"seq":12,"time":1763803512.123456,"event":{"type":"epoch_ended",…},"crc":"1f3a90c2"}

`crc` is the CRC-32 of all bytes before `,"crc"`, in hex: a torn tail or a flipped bit is found, counted and passed
over, and the records around it stand. Why not SQLite: its locks and its memory-mapped log break on network file
systems.

What holds
----------
An event is accepted when `Journal.append` returns: the kernel has it, and no death of the process can take it back. If
the disk refuses (full, gone read-only), the line waits in memory, 16 MiB of them at most, and is written with the first
append that succeeds; what memory could not hold, never a lifecycle event, is counted in a `records_dropped` event.
`Journal.at_risk` tells how many wait.

No line is longer than about 3 MiB: of a larger event the longest texts, lists and mappings are cut, and a `logged`
event behind it says so.

Beyond a declared limit (`Journal.limit_to`, the setting `journal_limit`) what `events.DROPPABLE` names is not written
any more, and counted in `records_dropped` events: before the next event that is never dropped, at the end, and once a
second while others come.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import logging
import math
import os
import re
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from trainer_hooks import __version__
from trainer_hooks.events import (
    DROPPABLE,
    LIFECYCLE,
    AnyEvent,
    Event,
    Logged,
    Process,
    Record,
    RecordsDropped,
    SegmentOpened,
)
from trainer_hooks.fitting import fitted
from trainer_hooks.process import this_process

_log = logging.getLogger("trainer_hooks")
FORMAT = 1
Cursor: TypeAlias = dict[int, int]
"""Up to which byte each segment has been dealt with, by segment number."""

_SUBDIRECTORY = "journal"
_ROTATE_AT = 64 << 20
_KEPT_IN_MEMORY = 16 << 20
_CHUNK = 1 << 20
_LARGEST_EVENT = 3 << 20
_NEVER_FORGOTTEN = (*LIFECYCLE, RecordsDropped)
_TELL_EVERY = 1.0
_LIMIT_REACHED = (
    "the journal has reached its limit (TRAINER_HOOKS_JOURNAL_LIMIT=%d): log records, then metrics of iterations and "
    "progress, are dropped and counted from now on"
)
_OURS = "trainer_hooks"
_TRAILER = len(b',"crc":"00000000"}')
# From a record's beginning to a record's end, with no other beginning in between.
_RECORD_SHAPE = re.compile(rb'\{"seq":\d+,"time":(?:(?!\{"seq":\d+,"time":).)*?,"crc":"[0-9a-f]{8}"\}')


class _Line(msgspec.Struct):
    seq: int
    time: float
    event: AnyEvent


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that are no valid record. `end` is the offset just behind them."""

    segment: int
    end: int
    size: int


_encode_plain = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_event = msgspec.json.Decoder(AnyEvent).decode


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
        body = _encode_event(event)
        if len(body) > _LARGEST_EVENT:
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
        body = fitted(event, _encode_event, _LARGEST_EVENT)
        kind = event.__struct_config__.tag
        note = f"a {kind} of {size} bytes was cut to {len(body)}: its longest texts, lists and mappings"
        # In front: behind a terminal event there is nothing more to say.
        self.append(Logged(level="WARNING", message=note, source="trainer_hooks"))
        self.append(_decode_event(body))

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
        self._append(_encode_event(event), event)

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
            line = _line(next(self._numbers), _encode_event(event))
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
        folder = self._directory / _SUBDIRECTORY
        folder.mkdir(parents=True, exist_ok=True)
        number, handle = _create(folder, max((number for number, _ in segments(self._directory)), default=0) + 1)
        line = _line(0, _encode_event(self._opened))
        try:
            if os.write(handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))  # noqa: TRY301 - as if write had
        except OSError:
            os.close(handle)
            raise
        self._segment, self._handle = number, handle
        self._numbers = itertools.count(1)
        self._torn = self._written = 0


class Reader:
    """Reads a run's records, from a cursor on, as often as one likes; new ones appear as they are written."""

    def __init__(self, run_directory: Path, cursor: Mapping[int, int] | None = None) -> None:
        self._directory = run_directory
        self.cursor: Cursor = dict(cursor or {})
        self._headers: dict[int, SegmentOpened] = {}

    def read(self, limit: int = 1000, only: tuple[type[Event], ...] = ()) -> list[Record | Damage]:
        """Up to about `limit` further records, in the journal's order; empty when there is no more just now.

        With `only`, nothing but records of these events is returned; the cursor passes the others all the same.
        """
        found: list[Record | Damage] = []
        # Up to the sizes of one moment, the elder segments measured first: what a process has written before another
        # one's record is read before it, even if both are read while they grow.
        grown = [(number, end) for number, end in sizes(self._directory).items() if end > self.cursor.get(number, 0)]
        for items in heapq.merge(*(self._read_segment(number, end) for number, end in grown), key=_moment):
            found += [item for item in items if not only or _is_one_of(item, only)]
            self.cursor[items[-1].segment] = items[-1].end
            if len(found) >= limit:
                break
        return found

    def _read_segment(self, number: int, end: int) -> Iterator[list[Record | Damage]]:
        """What each further line of the segment holds."""
        offset = self.cursor.get(number, 0)
        with _path(self._directory, number).open("rb") as file:
            for line in _whole_lines(file.fileno(), offset, end):
                offset += len(line) + 1
                yield list(_parse(line, self._header(number), number, offset))

    def _header(self, number: int) -> SegmentOpened:
        if number not in self._headers:
            self._headers.update(read_headers(self._directory))
        return self._headers[number]


def _moment(items: list[Record | Damage]) -> tuple[int, float]:
    """When the line was written: by this, segments that were written side by side are read as one."""
    return next(((item.attempt, item.time) for item in items if isinstance(item, Record)), (0, 0.0))


def _is_one_of(item: Record | Damage, events: tuple[type[Event], ...]) -> bool:
    return isinstance(item, Record) and isinstance(item.event, events)


def segments(run_directory: Path) -> list[tuple[int, Path]]:
    """The run's segments, by number."""
    try:
        paths = sorted((run_directory / _SUBDIRECTORY).iterdir())
    except FileNotFoundError:
        return []
    return [(int(path.stem), path) for path in paths if re.fullmatch(r"\d{6}\.jsonl", path.name)]


def read_records(run_directory: Path, cursor: Mapping[int, int] | None = None) -> Iterator[Record]:
    """All valid records from the cursor on, in the journal's order."""
    reader = Reader(run_directory, cursor)
    while found := reader.read():
        yield from (item for item in found if isinstance(item, Record))


def read_headers(run_directory: Path) -> dict[int, SegmentOpened]:
    """The first record of each segment, without reading further; segments that have none yet are left out.

    A damaged one is guessed: that segment belongs to the run, and not before the one in front of it.
    """
    headers: dict[int, SegmentOpened] = {}
    attempt = 1
    for number, path in segments(run_directory):
        first = _first_line(path)
        if first is not None:
            headers[number] = _opened(first) or _guessed(run_directory, attempt)
            attempt = headers[number].attempt
    return headers


def owner(headers: Mapping[int, SegmentOpened], attempt: int | None = None) -> SegmentOpened:
    """The header of the process that an attempt (by default the newest) belongs to: the one that began it."""
    newest = max(header.attempt for header in headers.values()) if attempt is None else attempt
    return next(header for _, header in sorted(headers.items()) if header.attempt == newest)


def last_written(run_directory: Path, attempt: int) -> float:
    """When the process that an attempt belongs to has last written, by the file system's clock; 0.0 if it never has."""
    headers = {n: header for n, header in read_headers(run_directory).items() if header.attempt == attempt}
    if not headers:
        return 0.0
    first = owner(headers, attempt)
    own = {n for n, header in headers.items() if (header.process, header.writer) == (first.process, first.writer)}
    return max(path.stat().st_mtime for number, path in segments(run_directory) if number in own)


def sizes(run_directory: Path) -> Cursor:
    """The size of each segment in bytes: the cursor at the journal's present end."""
    return {number: path.stat().st_size for number, path in segments(run_directory)}


def _path(run_directory: Path, number: int) -> Path:
    return run_directory / _SUBDIRECTORY / f"{number:06d}.jsonl"


def _create(folder: Path, number: int) -> tuple[int, int]:
    """Create the first segment that doesn't exist yet, from `number` on; returns its number and descriptor."""
    while True:
        path = folder / f"{number:06d}.jsonl"
        try:
            return number, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            number += 1


def _line(seq: int, body: bytes) -> bytes:
    record = b'{"seq":%d,"time":%.6f,"event":%b' % (seq, time.time(), body)
    return b'%b,"crc":"%08x"}\n' % (record, zlib.crc32(record))


def _encode_event(event: AnyEvent) -> bytes:
    try:
        body = _encode_plain(event)
    except UnicodeEncodeError:  # a file name that is no UTF-8, say
        body = _encode_plain(_without_surrogates(msgspec.to_builtins(event)))
    # Accepted must mean readable: a NaN where a number belongs, say, would come back as damage.
    _decode_event(body)
    return body


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value


def _first_line(path: Path) -> bytes | None:
    """The segment's first line; None if it has no whole one yet."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    return line[:-1] if line.endswith(b"\n") else None


def _opened(first: bytes) -> SegmentOpened | None:
    line = _valid(first)
    return line.event if line and isinstance(line.event, SegmentOpened) else None


def _guessed(run_directory: Path, attempt: int) -> SegmentOpened:
    nowhere = Process(host="", boot="", namespace="", pid=0, started="")
    return SegmentOpened(
        format=FORMAT, version="", run=unquote(run_directory.name), attempt=attempt, writer="unknown", process=nowhere
    )


def _whole_lines(handle: int, position: int, end: int) -> Iterator[bytes]:
    """The finished lines between the two offsets, without their newlines; a tail without one is left for later."""
    rest = b""
    while chunk := os.pread(handle, min(_CHUNK, end - position), position):
        position += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _parse(line: bytes, header: SegmentOpened, segment: int, end: int) -> Iterator[Record | Damage]:
    whole = _valid(line)
    # A torn write, or a damaged newline, glues the next record to a broken one: what is whole in there still counts.
    parts = [whole] if whole else [part for part in map(_valid, _RECORD_SHAPE.findall(line)) if part]
    for part in parts:
        yield Record(header.run, header.attempt, segment, part.seq, part.time, part.event, end, header.origin)
    if not whole:
        yield Damage(segment, end, len(line) + 1)


def _valid(line: bytes) -> _Line | None:
    body, trailer = line[:-_TRAILER], line[-_TRAILER:]
    if trailer != b',"crc":"%08x"}' % zlib.crc32(body):
        return None
    try:
        return _decode_line(line)
    except msgspec.MsgspecError:
        return None
