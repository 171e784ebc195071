"""What a survival leaves, as plain values: the oracle's whole view of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Arrival:
    """A POST that the platform took. `key` is its Idempotency-Key."""

    path: str
    key: str | None
    body: Any
    raw: bytes


@dataclass(frozen=True)
class Sighting:
    """What was under a URI when the platform was told of it; `told` is the SHA-256 that was said with it, if any."""

    uri: str
    told: str | None
    found: str | None


@dataclass(frozen=True)
class Mismatch:
    """A manifest that stood in storage, before and after, beside another object than it describes."""

    key: str
    manifest: dict[str, Any]
    found: str | None


@dataclass(frozen=True)
class StoredObject:
    """An object at the end: its content, and its manifest, if it has one."""

    key: str
    content: bytes
    manifest: dict[str, Any] | None


@dataclass(frozen=True)
class Flipped:
    """A record that was damaged on the disk, on purpose."""

    segment: int
    seq: int
    serial: int


@dataclass(frozen=True)
class Ending:
    """How an attempt ended that nobody killed, beside how a training ends without any of this."""

    status: int
    output: list[str]
    weights: str | None
    output_without: list[str]
    weights_without: str | None


@dataclass(kw_only=True)
class Evidence:
    """All of it."""

    seed: int
    host: str
    run: Path
    record: Path
    """The training's own record: a JSON object a line."""
    arrivals: list[Arrival]
    sightings: list[Sighting]
    mismatches: list[Mismatch]
    objects: list[StoredObject]
    uploads: list[str]
    """Keys of unfinished multipart uploads."""
    best: bytes | None
    """The host's best checkpoint, as the completing attempt left it; None where it isn't compared."""
    endings: list[Ending]
    """Of every attempt that nobody killed, in order; the last attempt is the last of them."""
    synced: bool
    sync_output: str
    processes: list[int]
    """Processes of this survival that were still there at the end."""
    temporary: list[str]
    """Files of ours that should not be there at the end."""
    flipped: list[Flipped] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
