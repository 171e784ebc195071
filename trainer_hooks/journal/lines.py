"""A record as a line: written with its checksum, and read as far as that holds."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from trainer_hooks.events import AnyEvent

FORMAT = 1
LARGEST_EVENT = 3 << 20
"""How many bytes of JSON an event may have."""

_TRAILER = len(b',"crc":"00000000"}')
# From a record's beginning to a record's end, with no other beginning in between.
_RECORD_SHAPE = re.compile(rb'\{"seq":\d+,"time":(?:(?!\{"seq":\d+,"time":).)*?,"crc":"[0-9a-f]{8}"\}')


class Line(msgspec.Struct):
    """What a line holds."""

    seq: int
    time: float
    event: AnyEvent


class _Keyed(msgspec.Struct):
    seq: int
    key: str | None = None


_encode_plain = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(Line).decode
_decode_keyed = msgspec.json.Decoder(_Keyed).decode
decode_event = msgspec.json.Decoder(AnyEvent).decode


def encode_line(seq: int, at: float, event: bytes, key: str | None = None) -> bytes:
    """A record as it stands in a segment, newline included; `event` is the event's JSON, in one line.

    `key` is kept beside it, for a writer that tells repeats by it; readers pass over it.
    """
    kept = b"" if key is None else b',"key":' + _encode_plain(key)
    record = b'{"seq":%d,"time":%.6f,"event":%b%b' % (seq, at, event, kept)
    return b'%b,"crc":"%08x"}\n' % (record, zlib.crc32(record))


def encode_event(event: AnyEvent) -> bytes:
    """The event's JSON in one line, as a segment holds it.

    Raises:
        TypeError, ValueError: if a field holds what its type does not allow: no reader could read it back.
    """
    try:
        body = _encode_plain(event)
    except UnicodeEncodeError:  # a file name that is no UTF-8, say
        body = _encode_plain(_without_surrogates(msgspec.to_builtins(event)))
    # Accepted must mean readable: a NaN where a number belongs, say, would come back as damage.
    decode_event(body)
    return body


def decode_line(line: bytes) -> Line | None:
    """What the line holds, without its newline; None if that is no record, or not what was written."""
    if not _is_whole(line):
        return None
    try:
        return _decode_line(line)
    except msgspec.MsgspecError:
        return None


def decode_parts(line: bytes) -> Iterator[Line]:
    """The records in a line that is none itself: a torn write, or a damaged newline, glues the next one to it."""
    yield from (part for part in map(decode_line, _RECORD_SHAPE.findall(line)) if part)


def decode_key(line: bytes) -> tuple[int, str | None] | None:
    """The record's sequence number, and its key; None if the line is damaged."""
    if not _is_whole(line):
        return None
    keyed = _decode_keyed(line)
    return keyed.seq, keyed.key


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value


def _is_whole(line: bytes) -> bool:
    return line[-_TRAILER:] == b',"crc":"%08x"}' % zlib.crc32(line[:-_TRAILER])
