"""How far each destination is, on disk: what makes "nothing accepted is lost" countable at any time.

`<run directory>/delivery/<destination>.json` is replaced whole after each delivery, by the courier alone. Records
refused for good are kept beside it, in `<destination>.rejected.jsonl`, for `trainer-hooks sync --retry-rejected`.
`<run directory>/delivery/courier.json` tells who delivers and for which destinations.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from trainer_hooks.events import Process, Record
from trainer_hooks.files import write_whole
from trainer_hooks.journal import Cursor
from trainer_hooks.process import this_process

_SUBDIRECTORY = "delivery"


class DeliveryState(msgspec.Struct, kw_only=True):
    """One destination's cursor and counts. `reached`: when it last answered at all (unix seconds)."""

    cursor: Cursor = {}
    delivered: int = 0
    rejected: int = 0
    superseded: int = 0
    reached: float | None = None
    trouble: str | None = None


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that its destination refused, and why."""

    id: str
    segment: int
    seq: int
    type: str
    reason: str
    time: float


class CourierState(msgspec.Struct, frozen=True, kw_only=True):
    """Who delivers a run at present, and where to."""

    process: Process
    attempt: int
    destinations: list[str]
    started: float


def load_states(run_directory: Path) -> dict[str, DeliveryState]:
    """The state of each destination that anything was ever delivered or tried for."""
    folder = run_directory / _SUBDIRECTORY
    return {path.stem: load_state(run_directory, path.stem) for path in folder.glob("*.json") if path.stem != "courier"}


def load_state(run_directory: Path, destination: str) -> DeliveryState:
    """The destination's state; a fresh one where there is none or where a power loss tore it: repeats are harmless."""
    try:
        content = (run_directory / _SUBDIRECTORY / f"{destination}.json").read_bytes()
        return msgspec.json.decode(content, type=DeliveryState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return DeliveryState()


def save_state(run_directory: Path, destination: str, state: DeliveryState) -> None:
    """Replace the destination's state on disk."""
    _write(run_directory, destination, msgspec.json.encode(state))


def add_rejected(run_directory: Path, destination: str, record: Record, reason: str) -> None:
    """Keep a refused record, before the cursor passes it."""
    kind = str(record.event.__struct_config__.tag)
    entry = RejectedRecord(record.id, record.segment, record.seq, kind, reason, time.time())
    with _rejected_file(run_directory, destination).open("ab") as file:
        file.write(msgspec.json.encode(entry) + b"\n")


def load_rejected(run_directory: Path, destination: str) -> list[RejectedRecord]:
    """The refused records, each once."""
    path = _rejected_file(run_directory, destination)
    lines = path.read_bytes().splitlines() if path.exists() else []
    entries = (entry for entry in map(_rejected, lines) if entry is not None)
    return list({entry.id: entry for entry in entries}.values())


def keep_rejected(run_directory: Path, destination: str, entries: Iterable[RejectedRecord]) -> None:
    """Replace the refused records by these, whole: the others have been delivered after all."""
    content = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    write_whole(_rejected_file(run_directory, destination), content)


def announce_courier(run_directory: Path, attempt: int, destinations: list[str]) -> None:
    """Say on disk that this process delivers from now on."""
    state = CourierState(process=this_process(), attempt=attempt, destinations=destinations, started=time.time())
    _write(run_directory, "courier", msgspec.json.encode(state))


def load_courier(run_directory: Path) -> CourierState | None:
    """Who delivers, or delivered last."""
    try:
        content = (run_directory / _SUBDIRECTORY / "courier.json").read_bytes()
        return msgspec.json.decode(content, type=CourierState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def behind(cursors: Iterator[Cursor], end: Mapping[int, int]) -> bool:
    """Whether any of the cursors has yet to reach the end."""
    return any(cursor.get(segment, 0) < size for cursor in cursors for segment, size in end.items())


def _rejected(line: bytes) -> RejectedRecord | None:
    # A full disk may have left the beginning of another entry in front of this one, or the beginning only.
    start = line.rfind(b'{"id":')
    try:
        return msgspec.json.decode(line[start:], type=RejectedRecord) if start >= 0 else None
    except msgspec.MsgspecError:
        return None


def _rejected_file(run_directory: Path, destination: str) -> Path:
    return run_directory / _SUBDIRECTORY / f"{destination}.rejected.jsonl"


def _write(run_directory: Path, name: str, content: bytes) -> None:
    folder = run_directory / _SUBDIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", content)
