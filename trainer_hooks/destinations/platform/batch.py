"""The protocol "trainer-hooks/1": many events in one request, each acknowledged by its id (docs/platform.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from trainer_hooks.destinations import Receipt
from trainer_hooks.destinations.platform.routes import job_segment
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.events import AnyEvent, Record
from trainer_hooks.liveness import Liveness
from trainer_hooks.wire.answers import NOT_FOUND, Answer, read_answer

if TYPE_CHECKING:
    from trainer_hooks.wire.client import Client

PROTOCOL = "trainer-hooks/1"
_NOT_IMPLEMENTED = 501
_HEARTBEAT_WITHIN = 3.0  # events wait for it
_MOST_EVENTS = 2000  # the answer names them all, and is read up to 1 MiB
_OPENING, _CLOSING = b'{"events":[', b"]}"

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Offer(msgspec.Struct):
    protocol: str
    max_events: _Positive
    max_bytes: _Positive
    heartbeats: bool = False
    images: bool = False


class _Envelope(msgspec.Struct):
    id: str
    run: str
    attempt: int
    segment: int
    seq: int
    time: float
    event: AnyEvent


class _Acknowledgement(msgspec.Struct):
    stored: list[str] = []
    rejected: dict[str, str] = {}


Heed: TypeAlias = Callable[[int, dict[str, Any]], None]
_encode = msgspec.json.Encoder().encode


def ask_for_batches(client: Client, job: str) -> tuple[Batches | None, bool]:
    """The server's batch endpoint, or None where it has none; and whether that answer may be relied on from now on.

    Raises:
        RetryLater: if it can't be told now.
    """
    answer = client.get("/trainer-hooks")
    if answer.refuses_credentials:
        # Some gateways say 403 to every address they don't know: the next call shows whether the token is at fault.
        return None, False
    if answer.is_no or answer.status == _NOT_IMPLEMENTED:
        return None, True
    offer = _read_offer(answer)
    return (Batches(client, job, offer) if offer else None), True


def _read_offer(answer: Answer) -> _Offer | None:
    if not answer.is_success:
        read_answer(answer)
    try:
        offer = msgspec.convert(answer.content, _Offer)
    except msgspec.ValidationError:
        return None
    return offer if offer.protocol == PROTOCOL else None


class Batches:
    """A server's batch endpoint for one job."""

    def __init__(self, client: Client, job: str, offer: _Offer) -> None:
        self._client = client
        self._job = job
        self._max_events = min(offer.max_events, _MOST_EVENTS)
        self._max_bytes = offer.max_bytes
        self._heartbeats = offer.heartbeats
        self.takes_images = offer.images
        """Whether the server wants the images themselves, too."""

    def beat(self, liveness: Liveness) -> dict[str, Any]:
        """Send a heartbeat, where the server wants them; returns its answer.

        Raises:
            RetryLater, Rejected: as a delivery; the next heartbeat will be another one.
        """
        if not self._heartbeats:
            return {}
        path = f"/training/jobs/{job_segment(self._job)}/heartbeat"
        answer = self._client.post(path, _encode(liveness), within=_HEARTBEAT_WITHIN)
        return read_answer(answer, json_only=NOT_FOUND)

    def deliver(self, records: Sequence[Record], pause: Callable[[], None], heed: Heed) -> Iterator[Sequence[Receipt]]:
        """Deliver in order.

        `pause` is called between requests, and may raise. `heed` gets each answer, with the attempt of the newest
        record that it is about.

        Raises:
            RetryLater: if the rest can't be delivered now.
        """
        for place, batch in enumerate(self._split([(record, _encode(_envelope(record))) for record in records])):
            if place:
                pause()
            yield from self._send(batch, heed)

    def _split(self, encoded: Sequence[tuple[Record, bytes]]) -> Iterator[Sequence[tuple[Record, bytes]]]:
        """As many as one request may hold; a single one that is too large goes alone, for the server to refuse."""
        start, size = 0, len(_OPENING + _CLOSING)
        for place, (_, event) in enumerate(encoded):
            full = place - start == self._max_events or size + len(event) > self._max_bytes
            if full and place > start:
                yield encoded[start:place]
                start, size = place, len(_OPENING + _CLOSING)
            size += len(event) + 1
        if start < len(encoded):
            yield encoded[start:]

    def _send(self, batch: Sequence[tuple[Record, bytes]], heed: Heed) -> Iterator[Sequence[Receipt]]:
        body = _OPENING + b",".join(event for _, event in batch) + _CLOSING
        answer = self._client.post(f"/training/jobs/{job_segment(self._job)}/events", body)
        try:
            content = read_answer(answer, json_only=NOT_FOUND)
            heed(batch[-1][0].attempt, content)
            receipts = _receipts(batch, content)
        except Rejected as refusal:
            if answer.status in NOT_FOUND:
                self._still_spoken()
            elif len(batch) > 1:  # too large for something on the way, or one of them spoils it
                middle = len(batch) // 2
                yield from self._send(batch[:middle], heed)
                yield from self._send(batch[middle:], heed)
                return
            receipts = [Receipt(record, refused=str(refusal)) for record, _ in batch]
        if receipts:
            yield receipts
        if len(receipts) < len(batch):
            message = f"{answer.url} acknowledged only {len(receipts)} of {len(batch)} events, in their order"
            raise RetryLater(message)

    def _still_spoken(self) -> None:
        """Not found is the job only where the protocol is still there: an older server may have taken over."""
        batches, _ = ask_for_batches(self._client, self._job)
        if batches is None:
            message = f"the platform no longer speaks {PROTOCOL}"
            raise RetryLater(message)


def _envelope(record: Record) -> _Envelope:
    return _Envelope(record.id, record.run, record.attempt, record.segment, record.seq, record.time, record.event)


def _receipts(batch: Sequence[tuple[Record, bytes]], content: dict[str, Any]) -> list[Receipt]:
    """For the records in front of the first that is not acknowledged: the rest is sent again, in order."""
    try:
        answered = msgspec.convert(content, _Acknowledgement)
    except msgspec.ValidationError as error:
        message = f"the answer to a batch is not of {PROTOCOL}: {error}"
        raise RetryLater(message) from error
    stored = set(answered.stored)
    receipts: list[Receipt] = []
    for record, _ in batch:
        if record.id not in stored and record.id not in answered.rejected:
            break
        receipts.append(Receipt(record, refused=answered.rejected.get(record.id)))
    return receipts
