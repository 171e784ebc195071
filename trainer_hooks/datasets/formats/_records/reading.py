"""A job's annotations out of the files of COCO's relatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from trainer_hooks.datasets.formats._records.records import (
    UNWANTED_LABEL,
    AnnotationRecord,
    Id,
    found_by,
    is_set,
    label_by,
    plain,
)
from trainer_hooks.datasets.formats._records.regrouping import picked_in
from trainer_hooks.datasets.jobs import Job
from trainer_hooks.datasets.json_arrays import JsonFile, Span
from trainer_hooks.datasets.model import Annotation, Chunk
from trainer_hooks.datasets.report import Reporter

_Record = TypeVar("_Record", bound=AnnotationRecord)


def read_annotations(
    job: Job,
    reporter: Reporter,
    kind: type[_Record],
    read: Callable[[_Record, Annotation], str | None],
) -> Iterator[list[Annotation]]:
    """The annotations of the job's images, from its chunks.

    `read` fills in an annotation from its record, and returns what is wrong where it can't.
    """
    details = job.whole.details
    found: list[list[Annotation]] = [[] for _ in job.planned]
    for at, shown in enumerate(details["files"]):
        chunks = [chunk for chunk in job.chunks if chunk.file == at]
        if chunks:
            places = places_of(job, at)
            with JsonFile(Path(job.whole.root) / shown, shown) as file:
                for place, number, record in _own_records(job, file, chunks, kind, places, reporter):
                    name = job.planned[place].entry.name
                    annotation = labelled(record, number, details["categories"][at], name, reporter, read)
                    if annotation is not None:
                        found[place].append(annotation)
    for place in range(len(found)):
        yield found[place]
        found[place] = []


def _own_records(
    job: Job, file: JsonFile, chunks: Sequence[Chunk], kind: type[_Record], places: dict[Id, int], reporter: Reporter
) -> Iterator[tuple[int, int, _Record]]:
    """The records of the job's images: the image's place among them, the record's number, and the record."""
    for chunk in chunks:
        for number, record in _numbered(file, chunk, kind):
            if isinstance(record, str):
                # One job tells of it: that of the images that the chunk begins with.
                if job.first <= chunk.low < job.first + len(job.planned):
                    reporter.note("dropped", "it is no annotation", file.shown, f"#{number}", record)
                continue
            place = found_by(record.image_id, places)
            if place is not None:
                yield place, number, record


def _numbered(file: JsonFile, chunk: Chunk, kind: type[_Record]) -> Iterable[tuple[int, _Record | str]]:
    if chunk.picked:
        return ((number, file.element(span, kind)) for number, span in picked_in(chunk))
    return enumerate(file.run(Span(chunk.start, chunk.end), kind), chunk.first)


def labelled(
    record: _Record,
    number: int,
    categories: dict[Id, int],
    file: str,
    reporter: Reporter,
    read: Callable[[_Record, Annotation], str | None],
) -> Annotation | None:
    """The record as an annotation; None where it can't be one, which is noted, or tells that there is none."""
    keys = record.category_keys()
    label = label_by(keys, categories)
    known_as = f"#{number}" if record.id is None else str(record.id)
    if label is None:
        reporter.note("dropped", "there is no such category", file, known_as, f"category {keys[0]!r}")
        return None
    if label < 0:
        if label == UNWANTED_LABEL:
            reporter.count("dropped", "of a class that was not asked for")
        return None
    annotation = Annotation(number, label, id=record.id, crowd=is_set(record.iscrowd))
    if isinstance(record.attributes, dict):
        annotation.attributes = record.attributes
    elif record.attributes:
        reporter.count("not held", "attributes without names")
    wrong = read(record, annotation)
    if wrong:
        reporter.note("dropped", wrong, file, known_as)
        return None
    return annotation


def places_of(job: Job, file: int) -> dict[Id, int]:
    """The places of the job's images among them, by the ids that they have in that file."""
    shown, also = job.whole.details["files"][file], job.whole.details["also"][file]
    own = {
        key: place
        for place, planned in enumerate(job.planned)
        if planned.entry.notes == shown and (key := plain(planned.entry.id)) is not None
    }
    end = job.first + len(job.planned)
    return own | {key: place - job.first for key, place in also.items() if job.first <= place < end}
