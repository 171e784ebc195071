"""Reads YOLO datasets: the images of each split, and the rows beside each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from trainer_hooks.datasets.formats import Found, Request
from trainer_hooks.datasets.formats._layout import EntryNames, content_of, numbered
from trainer_hooks.datasets.formats.yolo.rows import Rows
from trainer_hooks.datasets.formats.yolo.source import YoloSource, label_path
from trainer_hooks.datasets.jobs import Job, Planned
from trainer_hooks.datasets.model import Annotation, Class, Entry, Index
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.errors import DatasetError


def index(root: Path, request: Request, reporter: Reporter) -> Index:
    """By `data.yaml`; without one, by the folders `images` and `labels`, and `classes.txt`."""
    source = YoloSource(root, reporter)
    shape = source.data.kpt_shape
    if request.task == "pose" and shape is None:
        message = f"{source.shown} has no kpt_shape: its labels have no keypoints, or it is to be written there"
        raise DatasetError(message)
    found = source.data.class_names(source.shown)
    wanted, by_name = numbered(dict.fromkeys(found), request)
    labels = [by_name.get(name, -1) for name in found]
    for name, count in Counter(found).items():
        if count > 1:
            reporter.note("told", f"{count} numbers have one class", source.shown, detail=name)
    classes = [Class(name) for name in wanted]
    if request.task == "pose":
        points = {name: source.data.keypoint_names(number) for number, name in enumerate(found)}
        classes = [Class(name, points.get(name, ())) for name in wanted]
    names = EntryNames()
    entries = [
        Entry(names.take(image.file, image.name), image.file, split=image.split, notes=label_path(image.file))
        for image in source.images()
    ]
    details = {"labels": labels, "kpt_shape": shape, "flip_idx": source.data.mirror()}
    present = _present(source.base, entries, Rows("classification", labels, shape, _unheard()))
    return Index(classes, entries, details=details, labels=list(present) if request.with_labels else [])


def _unheard() -> Reporter:
    """What is wrong with rows is told when they are read for good."""
    return Reporter(Report(source="yolo", target="", task=""))


def _present(base: Path, entries: list[Entry], rows: Rows) -> Iterator[tuple[int, ...]]:
    for entry in entries:
        found = rows.read(_labels_at(f"{base}/{entry.notes}"), "", 1, 1)
        yield tuple(sorted({one.label for one in found}))


def read(job: Job, reporter: Reporter) -> Iterator[Found]:
    """The rows of each image; an image without a file of them has nothing on it."""
    details = job.whole.details
    rows = Rows(job.whole.task, details["labels"], details["kpt_shape"], reporter)
    for planned in job.planned:
        yield partial(_rows_of, rows, job.whole.root, planned)


def _rows_of(rows: Rows, root: str, planned: Planned, picture: Picture) -> list[Annotation]:
    notes = planned.entry.notes or ""
    return rows.read(_labels_at(f"{root}/{notes}"), notes, picture.width, picture.height)


def _labels_at(path: str) -> bytes:
    try:
        return content_of(path)
    except FileNotFoundError:
        return b""
