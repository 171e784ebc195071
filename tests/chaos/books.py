"""Reads the evidence: the journal by its documented format, the training's own record, and what the platform took.

Like the oracle, for which it reads, it imports nothing of trainer_hooks: a fault there must not hide itself here.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from tests.chaos.evidence import Arrival

Json: TypeAlias = dict[str, Any]

# The journal's own, and what speaks of local files: docs/platform.md.
NOT_FOR_THE_PLATFORM = {"segment_opened", "checkpoint_saved", "image_saved"}
# On the wire a field that has its default is left out.
_DEFAULTS = {"operation": "training", "category": "train", "source": "trainer"}
_ADDRESSES = {"best_checkpoint_path", "last_checkpoint_path"}
TERMINAL = {"run_completed", "run_failed", "run_interrupted", "run_lost"}


@dataclass(frozen=True)
class Line:
    """A valid record of the journal."""

    segment: int
    seq: int
    time: float
    attempt: int
    writer: str
    pid: int
    event: Json

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands: no two records share it."""
        return self.segment, self.seq

    @property
    def type(self) -> str:
        """The event's."""
        return str(self.event["type"])

    def __str__(self) -> str:
        return f"{self.segment}:{self.seq} attempt {self.attempt} {self.writer}: {json.dumps(self.event)[:200]}"


@dataclass(frozen=True)
class Journal:
    """All valid records, in order; and where damaged lines were, as (segment, number of the line)."""

    lines: list[Line]
    damaged: list[tuple[int, int]]


@dataclass(frozen=True)
class Told:
    """One telling in the training's own record; accepted if the call returned."""

    serial: int
    pid: int
    what: str
    accepted: bool
    facts: Json


@dataclass(frozen=True)
class Heard:
    """The first arrival of one record at the platform: its id there, and what tells which record it is."""

    id: str
    fingerprint: tuple[Any, ...]
    body: Json


def read_journal(run: Path) -> Journal:
    """Read `<run>/journal/*.jsonl`, and check every line's CRC-32."""
    lines: list[Line] = []
    damaged: list[tuple[int, int]] = []
    for path in sorted((run / "journal").glob("*.jsonl")):
        header: Json = {}
        for number, raw in enumerate(path.read_bytes().split(b"\n")[:-1]):
            record = _checked(raw)
            if record is None:
                damaged.append((int(path.stem), number))
                continue
            header = header or record["event"]
            lines.append(
                Line(
                    segment=int(path.stem),
                    seq=record["seq"],
                    time=record["time"],
                    attempt=header["attempt"],
                    writer=header["writer"],
                    pid=header["process"]["pid"],
                    event=record["event"],
                )
            )
    return Journal(sorted(lines, key=lambda line: (line.attempt, line.time, line.place)), damaged)


def read_record(path: Path) -> tuple[list[Told], dict[int, int]]:
    """What was told, by serial; and for each process the epochs that were certainly accepted."""
    about: dict[int, Json] = {}
    accepted: set[int] = set()
    epochs: dict[int, int] = defaultdict(int)
    for raw in path.read_text().splitlines():
        line = json.loads(raw)
        if "about" in line:
            about[line["about"]] = line
        elif "told" in line:
            accepted.add(line["told"])
        elif "begins" in line:
            epochs[line["pid"]] = line["begins"] - 1
    told = [Told(serial, line["pid"], line["what"], serial in accepted, line) for serial, line in about.items()]
    return told, dict(epochs)


def serial_of(event: Json) -> int | None:
    """The number by which the training told this event; None for what is not of its telling."""
    if event["type"] == "logged":
        words = event["message"].split()
        return int(words[1]) if event.get("source") == "chaos" and words[0] == "serial" else None
    for holder in ("params", "metrics"):
        if "serial" in event.get(holder, {}) and event["type"] != "checkpoint_stored":
            return int(event[holder]["serial"])
    return None


def first_arrivals(arrivals: list[Arrival]) -> list[Heard]:
    """What the platform has heard, each id once, in order of its first arrival."""
    heard: dict[str, Heard] = {}
    for identity, fingerprint, body in _all(arrivals):
        heard.setdefault(identity, Heard(identity, fingerprint, body))
    return list(heard.values())


def contents_by_id(arrivals: list[Arrival]) -> dict[str, list[str]]:
    """What has arrived under each id, as text, in order.

    Without the addresses of checkpoints: a courier that repeats what a killed one has sent may know more of them.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for identity, _, body in _all(arrivals):
        steady = {name: value for name, value in body.items() if name not in _ADDRESSES}
        found[identity].append(json.dumps(steady, sort_keys=True))
    return dict(found)


def fingerprint(line: Line) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What tells this record at the platform: in a batch, and in predecessor B's words."""
    in_batch = ("event", line.segment, line.seq, line.attempt, line.time, _without_defaults(line.event))
    return in_batch, _said_to_b(line)


def _said_to_b(line: Line) -> tuple[Any, ...]:
    if line.type in TERMINAL or line.type == "run_started":
        return _bounds_said_to_b(line.type, line.event)
    event = line.event
    if line.type == "epoch_ended":
        return "epoch", event["epoch"], event.get("duration"), _metrics(event.get("metrics", {}))
    if line.type == "progress_made":
        return "progress", event["current"], event["total"], event.get("category", "train")
    if line.type == "validated":
        return "validation", _when(line), event.get("epoch", 0), _metrics(event["metrics"])
    return "log", _when(line), event.get("message") or event.get("sha256") or event.get("iteration")


def _bounds_said_to_b(kind: str, event: Json) -> tuple[Any, ...]:
    if kind == "run_started":
        return "started", event.get("total_epochs") or event.get("total_iterations") or 1
    if kind == "run_completed":
        return "completed", event.get("epochs", 0), _metrics(event.get("metrics", {}))
    return "failed", event.get("message") or event.get("reason")


def _all(arrivals: list[Arrival]) -> Iterator[tuple[str, tuple[Any, ...], Json]]:
    for arrival in arrivals:
        if arrival.path.endswith("/events"):
            for one in arrival.body["events"]:
                place = one["segment"], one["seq"], one["attempt"], one["time"]
                yield one["id"], ("event", *place, _without_defaults(one["event"])), one
        else:
            yield arrival.key or "(no key)", _heard_from_b(arrival), arrival.body


def _heard_from_b(arrival: Arrival) -> tuple[Any, ...]:
    body, route = arrival.body, arrival.path.rpartition("/")[2]
    if route == "progress":
        return _progress(body)
    if route == "results":
        return "validation", body["timestamp"], body["epoch"], _named(body["metrics"])
    if route == "completion" and body["status"] == "completed":
        return "completed", body["total_epochs_completed"], _named(body["final_metrics"]["extra_metrics"])
    if route == "completion":
        return "failed", body["error_message"].removeprefix("[UnknownError] ").partition(": ")[2]
    data = body.get("data") or {}
    said = body["message"] if body["event_type"] not in {"metrics", "checkpoint"} else None
    return "log", body["timestamp"], said or data.get("sha256") or data.get("iteration")


def _progress(body: Json) -> tuple[Any, ...]:
    if body["metrics"] is None and body["current_epoch"] == 0:
        return "started", body["total_epochs"]
    extra = (body["metrics"] or {}).get("extra_metrics", {})
    if "category" in extra:
        return "progress", extra["current"], extra["total"], extra["category"]
    return "epoch", body["current_epoch"], body.get("epoch_duration_seconds"), _named(extra)


def _without_defaults(event: Json) -> str:
    fields = {name: value for name, value in event.items() if value != _DEFAULTS.get(name)}
    return json.dumps(fields, sort_keys=True)


def _metrics(metrics: Json) -> str:
    return json.dumps(metrics, sort_keys=True)


def _named(extra: Json) -> str:
    """B's metrics as the event had them: what is no number is named beside a null."""
    words = extra.get("non_finite", {})
    return _metrics({name: words.get(name, value) for name, value in extra.items() if name != "non_finite"})


def _when(line: Line) -> str:
    return datetime.fromtimestamp(line.time, timezone.utc).isoformat()


def _checked(raw: bytes) -> Json | None:
    body, mark, rest = raw.rpartition(b',"crc":"')
    if not mark or rest != b'%08x"}' % zlib.crc32(body):
        return None
    record: Json = json.loads(raw)
    return record
