"""Image folders, for classification: a folder per class, below one per split where the dataset is split.

Read and written as torchvision and Ultralytics do: `<split>/<class>/…`. They number the classes by the sorted names of
the folders, so that every split has a folder for every class, even an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.datasets.formats import Request
from trainer_hooks.datasets.formats._layout import UNWANTED, EntryNames, is_image, joined_path, numbered, walk
from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.model import SPLITS, Annotation, Class, Entry, Index, Task
from trainer_hooks.datasets.naming import LONGEST_PART
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.datasets.splitting import split_named
from trainer_hooks.errors import DatasetError

TASKS: tuple[Task, ...] = ("classification",)

_NOT_IN_A_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f]|^\.+|[. ]+$')


def index(root: Path, request: Request, reporter: Reporter) -> Index:
    """By the folders; images that lie in none of a class are dropped."""
    if not root.is_dir():
        message = f"{root} is a file: give the folder that holds a folder for each class"
        raise DatasetError(message)
    if request.task != "classification":
        message = f"image folders tell classes only: there is no {request.task} in {root}; ask for classification"
        raise DatasetError(message)
    found = walk(str(root), reporter)
    splits = _splits(root)
    placed = [(folder, *_class_in(folder, splits)) for folder in found]
    # A folder without images is a class, too: the numbers are to stay when it gets some.
    named = sorted({name for _, _, name in placed if name})
    classes, labels = numbered(named, request)
    entries: list[Entry] = []
    names = EntryNames()
    present: list[tuple[int, ...]] = []
    for folder, split, name in placed:
        for image in filter(is_image, found[folder]):
            file = joined_path(folder, image)
            if not name or labels.get(name, UNWANTED) < 0:
                reason = "of a class that was not asked for" if name else "image in no folder of a class"
                reporter.note("dropped", reason, file)
                continue
            own = file.split("/", 1)[1] if split else file
            entries.append(Entry(names.take(file, own), file, split=split))
            present.append((labels[name],))
    return Index(
        [Class(one) for one in classes],
        entries,
        details={"labels": labels},
        labels=present if request.with_labels else [],
    )


def _splits(root: Path) -> frozenset[str]:
    """The folders that are splits: one for training, with others or nothing beside it. Alone, it may be a class."""
    folders = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    splits = frozenset(name for name in folders if split_named(name))
    told = {split_named(name) for name in splits}
    return splits if "train" in told and (len(told) > 1 or len(folders) == 1) else frozenset()


def _class_in(folder: str, splits: frozenset[str]) -> tuple[str | None, str]:
    """The split and the class of what lies in the folder; no class is an empty name."""
    parts = folder.split("/")
    if parts[0] in splits:
        return split_named(parts[0]), parts[1] if len(parts) > 1 else ""
    return None, "" if splits else parts[0]


def read(job: Job, reporter: Reporter) -> Iterator[list[Annotation]]:  # noqa: ARG001 - the folder tells it all
    """What the folder says."""
    labels = job.whole.details["labels"]
    for planned in job.planned:
        parts = planned.entry.file.split("/")
        # Below a split where the entry has one.
        yield [Annotation(1, labels[parts[1 if planned.entry.split else 0]])]


class Writer:
    """Places each image in the folder of its class."""

    def __init__(self, job: Job, reporter: Reporter, output: Output) -> None:  # noqa: ARG002 - the image is all there is
        self._reporter = reporter
        self._classes = job.whole.names
        self._folders = folder_names(job.whole.names)
        self._is_from_folders = job.whole.source == "folders"

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str | None:  # noqa: ARG002
        """The path in the folder of its one class."""
        labels = {one.label for one in annotations}
        if len(labels) != 1:
            reason = "image of several classes" if labels else "image of no class"
            named = ", ".join(sorted(self._classes[label] for label in labels))
            self._reporter.note("dropped", reason, planned.entry.name, detail=named)
            return None
        label = labels.pop()
        name, folder = self._classes[label], self._folders[label]
        if folder != name:
            self._reporter.note("renamed", "a class, to what can name a folder", planned.name, detail=f"{name!r}")
        own = _below_class(planned, name) if self._is_from_folders else planned.name
        return f"{planned.split}/{folder}/{own}"


def _below_class(planned: Planned, name: str) -> str:
    """The image's name without its class; where it comes from another split, which may have the same, below that."""
    entry, own = planned.entry, planned.name
    if entry.split and entry.name == entry.file:
        own = own.partition("/")[2]
    own = own.removeprefix(f"{name}/")
    return own if entry.split in (None, planned.split) else f"{entry.split}/{own}"


def folder_names(classes: list[str]) -> list[str]:
    """What the classes' folders are called.

    Raises:
        DatasetError: if two classes would share one, on any file system, or one's name is too long for it.
    """
    folders = [_NOT_IN_A_NAME.sub("_", name) or "_" for name in classes]
    taken: dict[str, str] = {}
    for name, folder in zip(classes, folders, strict=True):
        size = len(folder.encode(errors="surrogatepass"))
        if size > LONGEST_PART:
            message = (
                f"the class {name[:60]!r}… has a name of {size} bytes, and a folder's has {LONGEST_PART}: shorten it"
            )
            raise DatasetError(message)
        other = taken.setdefault(folder.casefold(), name)
        if other != name:
            message = f"the classes {other!r} and {name!r} would share the folder {folder!r}: rename one of them"
            raise DatasetError(message)
    return folders


def finish(whole: Whole, jobs: int, report: Report) -> str:  # noqa: ARG001 - nothing is left in pieces
    """Every split gets a folder for every class."""
    for split in SPLITS:
        if report.images.get(split):
            for folder in folder_names(whole.names):
                (Path(whole.staging or "") / split / folder).mkdir(parents=True, exist_ok=True)
    report.classes = sorted(whole.names, key=dict(zip(whole.names, folder_names(whole.names), strict=True)).__getitem__)
    return ""
