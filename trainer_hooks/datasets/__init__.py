"""Datasets: fetched into a cache, and converted into what a trainer reads.

    from trainer_hooks import datasets
    dataset = datasets.fetch("ds_1")
    data_yaml = datasets.convert(dataset, source="dice", target="yolo", task="detection")

Importing this package costs next to nothing: what is named here is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_hooks.lazy import attributes

if TYPE_CHECKING:
    from trainer_hooks.datasets.converting.conversion import convert, split, validate
    from trainer_hooks.datasets.dataset import Dataset
    from trainer_hooks.datasets.fetching.annotation_list import fetch_annotation
    from trainer_hooks.datasets.fetching.fetch import fetch
    from trainer_hooks.datasets.report import Finding, Report, read_report
    from trainer_hooks.datasets.splitting import Split

__all__ = [
    "Dataset",
    "Finding",
    "Report",
    "Split",
    "convert",
    "fetch",
    "fetch_annotation",
    "read_report",
    "split",
    "validate",
]

_HOMES = {
    "Dataset": "dataset",
    "Finding": "report",
    "Report": "report",
    "Split": "splitting",
    "convert": "converting.conversion",
    "fetch": "fetching.fetch",
    "fetch_annotation": "fetching.annotation_list",
    "read_report": "report",
    "split": "converting.conversion",
    "validate": "converting.conversion",
}


__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
