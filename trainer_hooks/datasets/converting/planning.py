"""What a conversion will do, before anything is written: which image goes where, and in which job."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec

from trainer_hooks import __version__
from trainer_hooks.datasets.converting.dividing import EMPTY, Division
from trainer_hooks.datasets.formats import Request, source_named, target_named
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.model import SPLITS, Chunk, Index, Task, task_named
from trainer_hooks.datasets.naming import Names
from trainer_hooks.datasets.report import FINDINGS_NAME, Report, Reporter
from trainer_hooks.datasets.splitting import Split, split_of_job
from trainer_hooks.errors import DatasetError, InvalidSetting

# What a job holds at a time: so many images, or bytes of annotations (parsed, they take some times the room).
_IMAGES_PER_JOB = 20_000
_BYTES_PER_JOB = 20 << 20
_JOBS_PER_WORKER = 2
_AT_ONCE = 10_000


class Asked(NamedTuple):
    """What `convert` was asked for."""

    source: str
    target: str
    task: str
    split: Split | None
    classes: Sequence[str] | None
    max_missing: int


class _Findings:
    """What the index tells, all of it: reports list only the first findings."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.file = io.BytesIO()
        self.reporter = Reporter(report, self.file)


class Plan:
    """One conversion. `report` grows with the reports of its jobs."""

    def __init__(self, whole: Whole, planned: list[Planned], chunks: list[Chunk], findings: _Findings) -> None:
        self.whole = whole
        self.planned = planned
        self.report = findings.report
        self._chunks = chunks
        self._findings = findings

    @classmethod
    def make(cls, dataset: str | os.PathLike[str], asked: Asked, folder: str) -> Plan:
        """Read what the dataset holds, but for the annotations.

        Raises:
            As `convert`.
        """
        root = Path(dataset).expanduser().resolve()
        task = task_named(asked.task)
        target_named(asked.target, task)
        source_named(asked.source)
        _check_wanted(asked.classes)
        if not root.exists():
            message = f"there is no dataset at {root}"
            raise DatasetError(message)
        index, division, findings = _indexed(root, asked, with_labels=asked.split is not None and asked.split.stratify)
        if division.needs_labels and not index.labels:  # as the dataset's own file asks for
            index, division, findings = _indexed(root, asked, with_labels=True)
        findings.report.classes = [one.name for one in index.classes]
        base = str(root if root.is_dir() else root.parent)
        whole = Whole(
            asked.source, base, asked.target, task, index.classes, None, folder, index.details, asked.max_missing
        )
        plan = cls(whole, _planned(index, division, findings.reporter), index.chunks, findings)
        if folder:
            plan._refuse_own_output()
        return plan

    def by_split(self) -> dict[str, list[str]]:
        """The names of the images in each split; where several have one name, their files, relative to the root."""
        count = Counter(planned.entry.name for planned in self.planned)
        names: dict[str, list[str]] = {split: [] for split in SPLITS}
        for planned in self.planned:
            entry = planned.entry
            names[planned.split].append(entry.name if count[entry.name] == 1 else entry.file)
        return names

    def write_to(self, staging: Path) -> None:
        """What comes of it is to be built there."""
        self.whole.staging = str(staging)

    def end(self) -> None:
        """All jobs have been done: what they have left for training and validation is told where it is nothing."""
        for split, told in EMPTY.items():
            if not self.report.images.get(split) and not self.report.count_of("told", told):
                self._findings.reporter.note("told", told)
        if self.whole.staging is not None:
            (self.whole.pieces / f"index-{FINDINGS_NAME}").write_bytes(self._findings.file.getvalue())

    def refuse_without_training(self) -> None:
        """For a conversion, that is an error; but other formats than YOLO's may hold what is only for validation.

        Raises:
            DatasetError: if no image is left, or none to train on.
        """
        needed = ("train",) if self.whole.target == "yolo" else SPLITS
        if not any(self.report.images.get(split) for split in needed):
            message = (
                f"{self.whole.root} leaves no image to train on ({self.report.summary()}): mend it, or divide its "
                "images by `split`, as Split(by_hash=True)"
            )
            raise DatasetError(message)

    def fingerprint(self) -> str:
        """What stays the same exactly as long as the conversion would come out the same.

        Of the files, it looks at when they were changed, and at their sizes.
        """
        whole = msgspec.structs.replace(self.whole, staging=None)
        digest = hashlib.sha256(msgspec.msgpack.encode([__version__, whole]))
        for some in (self.planned, self._chunks):
            for first in range(0, len(some), _AT_ONCE):
                digest.update(msgspec.msgpack.encode(some[first : first + _AT_ONCE]))
        for path in (*sorted(self._notes()), *(planned.entry.file for planned in self.planned)):
            digest.update(_stamp(f"{self.whole.root}/{path}"))
        return digest.hexdigest()

    def _notes(self) -> set[str]:
        """The files of annotations, also those that are not an image's first."""
        own = {entry.notes for planned in self.planned if (entry := planned.entry).notes}
        return own.union(self.whole.details.get("files", ()))

    def _refuse_own_output(self) -> None:
        folder = os.path.relpath(self.whole.folder, self.whole.root).replace(os.sep, "/")
        read = chain(self._notes(), (planned.entry.file for planned in self.planned))
        inside = next((path for path in read if path.startswith(f"{folder}/")), None)
        if inside is not None:
            message = f"{self.whole.root}/{inside} is part of the dataset: name another folder to make than {folder}"
            raise InvalidSetting(message)

    def jobs(self, workers: int) -> list[Job]:
        """The images in the order of the source, cut into jobs."""
        content = sum(chunk.end - chunk.start for chunk in self._chunks)
        count = max(-(-len(self.planned) // _IMAGES_PER_JOB), -(-content // _BYTES_PER_JOB))
        if workers > 1:
            count = max(count, workers * _JOBS_PER_WORKER)
        size = -(-len(self.planned) // count)
        return [self._job(number, first, size) for number, first in enumerate(range(0, len(self.planned), size))]

    def _job(self, number: int, first: int, size: int) -> Job:
        last = first + size - 1
        chunks = [chunk for chunk in self._chunks if chunk.low <= last and chunk.high >= first]
        return Job(number, self.planned[first : last + 1], chunks, self.whole, first)

    def take(self, report: Report) -> None:
        """A job has been done.

        Raises:
            DatasetError: if the jobs together miss more than may be missing.
        """
        self.report.add(report)
        _refuse_missing(self.report, self.whole.root, self.whole.max_missing)

    def counting(self, progress: Callable[[int, int], object] | None) -> Callable[[int], object]:
        """What tells `progress` how many are done, when it is told how many more are."""
        done = 0

        def more(images: int) -> None:
            nonlocal done
            done += images
            if progress is not None:
                progress(done, len(self.planned))

        return more


def _check_wanted(classes: Sequence[str] | None) -> None:
    if isinstance(classes, str):
        message = f"classes can't be {classes!r}: write a list of names, as [{classes!r}]"
        raise InvalidSetting(message)
    twice = [name for name, count in Counter(classes or ()).items() if count > 1]
    if twice:
        message = f"classes names {', '.join(map(repr, twice))} more than once: each is one class"
        raise InvalidSetting(message)


def _check(index: Index, root: Path, source: str, task: Task) -> None:
    message = None
    if not index.entries:
        message = f"{root} holds no image that {source} tells of"
    elif not index.classes:
        message = f"{root} names no class of objects"
    elif task == "pose" and not any(one.keypoints for one in index.classes):
        message = f"{root} names the keypoints of none of its classes, which pose needs"
    if message:
        raise DatasetError(message)


def _refuse_missing(report: Report, root: str, allowed: int) -> None:
    missing = report.count_of("missing")
    if missing > allowed:
        first = next((str(one) for one in report.findings if one.action == "missing"), "")
        message = f"{missing} images of {root} are missing, {allowed} may be (max_missing). {first}"
        raise DatasetError(message)


def _stamp(path: str) -> bytes:
    try:
        found = os.stat(path)  # noqa: PTH116 - of each of a million
    except OSError:  # it will be found to be missing
        return b"missing\n"
    return b"%d %d\n" % (found.st_mtime_ns, found.st_size)


def _indexed(root: Path, asked: Asked, *, with_labels: bool) -> tuple[Index, Division, _Findings]:
    task = task_named(asked.task)
    findings = _Findings(Report(source=asked.source, target=asked.target, task=task))
    classes = tuple(asked.classes) if asked.classes is not None else None
    index = source_named(asked.source).index(root, Request(task, classes, with_labels), findings.reporter)
    _refuse_missing(findings.report, str(root), asked.max_missing)
    _check(index, root, asked.source, task)
    config = index.details.pop("split_config", None)
    try:
        declared = split_of_job(config) if config else None
    except InvalidSetting as error:
        message = f"{root}: {error}"
        raise DatasetError(message) from error
    return index, Division(asked.split, declared, findings.reporter), findings


def _planned(index: Index, division: Division, reporter: Reporter) -> list[Planned]:
    splits = division.of(index.entries, index.labels)
    names: dict[str, Names] = {}
    planned = []
    for place, (entry, chosen) in enumerate(zip(index.entries, splits, strict=True), 1):
        name = names.setdefault(chosen, Names()).take(entry.name)
        if name != entry.name:
            reporter.note(
                "renamed", "another image has its stem, or trainers would not see it", entry.name, detail=f"now {name}"
            )
        planned.append(Planned(entry, chosen, name, place))
    return planned
