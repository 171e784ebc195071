"""DICE, the platform's own: one file for each task, in which images hold their annotations, or both stand side by side.

What is read: `annotations_<task>.json`, else `annotations.json`, with annotations within `images` (nested), beside them
as in COCO (flat), or one per image under `annotation` (earlier drafts). What is written: nested, as format 1.0, with
images below `images/<split>/`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats import Request
from trainer_hooks.datasets.formats._records.dice import (
    BACKGROUND,
    DiceHead,
    DiceImage,
    DiceRecord,
    Filling,
    within,
    written,
)
from trainer_hooks.datasets.formats._records.indexing import Indexing, locating
from trainer_hooks.datasets.formats._records.reading import labelled, places_of, read_annotations
from trainer_hooks.datasets.formats._records.records import CategoryRecord, Id, found_by
from trainer_hooks.datasets.formats._records.writing import join_lines
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.json_arrays import JsonFile, Span, is_given
from trainer_hooks.datasets.model import Annotation, Chunk, Class, Index, Task
from trainer_hooks.datasets.naming import safe_name
from trainer_hooks.datasets.output import Output, lines_of
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.errors import DatasetError

# What the platform calls the tasks in names of files, its usual word first.
_NAMES: dict[Task, tuple[str, ...]] = {
    "detection": ("detection", "object_detection"),
    "segmentation": ("segmentation", "instance_segmentation"),
    "pose": ("pose", "pose_estimation", "keypoint_detection"),
    "obb": ("obb", "oriented_detection"),
    "classification": ("classification", "image_classification"),
}
_TASK_TYPES: dict[Task, str] = {
    "detection": "object_detection",
    "segmentation": "instance_segmentation",
    "pose": "keypoint_detection",
    "obb": "oriented_detection",
    "classification": "classification",
}
TASKS = tuple(_NAMES)
_KEY_OF_DATASET = re.compile(r"^datasets/[^/]+/")
# What chunks of images that hold their annotations have as their file; annotations beside the images have 0.
_NESTED = 1
_NOT_HELD = ("text_labels", "image_captions", "vqa_pairs")


class _Storage(msgspec.Struct):
    image_root: str | None = None


class _Top(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: list[CategoryRecord | str] | None = None
    classes: list[CategoryRecord | str] | None = None
    storage_info: _Storage | None = None
    split_config: dict[str, Any] | None = None
    text_labels: msgspec.Raw = msgspec.Raw()
    image_captions: msgspec.Raw = msgspec.Raw()
    vqa_pairs: msgspec.Raw = msgspec.Raw()


def index(root: Path, request: Request, reporter: Reporter) -> Index:
    """The task's file of annotations below the root, or the one file that the root is."""
    base = root if root.is_dir() else root.parent
    path = root if root.is_file() else _file(root, request.task)
    shown = str(path.relative_to(base))
    indexing = Indexing(base, request, reporter)
    with JsonFile(path, shown) as file:
        top = file.top(_Top)
        if not is_given(top.images):
            message = f"{shown} is no DICE file: it has no images at its top"
            raise DatasetError(message)
        for kind in _NOT_HELD:
            if is_given(getattr(top, kind)):
                reporter.note("not held", kind, shown)
        indexing.begin(shown, [*(top.classes or top.categories or ()), BACKGROUND])
        chunks, number = _add_images(file, top.images, indexing, locating(base, _folders(base, path, top)), reporter)
        if is_given(top.annotations):
            indexing.add_annotations(file, top.annotations, DiceHead, number)
    found = indexing.index()
    found.chunks += chunks
    found.details["split_config"] = top.split_config
    return found


def _file(root: Path, task: Task) -> Path:
    names = [f"annotations_{name}.json" for name in _NAMES[task]] + ["annotations.json"]
    found = next((path for name in names if (path := root / name).is_file()), None)
    if found is None:
        there = ", ".join(sorted(path.name for path in root.glob("*.json"))) or "no *.json at all"
        message = f"{root} has no {names[0]} and no annotations.json, but {there}; name the file itself to use another"
        raise DatasetError(message)
    return found


def _folders(base: Path, file: Path, top: _Top) -> list[Path]:
    """Where images may lie: as the file says, with what is before the dataset's own files in a bucket taken away."""
    said = top.storage_info.image_root if top.storage_info is not None else None
    own = _KEY_OF_DATASET.sub("", said or "").strip("/")
    folders = [base / safe_name(own, f"{file.name}, image_root")] if own else []
    return [*folders, base / "images", base]


def _add_images(
    file: JsonFile, array: msgspec.Raw, indexing: Indexing, where: Callable[[str], str], reporter: Reporter
) -> tuple[list[Chunk], int]:
    """The chunks of images that hold their annotations, and the number of the next annotation."""
    chunks: list[Chunk] = []
    number = 1
    for span, records in file.runs(array, DiceImage):
        first, places = number, []
        for record in records:
            if isinstance(record, str):
                reporter.note("dropped", "it is no image", file.shown, detail=record)
                continue
            if record.id is None:
                record.id = record.file_name or None
            place = indexing.add_image(record, where, None)
            heads = within(record, DiceHead)
            number += len(heads)
            if place is not None and heads:
                places.append(place)
                indexing.look_into(heads, place)
        if places:
            chunks.append(Chunk(_NESTED, *span, first, min(places), max(places)))
    return chunks, number


def read(job: Job, reporter: Reporter) -> Iterator[list[Annotation]]:
    """From the chunks of both kinds."""
    fill = Filling(job, reporter).fill
    nested = _read_nested(job, reporter, fill)
    for place, flat in enumerate(read_annotations(job, reporter, DiceRecord, fill)):
        yield nested.pop(place, []) + flat


def _read_nested(
    job: Job, reporter: Reporter, fill: Callable[[DiceRecord, Annotation], str | None]
) -> dict[int, list[Annotation]]:
    """By the places of the job's images."""
    chunks = [chunk for chunk in job.chunks if chunk.file == _NESTED]
    found: dict[int, list[Annotation]] = {}
    if not chunks:
        return found
    (shown,), (categories,) = job.whole.details["files"], job.whole.details["categories"]
    places = places_of(job, 0)
    with JsonFile(Path(job.whole.root) / shown, shown) as file:
        for chunk in chunks:
            for place, number, record in _records(file, chunk, places):
                name = job.planned[place].entry.name
                if isinstance(record, str):
                    reporter.note("dropped", "it is no annotation", name, f"#{number}", record)
                elif record.mask_file is not None:
                    reporter.note("not held", "a mask in a file of its own", name, f"#{number}", record.mask_file)
                elif annotation := labelled(record, number, categories, name, reporter, fill):
                    found.setdefault(place, []).append(annotation)
    return found


def _records(file: JsonFile, chunk: Chunk, places: Mapping[Id, int]) -> Iterator[tuple[int, int, DiceRecord | str]]:
    """What the images with a place hold in a chunk: the image's place, the annotation's number, and the annotation."""
    number = chunk.first
    for image in file.run(Span(chunk.start, chunk.end), DiceImage):
        if isinstance(image, str):
            continue
        records = within(image, DiceRecord)
        # As in the index, where an image without a name has been left out.
        place = found_by(image.file_name if image.id is None else image.id, places) if image.file_name else None
        if place is not None:
            for at, record in enumerate(records, number):
                yield place, at, record
        number += len(records)


class Writer:
    """Leaves a line of JSON for each image, with its annotations in it."""

    def __init__(self, job: Job, reporter: Reporter, output: Output) -> None:  # noqa: ARG002 - it holds everything
        self._names = job.whole.names
        self._task = job.whole.task
        self._output = output
        self._encoder = msgspec.json.Encoder()
        # They are no two images' within one file only.
        self._keeps_ids = len(job.whole.details.get("files", ())) <= 1

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str:
        """One line."""
        own = planned.entry.id if self._keeps_ids else None
        image = {
            "id": planned.place if own is None else own,
            "file_name": f"{planned.split}/{planned.name}",
            "width": picture.width,
            "height": picture.height,
            "split": planned.split,
            "annotations": [
                written(one, self._id(one, planned, number), self._names[one.label], self._task)
                for number, one in enumerate(annotations, 1)
            ],
        }
        self._output.append("images", self._encoder.encode(image) + b"\n")
        return f"images/{planned.split}/{planned.name}"

    def _id(self, annotation: Annotation, planned: Planned, number: int) -> Id:
        """Its own; that of its image and its number on it where the source has none, or several files of them."""
        own = annotation.id if self._keeps_ids else None
        return f"{planned.place}-{number}" if own is None else own


def finish(whole: Whole, jobs: int, report: Report) -> str:
    """One file for all images."""
    counts = Counter[str]()
    for objects in report.objects.values():
        counts.update(objects)
    head = {
        "format_version": "1.0",
        "dataset_id": Path(whole.folder).name,
        "dataset_name": Path(whole.folder).name,
        "task_type": _TASK_TYPES[whole.task],
        "version": 1,
        "storage_info": {"storage_type": "local", "image_root": "images/"},
        "classes": [_class(place, one) for place, one in enumerate(whole.classes)],
        "statistics": {
            "total_images": report.images,
            "total_annotations": counts.total(),
            "class_distribution": counts,
        },
    }
    with (Path(whole.staging or "") / f"annotations_{_NAMES[whole.task][0]}.json").open("wb") as file:
        file.write(msgspec.json.encode(head)[:-1] + b',"images":[\n')
        join_lines(file, lines_of(whole.pieces, "images", jobs))
        file.write(b"]}\n")
    return ""


def _class(place: int, one: Class) -> dict[str, Any]:
    keypoints = {"keypoints": one.keypoints, "skeleton": one.skeleton} if one.keypoints else {}
    return {"id": place, "name": one.name, "supercategory": one.supercategory, **keypoints}
