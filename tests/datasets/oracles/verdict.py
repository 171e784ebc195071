"""Whether a converted dataset is right, in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.datasets.cases.model import Case, Expected
from tests.datasets.oracles.coco import read_coco
from tests.datasets.oracles.found import Found, Unfit, differences
from tests.datasets.oracles.ultralytics import read_folders, read_yolo


def faults(case: Case, expected: Expected, source: Path, made: Path) -> list[str]:
    """What is wrong with the dataset `made`; nothing where it is right."""
    if expected.refusal == "due":
        return ["it should have been refused"]
    try:
        return differences(expected, _read(case, made), source)
    except Unfit as error:
        return [str(error)]


def _read(case: Case, made: Path) -> Found:
    if case.target == "coco":
        return read_coco(made, case.task)
    if case.target == "folders":
        return read_folders(made)
    return read_yolo(made, case.task)


def snapshot(root: Path) -> dict[str, str]:
    """Every file below `root`, with what it holds, so that it can be seen whether one has changed."""
    return {str(path.relative_to(root)): _content(path) for path in sorted(root.rglob("*"))}


def strays(folder: Path, expected: Expected) -> set[str]:
    """What lies in the case's folder and is neither its source, nor its target with its lock, nor was there before."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in found - expected.outside if path.split("/")[0] not in {"source", "out", ".out.lock"}}


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
