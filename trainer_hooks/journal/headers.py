"""Whose a segment is: its first record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from trainer_hooks.events import SegmentOpened
from trainer_hooks.journal.lines import FORMAT, decode_line
from trainer_hooks.journal.segments import segments
from trainer_hooks.process import NOWHERE


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


def _first_line(path: Path) -> bytes | None:
    """The segment's first line; None if it has no whole one yet."""
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    return line[:-1] if line.endswith(b"\n") else None


def _opened(first: bytes) -> SegmentOpened | None:
    line = decode_line(first)
    return line.event if line and isinstance(line.event, SegmentOpened) else None


def _guessed(run_directory: Path, attempt: int) -> SegmentOpened:
    return SegmentOpened(
        format=FORMAT, version="", run=unquote(run_directory.name), attempt=attempt, writer="unknown", process=NOWHERE
    )
