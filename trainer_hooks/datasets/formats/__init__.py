"""The formats of datasets: one module each, chosen by its name; a new one costs its file, its test and its example.

A module that can be read has `index` and `read`; one that can be written, `Writer` and `finish`:

    def index(root: Path, request: Request, reporter: Reporter) -> Index
        What is there, without the annotations: classes, images, where their annotations lie. What can't be used is
        noted. Raises DatasetError.

    def read(job: Job, reporter: Reporter) -> Iterator[Found]
        The annotations of the job's images, one list per image, in the job's order; or what reads an image's own once
        it is told what the image is, where they depend on its size. Bad ones are noted and left out.

    class Writer:
        def __init__(self, job: Job, reporter: Reporter, output: Output)
        def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str | None
            Clean annotations of one image, written to the output, and there alone; returns the path in the target that
            the image is to be placed at, or None if the target doesn't take it, which has been noted.

    def finish(whole: Whole, jobs: int, report: Report) -> str
        Put together what the jobs have left in `whole.pieces`, and write what there is one of; returns what a trainer
        is given, relative to the target: a file, or "" for the folder itself.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Protocol, Union, cast

import msgspec

from trainer_hooks.datasets.jobs import Job, Planned, Whole
from trainer_hooks.datasets.model import Annotation, Index, Task
from trainer_hooks.datasets.output import Output
from trainer_hooks.datasets.pictures import Picture
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.errors import DatasetError, InvalidSetting

Found = Union[list[Annotation], Callable[[Picture], list[Annotation]]]  # noqa: UP007 - evaluated, on Python 3.10 too


class Request(msgspec.Struct, frozen=True):
    """What is asked of a source: `classes` are the only ones wanted, in that order; None for all that it has.

    `with_labels`: the index is to tell which classes are in each image.
    """

    task: Task
    classes: tuple[str, ...] | None = None
    with_labels: bool = False

    def check_classes(self, known: Iterable[str]) -> None:
        """Those wanted are among those that the source has.

        Raises:
            DatasetError: if not, naming both.
        """
        names = dict.fromkeys(known)
        unknown = [name for name in self.classes or () if name not in names]
        if unknown:
            shown, there = ", ".join(map(repr, unknown)), ", ".join(map(repr, names)) or "none"
            message = f"the dataset has no class {shown}: ask for some of those it has ({there})"
            raise DatasetError(message)


class WriterOfJob(Protocol):
    """Writes the annotations of one job's images."""

    def write(self, planned: Planned, picture: Picture, annotations: list[Annotation]) -> str | None:
        """See above."""
        ...


class Source(Protocol):
    """A module that can be read."""

    def index(self, root: Path, request: Request, reporter: Reporter) -> Index:
        """See above."""
        ...

    def read(self, job: Job, reporter: Reporter) -> Iterator[Found]:
        """See above."""
        ...


class Target(Protocol):
    """A module that can be written."""

    TASKS: tuple[Task, ...]

    def Writer(self, job: Job, reporter: Reporter, output: Output) -> WriterOfJob:  # noqa: N802 - a class, in modules
        """See above."""
        ...

    def finish(self, whole: Whole, jobs: int, report: Report) -> str:
        """See above; returns what a trainer is given, relative to the target: a file, or "" for the folder itself."""
        ...


def source_named(name: str) -> Source:
    """The format of that name, to be read.

    Raises:
        InvalidSetting: for a name that is none.
    """
    return cast("Source", _module(name, "read", "source"))


def target_named(name: str, task: Task) -> Target:
    """The format of that name, to be written for that task.

    Raises:
        InvalidSetting: for a name that is none, or one that has no room for the task.
    """
    target = cast("Target", _module(name, "Writer", "target"))
    if task not in target.TASKS:
        message = f"{name} has no room for {task} (it has for {', '.join(target.TASKS)}); choose another target"
        raise InvalidSetting(message)
    return target


def known_formats(ability: str = "read") -> list[str]:
    """The names of the formats that can be read; with "Writer", of those that can be written."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in names if not name.startswith("_") and hasattr(_import(name), ability)]


def _module(name: str, ability: str, role: str) -> object:
    names = known_formats(ability)
    if name not in names:
        message = f"{name!r} can't be the {role} of a conversion (known: {', '.join(names)})"
        raise InvalidSetting(message)
    return _import(name)


def _import(name: str) -> object:
    return import_module(f"{__name__}.{name}")
