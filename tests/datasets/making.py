"""Small datasets, and what is read out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from trainer_hooks.datasets.converting.planning import Asked, Plan
from trainer_hooks.datasets.formats import source_named
from trainer_hooks.datasets.model import Annotation, Class, Entry
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.datasets.splitting import Split


class Found(NamedTuple):
    """What a source has told: `annotations` by the images' names, `splits` likewise."""

    classes: list[Class]
    entries: list[Entry]
    annotations: dict[str, list[Annotation]]
    splits: dict[str, str]
    report: Report

    @property
    def names(self) -> list[str]:
        """Those of the classes."""
        return [one.name for one in self.classes]

    def objects(self, name: str) -> list[tuple[str, tuple[float, ...] | None]]:
        """Class and box of each annotation of that image."""
        return [(self.names[one.label], one.box) for one in self.annotations[name]]


def read(
    root: Path,
    source: str,
    task: str = "detection",
    *,
    classes: list[str] | None = None,
    split: Split | None = None,
    workers: int = 1,
) -> Found:
    """Everything that the dataset holds, as its format tells it: nothing cleaned, no image looked at.

    With more workers, it is read in more jobs.
    """
    plan = Plan.make(root, Asked(source, "dice", task, split, classes, 0), "")
    reporter = Reporter(plan.report)
    annotations: dict[str, list[Annotation]] = {}
    for job in plan.jobs(workers):
        read_of_job = source_named(source).read(job, reporter)
        for planned, found in zip(job.planned, read_of_job, strict=True):
            # None of the formats read here waits for the image's size.
            annotations[planned.entry.name] = found if isinstance(found, list) else []
    entries = [planned.entry for planned in plan.planned]
    splits: dict[str, str] = {planned.entry.name: planned.split for planned in plan.planned}
    return Found(plan.whole.classes, entries, annotations, splits, plan.report)


def put(path: Path, content: Any) -> Path:
    """A file of that text, or of that content as JSON; returns the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path.parent


def picture(path: Path, size: tuple[int, int] = (200, 100)) -> None:
    """An image of that size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (hash(path.name) % 256, 80, 120)).save(path)
