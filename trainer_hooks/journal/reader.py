"""Reading a journal, also while it grows."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from trainer_hooks.events import Event, Record, SegmentOpened
from trainer_hooks.journal.headers import read_headers
from trainer_hooks.journal.lines import decode_key, decode_line, decode_parts
from trainer_hooks.journal.segments import Cursor, segment_path, sizes, whole_lines


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that are no valid record. `end` is the offset just behind them."""

    segment: int
    end: int
    size: int


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
        with segment_path(self._directory, number).open("rb") as file:
            for line in whole_lines(file.fileno(), offset, end):
                offset += len(line) + 1
                yield list(_parse(line, self._header(number), number, offset))

    def _header(self, number: int) -> SegmentOpened:
        if number not in self._headers:
            self._headers.update(read_headers(self._directory))
        return self._headers[number]


def read_records(run_directory: Path, cursor: Mapping[int, int] | None = None) -> Iterator[Record]:
    """All valid records from the cursor on, in the journal's order."""
    reader = Reader(run_directory, cursor)
    while found := reader.read():
        yield from (item for item in found if isinstance(item, Record))


def read_keys(run_directory: Path, number: int) -> Iterator[tuple[int, str | None]]:
    """The sequence number and the key (`encode_line`) of each valid line of a segment, behind its first one."""
    path = segment_path(run_directory, number)
    with path.open("rb") as file:
        for line in itertools.islice(whole_lines(file.fileno(), 0, path.stat().st_size), 1, None):
            keyed = decode_key(line)
            if keyed is not None:
                yield keyed


def _moment(items: list[Record | Damage]) -> tuple[int, float]:
    """When the line was written: by this, segments that were written side by side are read as one."""
    return next(((item.attempt, item.time) for item in items if isinstance(item, Record)), (0, 0.0))


def _is_one_of(item: Record | Damage, events: tuple[type[Event], ...]) -> bool:
    return isinstance(item, Record) and isinstance(item.event, events)


def _parse(line: bytes, header: SegmentOpened, segment: int, end: int) -> Iterator[Record | Damage]:
    whole = decode_line(line)
    for part in [whole] if whole else decode_parts(line):
        yield Record(
            header.run,
            header.attempt,
            segment,
            part.seq,
            part.time,
            part.event,
            end,
            header.origin,
            header.copy_of,
        )
    if not whole:
        yield Damage(segment, end, len(line) + 1)
