"""COCO: https://cocodataset.org/#format-data. Read in chunks, written in pieces, so that files may be of any size.

What is written: `annotations/instances_<split>.json`, and images below `images/<split>/`, to which `file_name` is
relative. Categories stand in the order of the classes, since MMDetection numbers them so; all ids begin with 1, since
pycocotools takes an annotation with the id 0 for no match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats import Request
from trainer_hooks.datasets.formats._records.indexing import Indexing, locating
from trainer_hooks.datasets.formats._records.reading import read_annotations
from trainer_hooks.datasets.formats._records.records import (
    AnnotationRecord,
    CategoryRecord,
    ImageRecord,
    box_of,
    has_area,
    keypoints_of,
    outline_of,
)
from trainer_hooks.datasets.formats._records.writing import join_lines, placed
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.json_arrays import JsonFile, is_given
from trainer_hooks.datasets.model import SPLITS, Annotation, Index, Task
from trainer_hooks.datasets.output import Output, lines_of
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.errors import DatasetError

TASKS: tuple[Task, ...] = ("detection", "segmentation", "pose", "obb")

_SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|valid|validation|test)(?![a-z])")
# The last is one file beside the images of each split, as some exports have it.
_PLACES = ("annotations/*.json", "*.json", "*/_annotations.coco.json")
_OTHERS = ("captions_", "panoptic_", "image_info_", "stuff_")
_FOLDERS = {
    "train": ("train", "train2017", "train2014"),
    "val": ("val", "val2017", "val2014", "valid", "validation"),
    "test": ("test", "test2017", "test2014"),
}
_PREFERRED = {"pose": ("person_keypoints_",)}


class _Top(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: list[CategoryRecord | str] | None = None


def index(root: Path, request: Request, reporter: Reporter) -> Index:
    """All files of annotations below the root, or the one file that the root is."""
    base = root if root.is_dir() else root.parent
    indexing = Indexing(base, request, reporter)
    for path in _files(root, request.task):
        shown = str(path.relative_to(base))
        # The one file that is given is all there is: were it val's, nothing would train.
        split = (
            None if path == root else split_in(path.stem) or split_in(path.parent.name if path.parent != base else "")
        )
        with JsonFile(path, shown) as file:
            top = file.top(_Top)
            if not (is_given(top.images) and is_given(top.annotations)):
                message = f"{shown} is no COCO file: it has no images or no annotations at its top"
                raise DatasetError(message)
            indexing.begin(shown, top.categories or [])
            where = locating(base, _folders(base, path.parent, split))
            for _, records in file.runs(top.images, ImageRecord):
                for record in records:
                    if isinstance(record, str):
                        reporter.note("dropped", "it is no image", shown, detail=record)
                    else:
                        indexing.add_image(record, where, split)
            indexing.add_annotations(file, top.annotations)
    return indexing.index()


def read(job: Job, reporter: Reporter) -> Iterator[list[Annotation]]:
    """From the chunks."""
    with_outline = job.whole.task in ("segmentation", "obb")
    with_keypoints = job.whole.task == "pose"

    def fill(record: AnnotationRecord, annotation: Annotation) -> str | None:
        wrong = box_of(record, annotation)
        if not wrong and (with_outline or not has_area(annotation)):
            wrong = outline_of(record, annotation)
        return wrong or (keypoints_of(record, annotation) if with_keypoints else None)

    return read_annotations(job, reporter, AnnotationRecord, fill)


def split_in(name: str) -> str | None:
    """The split that the name of a file or a folder tells: `instances_train2017` is train, `train_val` none."""
    found = {"val" if one.startswith("val") else one for one in _SPLIT_IN_NAME.findall(name.lower())}
    return found.pop() if len(found) == 1 else None


def _files(root: Path, task: Task) -> list[Path]:
    if root.is_file():
        return [root]
    found = next((files for pattern in _PLACES if (files := _matching(root, pattern))), [])
    for beginning in (*_PREFERRED.get(task, ()), "instances_"):
        preferred = [path for path in found if path.name.startswith(beginning)]
        if preferred:
            return preferred
    if not found:
        message = f"there is no *.json in {root} nor in {root / 'annotations'}: give the folder of a COCO dataset"
        raise DatasetError(message)
    return found


def _matching(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if not path.name.startswith(_OTHERS))


def _folders(base: Path, beside: Path, split: str | None) -> list[Path]:
    """Where the images of a file may lie, the likeliest first."""
    names = _FOLDERS.get(split or "", ())
    splits = [base / "images" / name for name in names] + [base / name for name in names]
    own = [] if beside in (base, base / "annotations") else [beside]
    return [folder for folder in (*own, *splits, base / "images", base, beside) if folder.is_dir()]


class Writer:
    """Leaves lines of JSON for each split: images, and annotations that are still without an id."""

    def __init__(self, job: Job, reporter: Reporter, output: Output) -> None:  # noqa: ARG002 - it holds everything
        self._job = job
        self._output = output
        self._encoder = msgspec.json.Encoder()

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str:
        """One line for the image, one for each annotation."""
        image = {
            "id": planned.place,
            "file_name": planned.name,
            "width": picture.width,
            "height": picture.height,
        }
        self._output.append(f"images-{planned.split}", self._encoder.encode(image) + b"\n")
        lines = [self._encoder.encode(self._record(planned, one)) + b"\n" for one in annotations]
        self._output.append(f"annotations-{planned.split}", b"".join(lines))
        return f"images/{planned.split}/{planned.name}"

    def _record(self, planned: Planned, annotation: Annotation) -> dict[str, Any]:
        record = {"image_id": planned.place, "category_id": annotation.label + 1, **placed(annotation)}
        if self._job.whole.task == "pose":
            points = annotation.keypoints or [0.0] * (3 * len(self._job.whole.classes[annotation.label].keypoints))
            record["keypoints"] = points
            record["num_keypoints"] = sum(visibility > 0 for visibility in points[2::3])
        if annotation.attributes:
            record["attributes"] = annotation.attributes
        return record


def finish(whole: Whole, jobs: int, report: Report) -> str:
    """One file of annotations per split that has images."""
    folder = Path(whole.staging or "") / "annotations"
    folder.mkdir()
    categories = msgspec.json.encode([_category(whole, place) for place in range(len(whole.classes))])
    for split in SPLITS:
        if not report.images.get(split):
            continue
        with (folder / f"instances_{split}.json").open("wb") as file:
            file.write(b'{"info":{"description":"made by trainer-hooks"},"licenses":[],"categories":%b' % categories)
            file.write(b',"images":[\n')
            join_lines(file, lines_of(whole.pieces, f"images-{split}", jobs))
            file.write(b'],"annotations":[\n')
            # An image's own annotations follow one another, so that files of any size can be read in chunks again.
            numbered = enumerate(lines_of(whole.pieces, f"annotations-{split}", jobs), 1)
            join_lines(file, (b'{"id":%d,%b' % (number, line[1:]) for number, line in numbered))
            file.write(b"]}\n")
    return ""


def _category(whole: Whole, place: int) -> dict[str, Any]:
    one = whole.classes[place]
    category: dict[str, Any] = {"id": place + 1, "name": one.name, "supercategory": one.supercategory}
    if one.keypoints:
        category |= {"keypoints": one.keypoints, "skeleton": one.skeleton}
    return category
