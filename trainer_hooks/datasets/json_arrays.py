"""JSON files of any size: what stands at their top, and their long arrays in chunks that are parsed one at a time.

A file is mapped, not read: its bytes are the page cache's, and parsing takes what one chunk needs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from trainer_hooks.errors import DatasetError

_T = TypeVar("_T")

CHUNK_SIZE = 4 << 20
_BETWEEN = re.compile(rb"\}\s*,\s*\{")
# How far behind the end of a chunk to look for the next element's beginning, and how many places to try.
_REACH = 64 << 10
_TRIES = 4
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],]', re.DOTALL)
_NOT_JSON = re.compile(rb"-?(NaN|Infinity|nan|inf)")
_BYTE = re.compile(r"\(byte (\d+)\)")
_BOM = b"\xef\xbb\xbf"


class Span(NamedTuple):
    """Where an element or a run of elements lies in the file, in bytes."""

    start: int
    end: int


class JsonFile:
    """A JSON file, open for reading; use it in `with`.

    Raises (all methods):
        DatasetError: naming the file, and the byte where it stops being JSON or what is expected.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        try:
            # Without blocking: opening a FIFO would wait for who writes to it.
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file can't be mapped
            message = f"{shown} can't be read as JSON: {getattr(error, 'strerror', None) or 'it is empty'}"
            raise DatasetError(message) from error
        self._mapped = mapped
        self._whole = memoryview(mapped)

    def __enter__(self) -> JsonFile:
        return self

    def __exit__(self, *_: object) -> None:
        # What was parsed in views, and is still held, holds the mapping too: it goes with the last of them.
        with contextlib.suppress(BufferError):
            self._whole.release()
            self._mapped.close()

    def top(self, kind: type[_T]) -> _T:
        """The whole file as that type; a field of type `msgspec.Raw` is not parsed but left in place."""
        start = len(_BOM) if self._mapped[: len(_BOM)] == _BOM else 0
        return self.parse(Span(start, len(self._whole)), kind)

    def span(self, raw: msgspec.Raw) -> Span:
        """Where a value lies that `top` has left in place."""
        from trainer_hooks.datasets.arrays import offset_in

        view = memoryview(raw)
        start = offset_in(view, self._whole)
        return Span(start, start + len(view))

    def parse(self, span: Span, kind: type[_T]) -> _T:
        """One value."""
        try:
            return msgspec.json.decode(self._whole[span.start : span.end], type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise self._trouble(error, span.start) from error

    def runs(self, array: msgspec.Raw, kind: type[_T], size: int = CHUNK_SIZE) -> Iterator[tuple[Span, list[_T | str]]]:
        """The array in runs of whole elements, of about `size` bytes each: where one lies, and what it holds.

        Of an element that isn't of that type, it holds what is wrong with it.
        """
        whole = self.span(array)
        if self._mapped[whole.start] != ord("[") or self._mapped[whole.end - 1] != ord("]"):
            message = f"{self.shown}: there is no array at byte {whole.start}, where one is expected"
            raise DatasetError(message)
        start, end = whole.start + 1, whole.end - 1
        guessing = True
        while start < end:
            stop, run = self._guess(start, end, size, kind) if guessing else (None, [])
            if stop is None:
                # Where elements hold such as they are, no guess is better than the first.
                guessing = False
                stop = self._count(start, end, size)
                run = self.run(Span(start, stop), kind)
            if run:
                yield Span(start, stop), run
            start = self._mapped.find(b",", stop, end) + 1 or end

    def run(self, span: Span, kind: type[_T]) -> list[_T | str]:
        """What a run of elements holds; of an element that isn't of that type, what is wrong with it.

        Raises:
            msgspec.DecodeError: if it is no run of whole elements.
        """
        return elements(b"".join((b"[", self._whole[span.start : span.end], b"]")), kind)

    def spans(self, span: Span) -> Iterator[Span]:
        """Where the elements of such a run lie."""
        text = self._mapped[span.start : span.end]
        position = 0
        for raw in msgspec.json.decode(b"[%b]" % text, type=list[msgspec.Raw]):
            content = bytes(raw)
            position = text.index(content, position)  # a comma and blanks further on
            yield Span(span.start + position, span.start + position + len(content))
            position += len(content)

    def element(self, span: Span, kind: type[_T]) -> _T | str:
        """One of them; what is wrong with it where it isn't of that type."""
        return _one(msgspec.Raw(self._mapped[span.start : span.end]), kind)

    def _guess(self, start: int, end: int, size: int, kind: type[_T]) -> tuple[int | None, list[_T | str]]:
        """The end of an element, about `size` bytes on, and what lies before it; None where none is found by trying.

        A `}` before a `, {` may also stand within an element, or in a text. It ends an element exactly if all before
        it is a run of whole values.
        """
        if start + size >= end:
            return end, self.run(Span(start, end), kind)
        for tried, found in enumerate(_BETWEEN.finditer(self._mapped, start + size, end)):
            if tried == _TRIES or found.start() > start + size + _REACH:
                break
            stop = found.start() + 1
            with contextlib.suppress(msgspec.MsgspecError):
                return stop, self.run(Span(start, stop), kind)
        return None, []

    def _count(self, start: int, end: int, size: int) -> int:
        """The end of the first element that ends `size` bytes on or later, by the brackets before it."""
        from trainer_hooks.datasets.arrays import last_bracket

        position, depth = last_bracket(self._mapped[start : start + size])
        for found in _TOKEN.finditer(self._mapped, start + position, end):
            token = found[0]
            if token in (b"{", b"["):
                depth += 1
            elif token in (b"}", b"]"):
                depth -= 1
            elif token == b"," and not depth and found.start() >= start + size:
                return found.start()
        return end

    def _trouble(self, error: Exception, offset: int) -> DatasetError:
        said = _BYTE.search(str(error))
        if said is None:
            return DatasetError(f"{self.shown}: {error}")
        place = offset + int(said[1])
        excerpt = self._mapped[max(place - 1, 0) : place + 30]
        mend = ""
        if _NOT_JSON.match(excerpt) or _NOT_JSON.match(excerpt[1:]):
            mend = "; NaN and Infinity aren't JSON: write null, or leave the annotation out"
        return DatasetError(f"{self.shown}: not valid JSON at byte {place}, {excerpt.decode(errors='replace')!r}{mend}")


def is_given(raw: msgspec.Raw) -> bool:
    """Whether there is a value, and not null."""
    view = memoryview(raw)
    return bool(view) and view[0] != ord("n")


def elements(text: bytes | msgspec.Raw, kind: type[_T]) -> list[_T | str]:
    """What an array holds; of an element that isn't of that type, what is wrong with it.

    Raises:
        msgspec.MsgspecError: if it is no array.
    """
    try:
        return msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return [_one(raw, kind) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]


def _one(raw: msgspec.Raw, kind: type[_T]) -> _T | str:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return str(error)


def decode_file(path: Path, shown: str, kind: Any) -> Any:
    """A small file, whole.

    Raises:
        DatasetError: if it can't be read, is no JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(_BOM), type=kind)
    except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = f"{shown} can't be used: {error}"
        raise DatasetError(message) from error
