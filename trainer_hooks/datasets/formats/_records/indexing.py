"""The index of COCO's relatives: what images and classes their files have, and where the annotations lie."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats import Request
from trainer_hooks.datasets.formats._records.records import (
    BACKGROUND_LABEL,
    PER_KEYPOINT,
    UNWANTED_LABEL,
    CategoryRecord,
    Head,
    Id,
    ImageRecord,
    found_by,
    key_of_name,
    label_by,
    plain,
)
from trainer_hooks.datasets.formats._records.regrouping import NOWHERE, UNREADABLE, is_scattered, regrouped
from trainer_hooks.datasets.json_arrays import JsonFile, is_given
from trainer_hooks.datasets.model import BACKGROUND, Chunk, Class, Entry, Index
from trainer_hooks.datasets.naming import safe_name
from trainer_hooks.datasets.report import Reporter
from trainer_hooks.errors import DatasetError

# Instead of the place of an image: it is another split's.
_ELSEWHERE = -1


class Indexing:
    """Puts together the index of one or more such files."""

    def __init__(self, root: Path, request: Request, reporter: Reporter) -> None:
        self.classes = [Class(name) for name in request.classes or ()]
        self.entries: list[Entry] = []
        self._root = root
        self._request = request
        self._reporter = reporter
        self._chunks: list[Chunk] = []
        self._files: list[str] = []
        self._categories: list[dict[Id, int]] = []
        self._places: list[dict[Id, int]] = []
        self._by_file: dict[str, int] = {}
        self._labels: list[set[int]] = []
        self._keypoints = 0
        self._named_in: dict[int, str] = {}
        self._sizes: dict[float, float] = {}
        self._class_names: dict[str, None] = {}

    def begin(self, shown: str, categories: Sequence[CategoryRecord | str]) -> None:
        """Another file, and the classes it knows. Each name is a key of its category, too, as `key_of_name` has it."""
        self._files.append(shown)
        self._places.append({})
        known: dict[Id, int] = {}
        for place, one in enumerate(categories):
            category = CategoryRecord(one) if isinstance(one, str) else one
            key = plain(category.id)
            label = self._label(category)
            if known.setdefault(place if key is None else key, label) != label:
                message = f"{shown}: two categories have the id {category.id!r}, one of them is {category.name!r}"
                raise DatasetError(message)
            if key_of_name(category.name) in known and category.name not in BACKGROUND:
                self._reporter.note("repaired", "two categories of the same name", shown, detail=category.name)
            known[key_of_name(category.name)] = label
        self._categories.append(known)

    def _label(self, category: CategoryRecord) -> int:
        if category.name in BACKGROUND:
            return BACKGROUND_LABEL
        self._class_names[category.name] = None
        known = next((at for at, one in enumerate(self.classes) if one.name == category.name), None)
        if known is None and self._request.classes is not None:
            return UNWANTED_LABEL
        skeleton = tuple(category.skeleton or ())
        full = Class(category.name, tuple(category.keypoints or ()), skeleton, category.supercategory or "")
        if known is None:
            known = len(self.classes)
            self.classes.append(Class(category.name))
        self._complete(known, full)
        return known

    def _complete(self, label: int, full: Class) -> None:
        """Of a class in several files, the one that names the most keypoints counts.

        Raises:
            DatasetError: if they name other ones, or in another order: points would be taken for other points.
        """
        here = self.classes[label].keypoints
        common = min(len(here), len(full.keypoints))
        if self._request.task == "pose" and here[:common] != full.keypoints[:common]:
            message = (
                f"{full.name!r} has the keypoints {', '.join(here)} in {self._named_in[label]}, "
                f"and {', '.join(full.keypoints)} in {self._files[-1]}: let them be the same ones in one order"
            )
            raise DatasetError(message)
        if not here or len(here) < len(full.keypoints):
            self.classes[label] = full
            self._named_in[label] = self._files[-1]

    def add_image(self, record: ImageRecord, where: Callable[[str], str], split: str | None) -> int | None:
        """Another image; returns its place among the entries, None if it can't be used."""
        shown, places = self._files[-1], self._places[-1]
        key = plain(record.id)
        if not record.file_name or key is None:
            self._reporter.note("dropped", "image without a name or an id", shown, detail=f"id {record.id}")
            return None
        name = safe_name(record.file_name, f"{shown}, image {record.id}")
        known = places.get(key)
        if known is not None:
            return self._add_same(record, name, known)
        shown_id = key if isinstance(record.id, int) else record.id
        size = (self._shared(record.width), self._shared(record.height))
        entry = Entry(name, where(name), shown_id, *size, split or record.split, shown)
        known = self._by_file.get(entry.file)
        if known is not None:
            return self._add_again(key, entry, known)
        place = places[key] = self._by_file[entry.file] = len(self.entries)
        self.entries.append(entry)
        return place

    def _shared(self, size: float | None) -> float:
        """The number, in one object for all images: there are a million of them, and few sizes."""
        return self._sizes.setdefault(size or 0, size or 0)

    def _add_same(self, record: ImageRecord, name: str, known: int) -> int | None:
        """An image with an id that is there already."""
        if known == _ELSEWHERE:
            return None
        other = self.entries[known].name
        if name != other:
            message = f"{self._files[-1]}: {other!r} and {name!r} have one id, {record.id!r}: give each its own"
            raise DatasetError(message)
        self._reporter.note("repaired", "image listed twice", name)
        return known

    def _add_again(self, key: Id, entry: Entry, known: int) -> int | None:
        """An image that is there already: it is one image, and in one split."""
        first = self.entries[known]
        if entry.split is None or first.split in (None, entry.split):
            self._reporter.note("repaired", "image listed twice", entry.name)
            first.split = first.split or entry.split
            self._places[-1][key] = known
            return known
        self._reporter.note(
            "dropped",
            "image that is in another split, too",
            entry.name,
            detail=f"{entry.split}, stays in {first.split}",
        )
        self._places[-1][key] = _ELSEWHERE
        return None

    def add_annotations(self, file: JsonFile, given: msgspec.Raw, kind: type[Head] = Head, number: int = 1) -> None:
        """Where in the file the annotations of which images lie; the first is number `number`."""
        chunks: list[Chunk] = []
        places: list[array[int]] = []
        for span, heads in file.runs(given, kind):
            own = array("q", (self._place_at(head, at) for at, head in enumerate(heads, number)))
            images = [place for place in own if place >= 0]
            if images:
                chunks.append(Chunk(len(self._files) - 1, *span, number, min(images), max(images)))
                places.append(own)
            else:
                self._tell_unreadable(heads, number)
            number += len(heads)
        self._chunks += regrouped(file, chunks, places) if is_scattered(chunks) else chunks

    def _tell_unreadable(self, heads: Iterable[Head | str], number: int) -> None:
        """Where no job reads them, nobody else does."""
        for at, head in enumerate(heads, number):
            if isinstance(head, str):
                self._reporter.note("dropped", "it is no annotation", self._files[-1], f"#{at}", head)

    def _place_at(self, head: Head | str, number: int) -> int:
        if isinstance(head, str):
            return UNREADABLE
        place = self._place_of(head, number)
        return NOWHERE if place is None else place

    def _place_of(self, head: Head, number: int) -> int | None:
        place = found_by(head.image_id, self._places[-1])
        if place is None:
            known_as = f"#{number}" if head.id is None else str(head.id)
            self._reporter.note(
                "dropped", "there is no such image", self._files[-1], known_as, f"image_id {head.image_id!r}"
            )
        elif place == _ELSEWHERE:
            self._reporter.count("dropped", "on an image that is in another split, too")
            return None
        else:
            self.look_into((head,), place)
        return place

    def look_into(self, heads: Iterable[Head | str], place: int) -> None:
        """What has been asked for is found out of annotations of the image at that place."""
        for head in heads:
            if isinstance(head, str):
                continue
            if self._request.with_labels:
                self._labels += [set() for _ in range(place + 1 - len(self._labels))]
                label = label_by(head.category_keys(), self._categories[-1])
                if label is not None and label >= 0:
                    self._labels[place].add(label)
            if self._request.task == "pose":
                self._keypoints = max(self._keypoints, _keypoints_in(head.keypoints))

    def index(self) -> Index:
        """What has been put together."""
        also = [
            {
                key: place
                for key, place in places.items()
                if place != _ELSEWHERE and (self.entries[place].notes != shown or plain(self.entries[place].id) != key)
            }
            for shown, places in zip(self._files, self._places, strict=True)
        ]
        self._request.check_classes(self._class_names)
        self._check_classes()
        labels = [tuple(sorted(some)) for some in self._labels]
        if self._request.with_labels:
            labels += [()] * (len(self.entries) - len(labels))
        details = {"files": self._files, "categories": self._categories, "also": also}
        return Index(self.classes, self.entries, self._chunks, details, labels)

    def _check_classes(self) -> None:
        """There are some; for poses, the objects of one at least have keypoints, numbered where nobody names them."""
        if not self.classes:
            message = f"{', '.join(self._files)} names no class: there is nothing to train"
            raise DatasetError(message)
        if self._request.task == "pose" and not any(one.keypoints for one in self.classes):
            if not self._keypoints:
                message = f"{', '.join(self._files)} holds no keypoints: there is no pose to train"
                raise DatasetError(message)
            names = tuple(f"keypoint {number}" for number in range(1, self._keypoints + 1))
            self.classes = [msgspec.structs.replace(one, keypoints=names) for one in self.classes]


def _keypoints_in(raw: msgspec.Raw) -> int:
    """How many keypoints an annotation holds, as flat numbers or one list each."""
    try:
        found = msgspec.json.decode(raw, type=list[Any] | None) if is_given(raw) else None
    except msgspec.MsgspecError:
        return 0
    return 0 if not found else len(found) if isinstance(found[0], list) else len(found) // PER_KEYPOINT


def locating(root: Path, folders: Sequence[Path]) -> Callable[[str], str]:
    """What tells where an image lies, relative to the root: in the first of these folders that has it.

    One that none of them has is looked for in the first, where it is found to be missing.
    """
    order = ["" if folder == root else f"{os.path.relpath(folder, root)}/" for folder in dict.fromkeys(folders)]

    def where(name: str) -> str:
        for folder in order:
            path = folder + name
            if len(order) == 1 or os.path.exists(f"{root}/{path}"):  # noqa: PTH110 - for each of a million images
                return path
        return order[0] + name

    return where
