"""Where a YOLO dataset has its images, and what it calls its classes: by its `data.yaml`, or by its folders.

A folder is taken as it stands: what its `data.yaml` names outside of it is refused. Given the `data.yaml` itself, what
it names is trusted, wherever it lies. Nothing of it is ever executed or downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.formats._layout import content_of, is_image, joined_path, listed_classes, told_by_path, walk
from trainer_hooks.datasets.formats.yolo.data_file import DataFile, read_data_file
from trainer_hooks.datasets.model import SPLITS, SplitName
from trainer_hooks.datasets.report import Reporter
from trainer_hooks.errors import DatasetError

_CLASS_FILES = ("classes.txt", "labels/classes.txt", "obj.names")


class Image(msgspec.Struct, array_like=True, gc=False):
    """One image: where it lies, relative to the root; what it is called; in which split it is."""

    file: str
    name: str
    split: str | None


class YoloSource:
    """A dataset at `root`: its folder, or its `data.yaml`."""

    def __init__(self, root: Path, reporter: Reporter) -> None:
        self.base = root if root.is_dir() else root.parent
        self._reporter = reporter
        self._is_trusted = root.is_file()
        file = root if root.is_file() else _yaml_in(root)
        self.shown = file.name if file else str(root)
        self.data = read_data_file(file, self.shown) if file else DataFile(names=_listed(root))
        self._is_listed = file is not None
        self._home = self._home_of(self.data.path or "")

    def _home_of(self, said: str) -> Path:
        """What the paths of the splits are relative to. A dataset that was moved still names its former place."""
        home = os.path.normpath(self.base / said)
        is_there = self._is_inside(home) and os.path.isdir(home)  # noqa: PTH112 - never raises, whatever is said
        return Path(home) if is_there else self.base

    def _is_inside(self, path: str) -> bool:
        return self._is_trusted or path == str(self.base) or path.startswith(f"{self.base}/")

    def images(self) -> Iterator[Image]:
        """All images of all splits, none twice: in the split that names the narrower folder, else the first one.

        Raises:
            DatasetError: if there is no training set, or something lies outside of the dataset.
        """
        if not self._is_listed:
            yield from self._by_folders()
            return
        seen: dict[str, str | None] = {}
        places = self._places()
        for place, split in places.items():
            within = [other for other in places if other.startswith(f"{place}/") and places[other] != split]
            others = tuple(f"{os.path.relpath(other, self.base)}/" for other in within)
            for file, name in self._in(Path(place)):
                if others and file.startswith(others):
                    self._reporter.note("repaired", "image in two splits", file, detail=f"is not in {split}")
                elif file not in seen:
                    seen[file] = split
                    yield Image(file, name, split)
                elif seen[file] != split:
                    self._reporter.note("repaired", "image in two splits", file, detail=f"stays in {seen[file]}")

    def _places(self) -> dict[str, SplitName]:
        """The folders and lists that are named, each with the first split that names it."""
        places: dict[str, SplitName] = {}
        for split in SPLITS:
            for said in self.data.paths_of(split):
                place = self._place(said, split)
                if place in places:
                    self._reporter.note("told", f"{split} is the same as {places[place]}", self.shown)
                elif place is not None:
                    places[place] = split
        return places

    def _by_folders(self) -> Iterator[Image]:
        below = "images" if (self.base / "images").is_dir() else ""
        for folder, files in walk(str(self.base), self._reporter, below).items():
            for name in filter(is_image, files):
                file = joined_path(folder, name)
                yield Image(file, *told_by_path(file))

    def _place(self, said: str, split: SplitName) -> str | None:
        """The folder or list of that split; None where there is none."""
        # What Roboflow exports has one `../` too many.
        tried = [home / one for home in (self._home, self.base) for one in (said, said.removeprefix("../"))]
        places = [os.path.normpath(path) for path in tried]
        inside = [place for place in places if self._is_inside(place)]
        found = next((place for place in inside if os.path.exists(place)), None)  # noqa: PTH110 - as above
        if found is None and (split == "train" or not inside):
            wrong = "does not exist" if inside else "lies outside of the dataset: give this file itself to allow that"
            message = f"{self.base / self.shown}: {split}: {said!r} {wrong}"
            raise DatasetError(message)
        if found is None:
            self._reporter.note("told", f"there is no {split} set where it should be", self.shown, detail=said)
        return found

    def _in(self, place: Path) -> Iterator[tuple[str, str]]:
        """The images in a folder, or in a list: where each lies, and its name."""
        if place.is_dir():
            below = os.path.relpath(place, self.base)
            for folder, files in walk(str(self.base), self._reporter, "" if below == "." else below).items():
                own = self._own(folder)
                for name in filter(is_image, files):
                    yield joined_path(folder, name), told_by_path(joined_path(own, name))[0]
        elif place.suffix == ".txt":
            for file in self._listed_in(place):
                yield file, told_by_path(self._own(file))[0]
        else:
            file = os.path.relpath(place, self.base)
            yield file, told_by_path(self._own(file))[0]

    def _own(self, path: str) -> str:
        """The path relative to the home of the splits."""
        own = os.path.relpath(f"{self.base}/{path}", self._home).replace(os.sep, "/")
        parts = [part for part in own.split("/") if part not in (".", "..")]
        return "/".join(parts)

    def _listed_in(self, place: Path) -> Iterator[str]:
        try:
            lines = content_of(str(place)).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            message = f"{place} is no list of images: {error}"
            raise DatasetError(message) from error
        for number, line in enumerate(lines, 1):
            said = line.strip().replace("\\", "/")
            if not said:
                continue
            path = self._listed_path(place, said)
            if not self._is_inside(path):
                message = f"{place}, line {number}: {said!r} lies outside of the dataset"
                raise DatasetError(message)
            yield os.path.relpath(path, self.base)

    def _listed_path(self, place: Path, said: str) -> str:
        beside = os.path.normpath(place.parent / said)
        if said.startswith("./") or os.path.exists(beside):  # noqa: PTH110 - for each of a million
            return beside
        return os.path.normpath(self._home / said)


def label_path(image: str) -> str:
    """Where Ultralytics looks for the labels of the image at that path: beside it, where no folder is `images`."""
    before, images, after = f"/{image}".rpartition("/images/")
    swapped = f"{before}/labels/{after}" if images else f"/{image}"
    return f"{swapped[1:].rpartition('.')[0]}.txt"


def _yaml_in(root: Path) -> Path | None:
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    found = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if len(found) > 1:
        message = f"{root} has {', '.join(path.name for path in found)}: give the one that is meant as the dataset"
        raise DatasetError(message)
    return found[0] if found else None


def _listed(root: Path) -> list[Any]:
    names: list[Any] = [one.name for one in listed_classes(root, _CLASS_FILES)]
    if not names:
        message = (
            f"{root} has neither a data.yaml nor a classes.txt that names its classes, a name a line: write one "
            "(folders of images by class are of the format folders)"
        )
        raise DatasetError(message)
    return names
