"""One run at the receiver: copies of its senders' segments, and a segment of the receiver's own for calls of B's."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from trainer_hooks import __version__
from trainer_hooks.events import AnyEvent, Record, RunCompleted, SegmentOpened
from trainer_hooks.journal import FORMAT, Reader, encode_event, encode_line, read_headers, read_keys
from trainer_hooks.process import NOWHERE
from trainer_hooks.receiver.batches import Arrived
from trainer_hooks.receiver.seen import Seen
from trainer_hooks.receiver.segments import Segment
from trainer_hooks.replay import Attempt

_COPIED = "received"
_OWN = "receiver"
_ORIGIN = 4


@dataclass
class _Copy:
    """A sender's segment, as far as it is here."""

    attempt: int
    segment: Segment
    seen: Seen | None = None


@dataclass
class _Own:
    """The segment for an attempt that was told without segments; `keys` are those of all such calls so far."""

    attempt: int
    segment: Segment
    next_seq: int = 1


@dataclass(frozen=True)
class Call:
    """One call of predecessor B's: who says the same again says the same `key`, or the same `content`.

    `events` makes events of it, given the attempt as it is. `begins`: it is what a training says first.
    """

    key: str | None
    content: str
    events: Callable[[Attempt], Sequence[AnyEvent]]
    at: float
    begins: bool = False


@dataclass(frozen=True)
class Told:
    """The attempt after a call, and the number under which the call is kept."""

    attempt: Attempt
    number: int


class ReceivedRun:
    """All that this server writes of one run. Safe to use from any thread."""

    def __init__(self, directory: Path, run: str, job: str) -> None:
        self._directory = directory
        self._run = run
        self._job = job
        self._lock = threading.Lock()
        self._copies: dict[tuple[str, int], _Copy] = {}
        self._at_home: set[str] = set()
        self._own: dict[int, _Own] = {}
        self._keys: dict[str, int] = {}
        self._origin = ""
        self._reader = Reader(directory)
        self._attempts: dict[int, Attempt] = {}
        self._load()

    @property
    def job(self) -> str:
        """The job that the run belongs to: the one that has told of it first."""
        return self._job

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed what was here."""
        return bool(self._copies or self._own) and not self._directory.is_dir()

    def take(self, arrived: Sequence[Arrived]) -> tuple[list[str], dict[str, str]]:
        """Store what is not here yet; returns the ids that are stored now, and for the others why not.

        Raises:
            OSError: if the disk doesn't take it; what has been stored by then is found stored the next time.
        """
        stored: list[str] = []
        rejected: dict[str, str] = {}
        with self._lock:
            for (origin, number), group in groupby(arrived, lambda one: (one.origin, one.envelope.segment)):
                events = list(group)
                problem = self._put(origin, number, events)
                ids = [one.envelope.id for one in events]
                if problem is None:
                    stored += ids
                else:
                    rejected.update(dict.fromkeys(ids, problem))
        return stored, rejected

    def tell(self, call: Call) -> Told:
        """Turn a call into events of the run's newest attempt, once.

        Raises:
            OSError: if the disk doesn't take them.
        """
        with self._lock:
            number, attempt = self._newest()
            if call.key in self._keys:
                return Told(attempt, self._keys[call.key])
            if call.begins and attempt.ended is not None and not isinstance(attempt.ended, RunCompleted):
                number, attempt = number + 1, Attempt()
            key = call.key or f"{number}:{call.content}"
            if key not in self._keys:
                self._keys[key] = self._write(number, key, call.events(attempt), call.at)
            return Told(self._newest()[1], self._keys[key])

    def _put(self, origin: str, number: int, events: Sequence[Arrived]) -> str | None:
        if origin in self._at_home:  # its courier speaks to the directory that it reads from
            return None
        first = events[0].envelope
        copy = self._copies.get((origin, number))
        if copy is None:
            segment = Segment.create(self._directory, self._header(first.attempt, _COPIED, origin, number), first.time)
            copy = self._copies[origin, number] = _Copy(first.attempt, segment, Seen())
        if any(one.envelope.attempt != copy.attempt for one in events):
            return f"segment {number} is of attempt {copy.attempt}"
        seen = copy.seen = copy.seen or _what_is_in(copy.segment)
        new: dict[int, Arrived] = {}
        for one in events:
            if one.envelope.seq not in seen:
                new.setdefault(one.envelope.seq, one)  # what was stored first under an id stays
        if new:
            copy.segment.append(b"".join(_line(one) for one in new.values()))
        for seq in new:
            seen.add(seq)
        return None

    def _write(self, attempt: int, key: str, events: Sequence[AnyEvent], at: float) -> int:
        if not events:
            return 0
        own = self._own.get(attempt)
        if own is None:
            segment = Segment.create(self._directory, self._header(attempt, _OWN, self._origin), at)
            own = self._own[attempt] = _Own(attempt, segment)
        # The key goes with the last: what a torn write has left of the call is told again.
        keys = [None] * (len(events) - 1) + [key]
        lines = [
            encode_line(own.next_seq + place, at, encode_event(event), key)
            for place, (event, key) in enumerate(zip(events, keys, strict=True))
        ]
        own.segment.append(b"".join(lines))
        own.next_seq += len(events)
        return own.next_seq - 1

    def _newest(self) -> tuple[int, Attempt]:
        while found := self._reader.read():
            for item in found:
                if isinstance(item, Record):
                    self._attempts.setdefault(item.attempt, Attempt()).apply(item.event)
        number = max(self._attempts, default=1)
        return number, self._attempts.get(number, Attempt())

    def _header(self, attempt: int, writer: str, origin: str, copy_of: int | None = None) -> SegmentOpened:
        return SegmentOpened(
            format=FORMAT,
            version=__version__,
            run=self._run,
            attempt=attempt,
            writer=writer,
            job=self._job,
            origin=origin,
            process=NOWHERE,
            copy_of=copy_of,
        )

    def _load(self) -> None:
        headers = read_headers(self._directory)
        for number, header in headers.items():
            segment = Segment(self._directory, number)
            if header.writer == _COPIED and header.copy_of is not None:
                self._copies[header.origin, header.copy_of] = _Copy(header.attempt, segment)
            elif header.writer == _OWN:
                self._load_own(header, segment)
            else:
                self._at_home.add(header.origin)
        self._origin = self._origin or secrets.token_hex(_ORIGIN)
        if headers:
            first = headers[min(headers)]
            self._job = first.job or first.run

    def _load_own(self, header: SegmentOpened, segment: Segment) -> None:
        segment.mend()
        self._origin = header.origin
        own = self._own[header.attempt] = _Own(header.attempt, segment)
        for seq, key in read_keys(self._directory, segment.number):
            own.next_seq = seq + 1
            if key is not None:
                self._keys[key] = seq


def _what_is_in(segment: Segment) -> Seen:
    segment.mend()
    seen = Seen()
    for seq, _ in read_keys(segment.directory, segment.number):
        seen.add(seq)
    return seen


def _line(one: Arrived) -> bytes:
    return encode_line(one.envelope.seq, one.envelope.time, one.body)
