"""A batch of the protocol "trainer-hooks/1" (docs/platform.md), read and looked through before anything is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from trainer_hooks.events import AnyEvent, CheckpointSaved, ImageSaved, SegmentOpened
from trainer_hooks.journal import LARGEST_EVENT
from trainer_hooks.receiver.bodies import MOST_DEPTH, is_too_deep, with_plain_texts
from trainer_hooks.receiver.images import NAME

PROTOCOL = "trainer-hooks/1"
MOST_EVENTS = 2000
MOST_BYTES = 4_000_000

_Number = Annotated[int, Meta(ge=1, le=10**9)]
_ORIGIN = re.compile(r"[0-9A-Za-z_]{1,64}")
_IMAGE = re.compile(f"images/{NAME}")  # as which the sender may put it here
_TYPES: Mapping[str, Any] = {str(event.__struct_config__.tag): event for event in get_args(AnyEvent)}


class Malformed(ValueError):
    """The body is no batch; `where` leads to the part that isn't as it should be."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where = where


class TooMany(ValueError):
    """There is more in the batch than one may hold."""


class Refused(ValueError):
    """An event that will never be stored, and why."""


class Envelope(msgspec.Struct, frozen=True):
    """An event with where its sender keeps it."""

    id: Annotated[str, Meta(max_length=1000)]
    run: Annotated[str, Meta(min_length=1, max_length=500)]
    attempt: _Number
    segment: _Number
    seq: _Number
    time: Annotated[float, Meta(ge=0, le=1e11)]
    event: msgspec.Raw

    @property
    def origin(self) -> str:
        """Which of the run's directories it comes from, out of the id; empty where the sender doesn't say.

        Raises:
            Refused: if the id is not that of this place.
        """
        middle = self.id.removeprefix(f"{self.run}.").removesuffix(f".{self.seq}")
        origin, dash, segment = middle.rpartition("-")
        is_of_here = self.id == f"{self.run}.{middle}.{self.seq}" and segment == str(self.segment)
        if is_of_here and bool(_ORIGIN.fullmatch(origin)) == bool(dash):
            return origin
        message = f"its id is not <run>.<origin>-<segment>.<seq>, as {self.run}.5f3a2c01-{self.segment}.{self.seq} is"
        raise Refused(message)


class _Named(msgspec.Struct):
    id: str


class _Typed(msgspec.Struct):
    type: str


class _Batch(msgspec.Struct):
    events: list[msgspec.Raw]


@dataclass(frozen=True)
class Arrived:
    """An event to be stored: its envelope, its origin, and its JSON in one line."""

    envelope: Envelope
    origin: str
    body: bytes


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_typed = msgspec.json.Decoder(_Typed).decode
_decode_event = msgspec.json.Decoder(AnyEvent).decode
_decode_anything = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def read_batch(content: bytes) -> tuple[list[Arrived], dict[str, str]]:
    """The events that may be stored, in order, and for the others why not, by id.

    Raises:
        Malformed: if it is no batch, or an event has no id that it could be refused by.
        TooMany: if it holds more events than one request may.
    """
    try:
        raws = _decode_batch(content).events
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error), "body") from error
    if len(raws) > MOST_EVENTS:
        message = f"more than {MOST_EVENTS} events in one request: {len(raws)}"
        raise TooMany(message)
    arrived: list[Arrived] = []
    rejected: dict[str, str] = {}
    for place, raw in enumerate(raws):
        read = _read_event(raw)
        if isinstance(read, Arrived):
            arrived.append(read)
        else:
            rejected[_id_of(raw, place)] = str(read)
    return arrived, rejected


def _id_of(raw: msgspec.Raw, place: int) -> str:
    try:
        return _decode_named(raw).id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(str(error), "body", "events", place) from error


def _read_event(raw: msgspec.Raw) -> Arrived | Exception:
    """The event, or why it can't be stored."""
    try:
        envelope = _decode_envelope(raw)
        body = _checked(with_plain_texts(bytes(envelope.event)))
        return Arrived(envelope, envelope.origin, body)
    except (Refused, msgspec.MsgspecError, UnicodeDecodeError) as reason:
        return reason


def _checked(body: bytes) -> bytes:
    """The event's JSON, if a reader can read it back; of a type that only a later version knows, as it is."""
    if len(body) > LARGEST_EVENT:
        message = f"the event has {len(body)} bytes, and may have {LARGEST_EVENT}"
        raise Refused(message)
    if is_too_deep(body):
        message = f"the event is nested more than {MOST_DEPTH} deep"
        raise Refused(message)
    kind = _TYPES.get(_decode_typed(body).type)
    if kind is None:
        return _encode(_decode_anything(body))
    if kind is SegmentOpened:
        raise Refused("a segment_opened is about the sender's own file")
    event = _decode_event(body)
    _check_numbers(event)
    if isinstance(event, CheckpointSaved) or (
        isinstance(event, ImageSaved) and not _IMAGE.fullmatch(event.staged or "")
    ):
        # A path on the sender's machine: followed on this one, it would lead to some other file.
        return _encode(msgspec.structs.replace(event, staged=None))
    return body if b"\n" not in body and b"\r" not in body else _encode(_decode_anything(body))


def _check_numbers(event: AnyEvent) -> None:
    """Raise Refused for a number beyond 64 bits: JSON has such, and no reader can count with them."""
    try:
        msgspec.msgpack.encode(event)
    except OverflowError as error:
        raise Refused("the event holds a whole number of more than 64 bits") from error
