"""What a source tells, read the way a conversion does, but not cleaned and not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from trainer_hooks.datasets.converting.planning import Asked, Plan
from trainer_hooks.datasets.formats import source_named
from trainer_hooks.datasets.model import Annotation, Class, Entry
from trainer_hooks.datasets.pictures import look_at
from trainer_hooks.datasets.report import Report, Reporter
from trainer_hooks.datasets.splitting import Split


class Told(NamedTuple):
    """`annotations` and `splits` are by the images' names."""

    classes: list[Class]
    entries: list[Entry]
    annotations: dict[str, list[Annotation]]
    splits: dict[str, str]
    report: Report

    @property
    def names(self) -> list[str]:
        """Those of the classes."""
        return [one.name for one in self.classes]

    def boxes(self, image: str) -> list[tuple[str, tuple[float, ...] | None]]:
        """Class and box of each annotation of that image."""
        return [(self.names[one.label], one.box) for one in self.annotations[image]]


def tell(
    root: Path,
    source: str,
    task: str = "detection",
    *,
    split: Split | None = None,
    classes: list[str] | None = None,
    max_missing: int = 0,
) -> Told:
    """Everything that the dataset holds; its images must be there."""
    plan = Plan.make(root, Asked(source, "labelme", task, split, classes, max_missing), "")
    reporter = Reporter(plan.report)
    annotations: dict[str, list[Annotation]] = {}
    for job in plan.jobs(1):
        for planned, found in zip(job.planned, source_named(source).read(job, reporter), strict=True):
            entry = planned.entry
            picture = look_at(f"{plan.whole.root}/{entry.file}")
            annotations[entry.name] = found if isinstance(found, list) else found(picture)
    entries = [planned.entry for planned in plan.planned]
    splits: dict[str, str] = {planned.entry.name: planned.split for planned in plan.planned}
    return Told(plan.whole.classes, entries, annotations, splits, plan.report)


def counted(report: Report) -> dict[str, Any]:
    """The counts by action and reason."""
    return {action: dict(reasons) for action, reasons in report.counts.items() if action != "told"}
