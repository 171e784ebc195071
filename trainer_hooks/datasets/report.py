"""What a conversion, or a validation, has found: counts, and everything that isn't as the source has it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec

from trainer_hooks.errors import DatasetError

REPORT_NAME = "report.json"
FINDINGS_NAME = "findings.jsonl"
_SHOWN = 1000

Action = Literal["clipped", "dropped", "repaired", "renamed", "missing", "not held", "told"]


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that was done to the data, or is wrong with it: to which file and annotation, and why."""

    action: Action
    reason: str
    file: str = ""
    annotation: str = ""
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        which = f"annotation {self.annotation} " if self.annotation else ""
        return f"{place}{which}{self.action}: {self.reason}{f' ({self.detail})' if self.detail else ''}"


class Report(msgspec.Struct, kw_only=True):
    """Counts by split and class, and the findings: all of them counted, the first of them listed.

    `findings.jsonl` beside the report lists them all, but for those that are the same for so many annotations that they
    are only counted. `images`, `backgrounds` (images without
    an object) are by split, `objects` by split and class. `counts` are by action and reason.
    """

    source: str
    target: str
    task: str
    classes: list[str] = []
    images: dict[str, int] = {}
    backgrounds: dict[str, int] = {}
    objects: dict[str, dict[str, int]] = {}
    counts: dict[str, dict[str, int]] = {}
    findings: list[Finding] = []

    @property
    def is_clean(self) -> bool:
        """Whether everything is as the source has it, and something is to train on; what is told doesn't count."""
        return bool(self.images.get("train")) and not any(action != "told" for action in self.counts)

    def count_of(self, action: Action, reason: str | None = None) -> int:
        """How often that was done, for that reason or for any."""
        reasons = self.counts.get(action, {})
        return sum(reasons.values()) if reason is None else reasons.get(reason, 0)

    def summary(self) -> str:
        """In one line: how many images and objects, and what was done to them."""
        objects = sum(sum(some.values()) for some in self.objects.values())
        images = ", ".join(f"{count} {split}" for split, count in sorted(self.images.items()))
        done = [f"{sum(reasons.values())} {action}" for action, reasons in self.counts.items() if action != "told"]
        return f"{images or 'no'} images, {objects} objects{''.join(f', {one}' for one in done)}"

    def add(self, other: Report) -> None:
        """Take over the counts and findings of a part of the same work; in which order, makes no difference."""
        _add(self.images, other.images)
        _add(self.backgrounds, other.backgrounds)
        for split, objects in other.objects.items():
            _add(self.objects.setdefault(split, {}), objects)
        for action, reasons in other.counts.items():
            _add(self.counts.setdefault(action, {}), reasons)
        self.findings = heapq.nsmallest(_SHOWN, [*self.findings, *other.findings])

    def list_first(self, lines: Sequence[bytes]) -> None:
        """List the first of these findings, of which all are lines of JSON."""
        self.findings = [msgspec.json.decode(line, type=Finding) for line in lines[:_SHOWN]]


class Reporter:
    """Writes the findings of one piece of work down as they come: counted in `report`, listed in `file`."""

    def __init__(self, report: Report, file: IO[bytes] | None = None) -> None:
        self.report = report
        self._file = file

    def note(self, action: Action, reason: str, file: str = "", annotation: str = "", detail: str = "") -> None:
        """One finding."""
        self.count(action, reason)
        finding = Finding(action, reason, file, annotation, detail)
        if len(self.report.findings) < _SHOWN:
            self.report.findings.append(finding)
        if self._file is not None:
            self._file.write(msgspec.json.encode(finding) + b"\n")

    def count(self, action: Action, reason: str) -> None:
        """One finding that is the same for so many annotations that naming each would tell nothing more."""
        reasons = self.report.counts.setdefault(action, {})
        reasons[reason] = reasons.get(reason, 0) + 1

    def image(self, split: str, labels: Iterable[str]) -> None:
        """One image that has gone into that split, with the names of its objects' classes."""
        report = self.report
        report.images[split] = report.images.get(split, 0) + 1
        objects = report.objects.setdefault(split, {})
        empty = True
        for name in labels:
            objects[name] = objects.get(name, 0) + 1
            empty = False
        if empty:
            report.backgrounds[split] = report.backgrounds.get(split, 0) + 1


def read_report(path: str | Path) -> Report:
    """The report of what `convert` has made: given what it returned, or the folder.

    Raises:
        DatasetError: if no conversion's report is there.
    """
    place = Path(path)
    file = (place if place.is_dir() else place.parent) / REPORT_NAME
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{file} is no report of a conversion: {error}"
        raise DatasetError(message) from error


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
