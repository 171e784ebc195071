"""Reads LabelMe's files: once for their labels, and once for their shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from trainer_hooks.datasets.formats import Found, Request
from trainer_hooks.datasets.formats._layout import (
    UNWANTED,
    EntryNames,
    content_of,
    is_image,
    joined_path,
    listed_classes,
    numbered,
    told_by_path,
    walk,
)
from trainer_hooks.datasets.formats.labelme.files import HeadFile, LabelMeFile, Shape, ShapeHead, decoded
from trainer_hooks.datasets.formats.labelme.shapes import (
    OBJECT_SHAPES,
    attributes_of,
    fill,
    joined_parts,
    keypoint_of,
)
from trainer_hooks.datasets.jobs import Job, Planned
from trainer_hooks.datasets.model import BACKGROUND, Annotation, Class, Entry, Index
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import REPORT_NAME, Reporter
from trainer_hooks.datasets.splitting import split_named
from trainer_hooks.errors import DatasetError

_CLASS_FILES = ("classes.json", "label_map.json", "labels.txt")
_NO_SHAPES = (*_CLASS_FILES, REPORT_NAME)
_IMAGES = "images"


def index(root: Path, request: Request, reporter: Reporter) -> Index:
    """All files below the root, or the one file that the root is: labels only. The classes are sorted by name.

    Their order is that of `classes.json`, `label_map.json` or `labels.txt`, where there is one.
    """
    base = root if root.is_dir() else root.parent
    tally = _Tally(request)
    entries = list(_entries(root, base, tally, reporter))
    given = {one.name: one for one in listed_classes(base, _CLASS_FILES)}
    wanted, labels = numbered([*given, *sorted(tally.names.difference(given))], request, are_all=bool(given))
    classes = [tally.completed(given.get(name, Class(name))) for name in wanted]
    present = [tuple(sorted(labels[name] for name in some if labels[name] >= 0)) for some in tally.present]
    return Index(classes, entries, details={"labels": labels}, labels=present)


def _entries(root: Path, base: Path, tally: _Tally, reporter: Reporter) -> Iterator[Entry]:
    found = walk(str(base), reporter)
    images = _Images(found)
    names = EntryNames()
    taken: set[str] = set()
    told: set[str] = set()
    for notes in [root.name] if root.is_file() else _json_files(found):
        head = _head(base, notes, reporter)
        if head is None:
            continue
        file = images.find(notes, head.image_path)
        if file in taken:
            reporter.note("dropped", "another file tells of the same image", notes, detail=file)
            continue
        taken.add(file)
        folder = notes.rpartition("/")[0]
        if folder not in told and file.rpartition("/")[0] not in images.near(folder):
            told.add(folder)
            reporter.note("told", "an image in none of the folders near its file", notes, detail=file)
        name, split = told_by_path(file)
        said = head.split if split_named(head.split) else split
        size = (head.image_width or 0, head.image_height or 0)
        yield Entry(names.take(file, name), file, None, *size, said, notes)
        tally.add(head)
    if root.is_dir():
        _tell_bare(images.all().difference(taken), reporter)


def _tell_bare(bare: set[str], reporter: Reporter) -> None:
    if bare:
        reporter.note("told", "images without a file of shapes are left out", detail=f"{len(bare)}: {min(bare)}, …")


def _json_files(found: dict[str, list[str]]) -> Iterator[str]:
    for folder, files in found.items():
        for name in files:
            if name.endswith(".json") and not name.startswith(".") and (folder or name not in _NO_SHAPES):
                yield joined_path(folder, name)


def _head(base: Path, notes: str, reporter: Reporter) -> HeadFile | None:
    try:
        head = decoded(content_of(f"{base}/{notes}"), HeadFile, notes)
    except (DatasetError, FileNotFoundError) as error:
        reporter.note("missing", "file of shapes that can be read", notes, detail=str(error))
        return None
    if head is None:
        reporter.note("told", "it is no LabelMe file: it has no shapes", notes)
    return head


class _Images:
    """Where the images lie."""

    def __init__(self, found: dict[str, list[str]]) -> None:
        self._files = {folder: set(filter(is_image, files)) for folder, files in found.items()}
        self._stems: dict[str, dict[str, str]] = {}
        self._near: dict[str, list[str]] = {}
        self._likely: dict[str, list[str]] = {}

    def find(self, notes: str, said: str | None) -> str:
        """The path of the image that the file tells of; where there is none, the one that it would have beside it."""
        folder, _, own = notes.rpartition("/")
        name = (said or "").replace("\\", "/").rpartition("/")[2]
        likely = self._likely.get(folder) or self._likely_folders(folder)
        for one in likely:
            if name in self._files[one]:
                return joined_path(one, name)
        stem = own.removesuffix(".json")
        for one in likely:
            if stem in self._stems_in(one):
                return joined_path(one, self._stems[one][stem])
        return joined_path(folder, name if is_image(name) else f"{stem}.jpg")

    def all(self) -> set[str]:
        """The paths of all images."""
        return {joined_path(folder, name) for folder, files in self._files.items() for name in files}

    def near(self, folder: str) -> list[str]:
        """The folders that hold images of the files in that one, as datasets are laid out, the likeliest first."""
        if folder in self._near:
            return self._near[folder]
        above, _, own = folder.rpartition("/")
        parts = folder.split("/")
        # labels/train beside images/train
        swapped = ["/".join([*parts[:place], _IMAGES, *parts[place + 1 :]]) for place in reversed(range(len(parts)))]
        near = [folder, joined_path(folder, _IMAGES), joined_path(above, _IMAGES), *swapped, joined_path(_IMAGES, own)]
        self._near[folder] = near
        return near

    def _likely_folders(self, folder: str) -> list[str]:
        likely = dict.fromkeys([*self.near(folder), _IMAGES, ""])
        found = self._likely[folder] = [one for one in likely if one in self._files]
        return found

    def _stems_in(self, folder: str) -> dict[str, str]:
        if folder not in self._stems:
            self._stems[folder] = {name.rpartition(".")[0]: name for name in self._files[folder]}
        return self._stems[folder]


class _Tally:
    """What the files tell of classes, and of the keypoints of each."""

    def __init__(self, request: Request) -> None:
        self.names: set[str] = set()
        self.present: list[set[str]] = []
        self._task = request.task
        self._with_labels = request.with_labels
        self._keypoints: dict[str, set[str]] = defaultdict(set)

    def add(self, head: HeadFile) -> None:
        """One more file."""
        shapes = [one for one in head.shapes if not isinstance(one, str)]
        if self._task == "classification":
            present = _shown(head.flags, shapes)
        else:
            present = {one.label for one in shapes if one.kind in OBJECT_SHAPES}
            if self._task == "pose":
                self._add_keypoints(shapes)
        present.difference_update(BACKGROUND)
        self.names |= present
        if self._with_labels:  # of a million images, they would take hundreds of megabytes
            self.present.append(present)

    def _add_keypoints(self, shapes: Iterable[ShapeHead]) -> None:
        owners: dict[int | str, str] = {}
        for one in shapes:
            if one.group_id is not None and one.kind in OBJECT_SHAPES:
                owners.setdefault(one.group_id, one.label)
        for one in shapes:
            if one.kind == "point" and one.group_id in owners:
                self._keypoints[owners[one.group_id]].add(one.label)

    def completed(self, known: Class) -> Class:
        """The class with all of its keypoints: those it is known to have, then others, sorted, numbers by size."""
        more = self._keypoints[known.name].difference(known.keypoints)
        order = sorted(more, key=lambda one: (not one.isdecimal(), int(one) if one.isdecimal() else 0, one))
        return Class(known.name, (*known.keypoints, *order), known.skeleton)


def _shown(flags: dict[str, Any] | None, shapes: Iterable[ShapeHead]) -> set[str]:
    """What the image shows as a whole: the flags that are set, else what its shapes are called."""
    return {name for name, is_set in (flags or {}).items() if is_set} or {one.label for one in shapes}


def read(job: Job, reporter: Reporter) -> Iterator[Found]:
    """The file of each image."""
    reading = _Reading(job, reporter)
    for planned in job.planned:
        yield partial(reading.image, planned)


class _Reading:
    def __init__(self, job: Job, reporter: Reporter) -> None:
        self._root = job.whole.root
        self._labels: dict[str, int] = job.whole.details["labels"]
        self._task = job.whole.task
        self._with_outline = job.whole.task in ("segmentation", "obb")
        self._keypoints = [one.keypoints for one in job.whole.classes]
        self._reporter = reporter

    def image(self, planned: Planned, picture: Picture) -> list[Annotation]:
        """What is on the image."""
        notes = planned.entry.notes or ""
        file = decoded(content_of(f"{self._root}/{notes}"), LabelMeFile, notes)
        if file is None:
            message = f"{notes} was a LabelMe file a moment ago, and is none now: is somebody writing to it?"
            raise DatasetError(message)
        if self._task == "classification":
            shown = _shown(file.flags, [one for one in file.shapes if not isinstance(one, str)])
            wanted = sorted(self._labels[name] for name in shown.difference(BACKGROUND))
            return [Annotation(1, label) for label in wanted if label != UNWANTED]
        return self._objects(file, notes, picture)

    def _objects(self, file: LabelMeFile, notes: str, picture: Picture) -> list[Annotation]:
        parts: dict[Any, list[Annotation]] = {}
        points: list[tuple[int, Shape]] = []
        for number, shape in enumerate(file.shapes, 1):
            if isinstance(shape, str):
                self._reporter.note("dropped", "it is no shape", notes, f"#{number}", shape)
            elif shape.kind not in OBJECT_SHAPES:
                points.append((number, shape))
            elif (annotation := self._object(number, shape, notes, picture)) is not None:
                key = number if shape.group_id is None else (shape.label, shape.group_id)
                parts.setdefault(key, []).append(annotation)
        found = {key: joined_parts(some, with_outline=self._with_outline) for key, some in parts.items()}
        if points:
            owners: dict[Any, Annotation] = {}
            for key, annotation in found.items():
                if isinstance(key, tuple):
                    owners.setdefault(key[1], annotation)
            self._take_points(points, owners, notes)
        return list(found.values())

    def _object(self, number: int, shape: Shape, notes: str, picture: Picture) -> Annotation | None:
        label = self._labels.get(shape.label)
        if label is None:  # the background
            return None
        if label == UNWANTED:
            self._reporter.count("dropped", "of a class that was not asked for")
            return None
        annotation = Annotation(number, label)
        if shape.flags or shape.description:
            annotation.attributes = attributes_of(shape)
        try:
            fill(annotation, shape, picture, with_outline=self._with_outline)
        except DatasetError as error:
            self._reporter.note("dropped", str(error), notes, annotation.known_as)
            return None
        return annotation

    def _take_points(self, points: list[tuple[int, Shape]], owners: dict[Any, Annotation], notes: str) -> None:
        """Make keypoints of those that belong to an object."""
        for number, shape in points:
            owner = owners.get(shape.group_id)
            if self._task != "pose" or owner is None or shape.kind != "point" or not shape.points:
                self._reporter.note("not held", shape.kind, notes, f"#{number}")
                continue
            wrong = self._add_keypoint(owner, shape)
            if wrong:
                self._reporter.note("dropped", wrong, notes, f"#{number}", shape.label)

    def _add_keypoint(self, owner: Annotation, shape: Shape) -> str | None:
        """Returns why it can't be one of the object's."""
        names = self._keypoints[owner.label]
        if shape.label not in names:  # where shapes of one group disagree on what they are
            return "a keypoint that no object of this class has"
        if owner.keypoints is None:
            owner.keypoints = [0.0] * (3 * len(names))
        place = 3 * names.index(shape.label)
        if owner.keypoints[place + 2]:
            return "a keypoint that the object has already"
        owner.keypoints[place : place + 3] = keypoint_of(shape)
        return None
