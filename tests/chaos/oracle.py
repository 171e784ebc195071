"""Judges what a survival has left by the promises. It imports nothing of trainer_hooks, and believes nothing of it.

C1  everything accepted is in the journal; everything in the journal is at the platform, or counted as refused
C2  at the platform, each id once: the journal's records, no more and no fewer, in order; a repeat says the same
C3  one terminal event an attempt, and nothing "running" behind it before the next attempt begins
C5  checkpoints are whole: manifests are true, every address told led to a whole object, nothing is left half done
H1  the weights are those of a training without us
H2  so are the exit status and the output
H4  no process and no temporary file is left
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.chaos.books import (
    NOT_FOR_THE_PLATFORM,
    TERMINAL,
    Journal,
    Line,
    Told,
    contents_by_id,
    fingerprint,
    first_arrivals,
    read_journal,
    read_record,
    serial_of,
)
from tests.chaos.evidence import Evidence

_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and the first records that show it."""

    check: str
    what: str
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join((f"{self.check}: {self.what}", *self.shown))


class Verdict:
    """What the oracle says: the violations, and figures of what it has looked at."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._journal: Journal = read_journal(evidence.run)
        self._told, self._epochs = read_record(evidence.record)
        self._refused = _refused(evidence)
        self._heard, self._unknown = _matched(evidence, self._journal, self._refused)
        checks = (
            self._accepted_is_kept,
            self._kept_has_arrived,
            self._each_once,
            self._in_order,
            self._one_end,
            self._checkpoints,
            self._told_addresses,
            self._nothing_half_done,
            self._host_unharmed,
            self._nothing_left,
        )
        self.violations = [violation for check in checks for violation in check()]

    @property
    def figures(self) -> dict[str, int]:
        """How much there was to judge."""
        evidence = self._evidence
        ids = [len(contents) for contents in contents_by_id(evidence.arrivals).values()]
        verified = len(evidence.objects) + sum(sighting.found is not None for sighting in evidence.sightings)
        return {
            **evidence.figures,
            "attempts": len({line.attempt for line in self._journal.lines}),
            "events accepted": sum(one.accepted for one in self._told) + sum(self._epochs.values()),
            "records in the journal": len(self._journal.lines),
            "records at the platform": len(self._heard),
            "repeats": sum(ids) - len(ids),
            "refused by a 422": len(self._refused),
            "checkpoints verified": verified,
        }

    def _for_platform(self) -> list[Line]:
        return [line for line in self._journal.lines if line.type not in NOT_FOR_THE_PLATFORM]

    def _accepted_is_kept(self) -> Iterator[Violation]:
        kept = {serial_of(line.event): line for line in self._journal.lines}
        excused = {flipped.serial for flipped in self._evidence.flipped}
        lost = [one for one in self._told if one.accepted and one.serial not in kept and one.serial not in excused]
        yield from _found("C1", "accepted, and not in the journal", lost)
        wrong = [one for one in self._told if one.serial in kept and not _is_of(one, kept[one.serial])]
        yield from _found("C1", "in the journal as something else than was told", wrong)
        unknown = {one.serial for one in self._told}
        invented = [line for serial, line in kept.items() if serial is not None and serial not in unknown]
        yield from _found("C1", "in the journal, and never told", invented)
        ended = defaultdict(set)
        for line in self._journal.lines:
            if line.type == "epoch_ended":
                ended[line.pid].add(line.event["epoch"])
        for pid, epochs in self._epochs.items():
            missing = set(range(1, epochs + 1)) - ended[pid]
            yield from _found("C1", f"epochs accepted from process {pid}, and not in the journal", missing)
        expected = len(self._evidence.flipped)
        if len(self._journal.damaged) != expected:
            yield Violation("C1", f"{expected} lines were damaged on purpose; damaged are: {self._journal.damaged}")

    def _kept_has_arrived(self) -> Iterator[Violation]:
        if not self._evidence.synced:
            yield Violation("C1", "sync never said that all is delivered", (self._evidence.sync_output,))
        # Both at once is possible: a platform that has lost its answer may refuse the repeat.
        arrived = {line.place for line in self._heard}
        missing = [
            line for line in self._for_platform() if line.place not in arrived and line.place not in self._refused
        ]
        yield from _found("C1", "in the journal, and neither at the platform nor counted as refused", missing)
        yield from self._books("platform", len(self._for_platform()), refused=len(self._refused))
        saved = [line for line in self._journal.lines if line.type == "checkpoint_saved"]
        yield from self._books("checkpoints", len(saved), refused=0)

    def _books(self, destination: str, records: int, *, refused: int) -> Iterator[Violation]:
        """What the run's directory counts must add up, too."""
        books = json.loads((self._evidence.run / "delivery" / f"{destination}.json").read_text())
        settled = [books.get(name, 0) for name in ("delivered", "rejected", "superseded")]
        if sum(settled) != records or settled[1] != refused:
            yield Violation("C1", f"the books of {destination} say {settled}, of {records} records", (str(books),))

    def _each_once(self) -> Iterator[Violation]:
        yield from _found("C2", "at the platform, and no valid record of the journal", self._unknown)
        contents = contents_by_id(self._evidence.arrivals)
        changed = {key: texts for key, texts in contents.items() if len(set(texts)) > 1}
        yield from _found("C2", "one id, and not the same content each time", changed.items())
        yield from _found("C2", "no id", [key for key in contents if key == "(no key)"])
        twice = [place for place, count in Counter(line.place for line in self._heard).items() if count > 1]
        yield from _found("C2", "one record under several ids", twice)
        for segment, numbers in self._numbers().items():
            gaps = set(range(len(numbers))) ^ set(numbers)
            yield from _found("C2", f"gaps in the numbers of segment {segment}", gaps)

    def _numbers(self) -> dict[int, list[int]]:
        """Of each segment, the numbers of its records; those that were damaged on purpose among them."""
        numbers = defaultdict(list)
        for segment, seq in [line.place for line in self._journal.lines]:
            numbers[segment].append(seq)
        for flipped in self._evidence.flipped:
            numbers[flipped.segment].append(flipped.seq)
        return numbers

    def _in_order(self) -> Iterator[Violation]:
        last: dict[int, Line] = {}
        for line in self._heard:
            before = last.get(line.segment)
            if before is not None and before.seq > line.seq:
                yield Violation("C2", "overtaken within its segment", (str(line), str(before)))
                return
            last[line.segment] = line
        trainings = [line for line in self._heard if line.writer == "training"]
        pairs = itertools.pairwise(trainings)
        overtaken = [(str(before), str(after)) for before, after in pairs if after.attempt < before.attempt]
        yield from _found("C2", "an earlier attempt's record behind a later attempt's", overtaken)

    def _one_end(self) -> Iterator[Violation]:
        ends = defaultdict(list)
        for line in self._journal.lines:
            ends[line.attempt] += [line] if line.type in TERMINAL else []
        for attempt, found in ends.items():
            if len(found) != 1:
                yield Violation("C3", f"attempt {attempt} has {len(found)} ends", tuple(map(str, found)))
        unheard = {attempt for attempt, found in ends.items() if any(end.place in self._refused for end in found)}
        yield from self._ends_heard(set(ends) - unheard)

    def _ends_heard(self, attempts: set[int]) -> Iterator[Violation]:
        """At the platform: nothing of an attempt behind its end, and no attempt before the end of the one before."""
        over: set[int] = set()
        for line in self._heard:
            if line.attempt in over and line.writer == "training":
                yield Violation("C3", "told behind its attempt's end", (str(line),))
            if line.type == "run_started" and line.attempt - 1 in attempts - over:
                yield Violation("C3", "an attempt begins before the end of the one before is told", (str(line),))
            if line.type in TERMINAL:
                over.add(line.attempt)

    def _checkpoints(self) -> Iterator[Violation]:
        yield from _found("C5", "a manifest stood beside another object", self._evidence.mismatches)
        for stored in self._evidence.objects:
            digest = hashlib.sha256(stored.content).hexdigest()
            manifest = stored.manifest
            if manifest is None or (manifest["sha256"], manifest["size"]) != (digest, len(stored.content)):
                yield Violation("C5", f"{stored.key}: {len(stored.content)} bytes, {digest}", (str(manifest),))
            if self._evidence.host != "loop" and not _is_whole_zip(stored.content):
                yield Violation("C5", f"{stored.key} is no whole checkpoint")
            if stored.key.rpartition("/")[2].startswith("best") and self._evidence.best not in (None, stored.content):
                yield Violation("C5", f"{stored.key} is not the host's best checkpoint")
        if self._evidence.host == "loop":
            yield from self._contents_told()

    def _contents_told(self) -> Iterator[Violation]:
        """The loop's own record tells each checkpoint's content: the manifest must tell the very same."""
        saved = {one.serial: one.facts for one in self._told if one.what == "checkpoint"}
        newest: dict[str, str] = {}
        for line in self._journal.lines:
            if line.type == "checkpoint_saved":
                newest |= dict.fromkeys(line.event["names"], saved[serial_of(line.event) or 0]["sha256"])
        names = set()
        for stored in self._evidence.objects:
            name = stored.key.rpartition("/")[2].partition(".")[0]
            names.add(name)
            manifest = stored.manifest or {"metrics": {}}
            facts = saved.get(manifest["metrics"].get("serial"), {})
            if any(facts.get(field) != manifest.get(field) for field in ("sha256", "size", "epoch")):
                yield Violation("C5", f"{stored.key} is not what was told", (str(manifest), str(facts)))
            elif facts["sha256"] != newest.get(name):
                yield Violation("C5", f"{stored.key} is not the newest that was told", (str(manifest),))
        if names != set(newest):
            yield Violation("C5", f"stored are {sorted(names)}, and told were {sorted(newest)}")

    def _told_addresses(self) -> Iterator[Violation]:
        missing = [one for one in self._evidence.sightings if one.found is None]
        yield from _found("C5", "the platform was told of what was not there", missing)
        if self._evidence.host != "loop":
            return
        whole = {one.facts["sha256"] for one in self._told if one.what == "checkpoint"}
        torn = [one for one in self._evidence.sightings if one.found is not None and one.found not in whole]
        yield from _found("C5", "the platform was told of an object that no checkpoint ever was", torn)
        strange = [one for one in self._evidence.sightings if one.told is not None and one.told not in whole]
        yield from _found("C5", "the platform was told a checksum that no checkpoint ever had", strange)

    def _nothing_half_done(self) -> Iterator[Violation]:
        yield from _found("C5", "unfinished uploads are left", self._evidence.uploads)

    def _host_unharmed(self) -> Iterator[Violation]:
        if not self._evidence.endings:
            yield Violation("H2", "no attempt came to its own end")
        for ending in self._evidence.endings:
            if ending.status != 0:
                yield Violation("H2", f"an attempt that nobody killed ended with {ending.status}")
            if ending.weights is None or ending.weights != ending.weights_without:
                yield Violation("H1", f"weights {ending.weights}, and without us {ending.weights_without}")
            if ending.output != ending.output_without:
                pairs = zip(ending.output, ending.output_without, strict=False)
                different = [f"{ours} / {theirs}" for ours, theirs in pairs if ours != theirs]
                lengths = f"{len(ending.output)} lines, and without us {len(ending.output_without)}"
                yield Violation("H2", f"another output: {lengths}", tuple(different[:_SHOWN]))

    def _nothing_left(self) -> Iterator[Violation]:
        yield from _found("H4", "processes are left", self._evidence.processes)
        yield from _found("H4", "files are left", self._evidence.temporary)


def _found(check: str, what: str, records: Iterable[object]) -> Iterator[Violation]:
    """A violation if there are any of these."""
    shown = [str(record)[:400] for record in records]
    if shown:
        yield Violation(check, f"{what}: {len(shown)}", tuple(shown[:_SHOWN]))


def _is_of(told: Told, line: Line) -> bool:
    kinds = {
        "started": "run_started",
        "metrics": "metrics_logged",
        "log": "logged",
        "checkpoint": "checkpoint_saved",
        "epoch": "epoch_ended",
        "validation": "validated",
        "completed": "run_completed",
    }
    return kinds[told.what] == line.type and told.pid == line.pid


def _refused(evidence: Evidence) -> set[tuple[int, int]]:
    """The records that the platform has refused for good, as the run's directory counts them."""
    path = evidence.run / "delivery" / "platform.rejected.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {(entry["segment"], entry["seq"]) for entry in map(json.loads, lines)}


def _matched(evidence: Evidence, journal: Journal, refused: set[tuple[int, int]]) -> tuple[list[Line], list[str]]:
    """The record that each first arrival tells, in the order of arrival; and the arrivals that tell none."""
    waiting: dict[tuple[object, ...], list[Line]] = defaultdict(list)
    # Of records that say the very same, such as the ends of lost attempts, those that were refused come last.
    for line in sorted(journal.lines, key=lambda line: line.place in refused):
        if line.type not in NOT_FOR_THE_PLATFORM:
            for mark in fingerprint(line):
                waiting[mark].append(line)
    heard: list[Line] = []
    unknown: list[str] = []
    used: set[tuple[int, int]] = set()
    for one in first_arrivals(evidence.arrivals):
        candidates = [line for line in waiting[one.fingerprint] if line.place not in used]
        if candidates:
            used.add(candidates[0].place)
            heard.append(candidates[0])
        else:
            unknown.append(f"{one.id}: {json.dumps(one.body)}")
    return heard, unknown


def _is_whole_zip(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
