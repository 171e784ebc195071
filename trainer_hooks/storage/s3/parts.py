"""An object in parts: how it is divided, how they are transferred side by side, and S3's checksum of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Kept with an object in parts: the checksum of such an object can be made again only by who knows their size.
PART_SIZE_NAME = "trainer-hooks-part-size"

_MOST_PARTS = 10_000
_MIB = 1 << 20


class Part(NamedTuple):
    """Bytes `offset` to `offset + size` of the object; numbers begin with 1."""

    number: int
    offset: int
    size: int

    @property
    def last(self) -> int:
        """The offset of the last byte."""
        return self.offset + self.size - 1


def plan(size: int, part_size: int) -> list[Part]:
    """Parts of `part_size` bytes, the last one smaller; larger parts where there would be over 10,000."""
    if size > part_size * _MOST_PARTS:
        part_size = -(-size // (_MOST_PARTS * _MIB)) * _MIB
    offsets = range(0, size, part_size)
    return [Part(number, offset, min(part_size, size - offset)) for number, offset in enumerate(offsets, 1)]


def own_metadata(answer: Mapping[str, Any]) -> dict[str, str]:
    """The metadata in the answer. Its names have no case in HTTP, and some servers capitalise them."""
    return {name.lower(): value for name, value in answer.get("Metadata", {}).items()}


def known_part_size(answer: Mapping[str, Any]) -> int | None:
    """The size of the parts that the object was uploaded in, if we have uploaded it."""
    recorded = own_metadata(answer).get(PART_SIZE_NAME, "")
    return int(recorded) if recorded.isdecimal() and int(recorded) else None


def combined_md5(digests: Iterable[str]) -> str:
    """The ETag of an object uploaded in parts with these MD5s (hexadecimal), in their order."""
    parts = [bytes.fromhex(digest) for digest in digests]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _begun(pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
    """The work, under way; done here and now where the interpreter is about to end and begins no more threads."""
    try:
        return pool.submit(work, item)
    except RuntimeError:
        done: Future[_Result] = Future()
        done.set_result(work(item))
        return done


def in_parallel(pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """The results in order. After a failure nothing new is begun, what runs is waited for, and the failure raised."""
    futures = [_begun(pool, work, item) for item in items]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
    for future in futures:
        if not future.cancelled():
            future.result()
    return [future.result() for future in futures]
