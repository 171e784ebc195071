"""The job's log: entries in batches, none of them twice as far as that can be told.

`POST logs/` has no key that would make a repeat harmless. Where an answer was lost, and where a courier may have been
killed before it noted one, the log is therefore read before the next entries are sent, and what stands in it already is
left out: an entry is known by its event, its time to the microsecond, and its data. Where the log can't be read, the
entries are sent again: a repeated line is better than a missing one.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

import msgspec

from trainer_hooks.destinations.synapse.entries import Entry
from trainer_hooks.errors import NotSent, Rejected, RetryLater
from trainer_hooks.events import Record
from trainer_hooks.wire.answers import NOT_FOUND, check_status, check_taken

if TYPE_CHECKING:
    from trainer_hooks.wire.client import Client

_MOST_ENTRIES = 200
_MOST_BYTES = 1_000_000
_PAGE = 100
_SMALL_PAGE = 10  # where one of the others is longer than is read
_LONGEST_PAGE = 16 << 20
_TRIES_TO_READ = 5
_TRIES_TO_WRITE = 3
_encode = msgspec.json.Encoder(order="deterministic").encode
_Identity: TypeAlias = tuple[str, datetime, bytes]


@dataclass
class Page:
    """What the log is to say of one record."""

    record: Record
    entries: list[Entry] = field(default_factory=list)


class Logbook:
    """The log of one job."""

    def __init__(self, client: Client, job: str) -> None:
        self._client = client
        self._job = job
        # A courier before may have been killed between sending and noting that it has sent.
        self._is_doubtful = True
        self._failures_to_read = 0
        self._failures_to_write = 0

    @property
    def is_stuck(self) -> bool:
        """Whether what is next to be written has failed so often that it may go on like this."""
        return self._failures_to_write >= _TRIES_TO_WRITE

    def write(self, pages: Sequence[Page]) -> Iterator[tuple[Sequence[Page], str | None]]:
        """Write them in order; yields those that are in the log, or that are refused, with the reason.

        Raises:
            RetryLater: if the rest can't be written now.
        """
        for batch in _split(pages):
            try:
                yield from self._send(batch)
            except RetryLater:
                self._failures_to_write += 1
                raise
            self._failures_to_write = 0

    def _send(self, batch: Sequence[Page]) -> Iterator[tuple[Sequence[Page], str | None]]:
        refused = self._refused(batch)
        if refused is None or len(batch) == 1:
            yield batch, refused
            return
        middle = len(batch) // 2  # too large for something on the way, or one of them spoils it
        yield from self._send(batch[:middle])
        yield from self._send(batch[middle:])

    def _refused(self, batch: Sequence[Page]) -> str | None:
        """Why the batch is not taken as it is; None where it is."""
        try:
            self._post([entry for page in batch for entry in page.entries])
        except Rejected as refusal:
            return str(refusal)
        except _Fault as fault:
            if not self.is_stuck:
                raise
            if len(batch) == 1:
                self._write_instead(batch[0].entries[0], str(fault))
            return str(fault)
        return None

    def _write_instead(self, entry: Entry, reason: str) -> None:
        """A word in its place.

        Raises:
            RetryLater: if that is not taken either: it was not for the entry.
        """
        place: Entry = {name: entry[name] for name in ("datetime", "job", "step") if name in entry}
        data = {"content": f"left out: a {entry['event']} that is answered with a fault: {reason}"}
        with contextlib.suppress(Rejected):
            self._post([{"event": "message", "data": data, "level": "warning", **place}])

    def _post(self, entries: list[Entry]) -> None:
        if entries and self._is_doubtful:
            there = self._read()
            entries = [entry for entry in entries if _identity(entry) not in there]
            self._is_doubtful = False
        if not entries:
            return
        self._is_doubtful = True
        try:
            # As A's own client does: an array of several, one by itself.
            answer = self._client.post("/logs/", _encode(entries if len(entries) > 1 else entries[0]))
        except NotSent:
            self._is_doubtful = False
            raise
        self._is_doubtful = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            check_taken(answer, json_only=NOT_FOUND)
        except RetryLater as trouble:
            if self._is_doubtful:
                raise _Fault(str(trouble), after=trouble.after) from trouble
            raise

    def _read(self) -> set[_Identity]:
        """What stands at both ends of the log, whichever is the newest; nothing where it can't be read.

        Raises:
            RetryLater: if it may be read later.
        """
        try:
            return self._read_ends(_PAGE)
        except _TooLong:
            pass
        try:
            return self._read_ends(_SMALL_PAGE)
        except _TooLong:
            return set()

    def _read_ends(self, page_size: int) -> set[_Identity]:
        """At each end as many entries as a batch may have, and more; a server may give smaller pages than asked for."""
        first = self._read_page(1, page_size)
        of_each = max(1, len(first.results))
        last, at_an_end = math.ceil(first.count / of_each), math.ceil(_MOST_ENTRIES / of_each) + 1
        there = _identities(first)
        for number in sorted({*range(2, at_an_end + 1), *range(last - at_an_end + 1, last + 1)}):
            if 1 < number <= last:
                there |= _identities(self._read_page(number, page_size))
        return there

    def _read_page(self, number: int, page_size: int) -> _Listing:
        query = urlencode({"job": self._job, "page_size": page_size, "page": number})
        answer = self._client.get(f"/logs/?{query}", longest=_LONGEST_PAGE)
        if answer.is_no or answer.status == HTTPStatus.FORBIDDEN:  # some may write that may not read
            return _Listing()
        try:
            check_status(answer)
        except RetryLater:
            self._failures_to_read += 1
            if self._failures_to_read < _TRIES_TO_READ:
                raise
            return _Listing()  # what answers, and can't be read for ever, must not hold up what can be written
        self._failures_to_read = 0
        if not answer.is_whole:
            raise _TooLong
        try:
            return msgspec.convert(answer.content, _Listing)
        except msgspec.ValidationError:
            return _Listing()


class _Fault(RetryLater):
    """The server has answered, with a fault of its own."""


class _TooLong(Exception):
    """A page is longer than is read."""


class _Listing(msgspec.Struct):
    """A page of the log."""

    count: int = 0
    results: list[dict[str, Any]] = []


def _split(pages: Sequence[Page]) -> Iterator[Sequence[Page]]:
    """As many as one request may hold; a single one that is too large goes alone, for the server to refuse."""
    start = count = size = 0
    for place, page in enumerate(pages):
        adds = sum(len(_encode(entry)) + 1 for entry in page.entries)
        full = count + len(page.entries) > _MOST_ENTRIES or size + adds > _MOST_BYTES
        if full and place > start:
            yield pages[start:place]
            start, count, size = place, 0, 0
        count, size = count + len(page.entries), size + adds
    if start < len(pages):
        yield pages[start:]


def _identities(listing: _Listing) -> set[_Identity]:
    return {identity for entry in listing.results if (identity := _identity(entry)) is not None}


def _identity(entry: Entry) -> _Identity | None:
    """What an entry is known by; None for one in another form."""
    try:
        # Python 3.10 does not read the "Z" that Django writes.
        when = datetime.fromisoformat(str(entry["datetime"]).replace("Z", "+00:00"))
        return str(entry["event"]), when.astimezone(), hashlib.sha256(_encode(entry["data"])).digest()
    except (KeyError, ValueError):
        return None
