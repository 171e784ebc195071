"""A run's segments: where they are, how large, and the next one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

Cursor: TypeAlias = dict[int, int]
"""Up to which byte each segment has been dealt with, by segment number."""

_SUBDIRECTORY = "journal"
_CHUNK = 1 << 20


def segments(run_directory: Path) -> list[tuple[int, Path]]:
    """The run's segments, by number."""
    try:
        paths = sorted((run_directory / _SUBDIRECTORY).iterdir())
    except FileNotFoundError:
        return []
    return [(int(path.stem), path) for path in paths if re.fullmatch(r"\d{6}\.jsonl", path.name)]


def sizes(run_directory: Path) -> Cursor:
    """The size of each segment in bytes: the cursor at the journal's present end."""
    return {number: path.stat().st_size for number, path in segments(run_directory)}


def segment_path(run_directory: Path, number: int) -> Path:
    """Where the segment of that number is."""
    return run_directory / _SUBDIRECTORY / f"{number:06d}.jsonl"


def create_segment(run_directory: Path) -> tuple[int, int]:
    """Create the run's next segment, empty; returns its number and a descriptor that appends to it.

    Raises:
        OSError: if it can't be made.
    """
    folder = run_directory / _SUBDIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    number = max((number for number, _ in segments(run_directory)), default=0) + 1
    while True:
        path = segment_path(run_directory, number)
        try:
            return number, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            number += 1


def whole_lines(handle: int, position: int, end: int) -> Iterator[bytes]:
    """The finished lines between the two offsets, without their newlines; a tail without one is left for later."""
    rest = b""
    while chunk := os.pread(handle, min(_CHUNK, end - position), position):
        position += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
