"""One job of a conversion: its images' annotations are read, cleaned and written, and its images put in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from trainer_hooks.datasets.converting.cleaning import Cleaner
from trainer_hooks.datasets.formats import Found, WriterOfJob, source_named, target_named
from trainer_hooks.datasets.heads import SUFFIXES
from trainer_hooks.datasets.jobs import Job, Planned
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture, look_at
from trainer_hooks.datasets.report import FINDINGS_NAME, Report, Reporter
from trainer_hooks.datasets.sharing import Sharing
from trainer_hooks.errors import DatasetError

_STEP = 200
_OTHER_SIZE = "size of the image: its annotations are taken as pixels of the image as it is"


def run(job: Job, progress: Callable[[int], object] = lambda _: None) -> Report:
    """Do it; `progress` is called now and then with a number of images that are done.

    Raises:
        DatasetError: if the source can't be read, or too many of its images are missing.
        OSError: as of writing the target.
    """
    report = Report(source=job.whole.source, target=job.whole.target, task=job.whole.task)
    if job.whole.staging is None:
        _run(job, Reporter(report), progress)
        return report
    path = job.whole.pieces / f"{job.number:05}-{FINDINGS_NAME}"
    with path.open("wb") as file:
        _run(job, Reporter(report, file), progress)
    return report


def _run(job: Job, reporter: Reporter, progress: Callable[[int], object]) -> None:
    work = _Work(job, reporter)
    with contextlib.closing(work.output):
        read = source_named(job.whole.source).read(job, reporter)
        for done, (planned, found) in enumerate(zip(job.planned, read, strict=True), 1):
            work.take(planned, found)
            if done % _STEP == 0:
                progress(_STEP)
    progress(len(job.planned) % _STEP)


class _Work:
    def __init__(self, job: Job, reporter: Reporter) -> None:
        self._whole = job.whole
        self._reporter = reporter
        self._cleaner = Cleaner(job.whole.task, job.whole.classes, reporter)
        self._names = job.whole.names
        self.output = Output(job)
        self._sharing = Sharing(f"from {job.whole.root} to {job.whole.folder}")
        target = target_named(job.whole.target, job.whole.task)
        self._writer: WriterOfJob = target.Writer(job, reporter, self.output)

    def take(self, planned: Planned, found: Found) -> None:
        """One image, from its head to its place."""
        entry = planned.entry
        path = f"{self._whole.root}/{entry.file}"
        picture = self._look(planned, path)
        if picture is None:
            return
        annotations = found if isinstance(found, list) else found(picture)
        kept = self._cleaner.clean(annotations, entry.name, picture.width, picture.height)
        place = self._writer.write(planned, picture, kept)
        if place is None:
            return
        self._reporter.image(planned.split, [self._names[one.label] for one in kept])
        if self._whole.staging is not None:
            self._put(path, self.output.place(place), picture)

    def _look(self, planned: Planned, path: str) -> Picture | None:
        entry = planned.entry
        if path[path.rfind(".") :].lower() not in SUFFIXES:
            self._reporter.note("dropped", "no trainer reads images of this kind", entry.name)
            return None
        try:
            picture = look_at(path)
        except FileNotFoundError:
            self._miss("image", entry.name)
        except DatasetError as error:
            self._miss("image that can be read", entry.name, str(error))
        else:
            if entry.width and entry.height and (entry.width, entry.height) != picture[:2]:
                said = f"{entry.width:g} x {entry.height:g}, is {picture.width} x {picture.height}"
                self._reporter.note("repaired", _OTHER_SIZE, entry.name, detail=f"said to be {said}")
            return picture
        return None

    def _put(self, source: str, target: str, picture: Picture) -> None:
        try:
            # What a trainer would mend, it mends in place: through a link it would write into the source.
            self._sharing.put(source, target, may_link=picture.is_whole)
        except FileExistsError as error:
            message = f"{source} would take the place of another image, {target}: rename one of them"
            raise DatasetError(message) from error

    def _miss(self, what: str, name: str, detail: str = "") -> None:
        self._reporter.note("missing", what, name, detail=detail)
        if self._reporter.report.count_of("missing") > self._whole.max_missing:
            message = (
                f"{name}: there is no such {what} in {self._whole.root}"
                f"{f' ({detail})' if detail else ''}; put it there, or allow some to be missing by max_missing"
            )
            raise DatasetError(message)
