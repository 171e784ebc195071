"""This package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trainer_hooks
from dataset_peers import Conversion, Key
from trainer_hooks import datasets

NAME, VERSION = "trainer_hooks", trainer_hooks.__version__


def _convert(key: Key) -> Callable[..., object]:
    source_format, target, task = key

    def run(source: Path, out: Path, **arguments: object) -> None:
        if "assign" in arguments:
            arguments["split"] = datasets.Split(assign=arguments.pop("assign"))
        datasets.convert(source, source=source_format, target=target, task=task, to=out, **arguments)

    return run


def _finish(source: Path, out: Path) -> Path:
    del source  # the result is whole
    return out / "data.yaml" if (out / "data.yaml").exists() else out


_PAIRS = [
    *[(source, "yolo", task) for source in ("coco", "dice", "labelme") for task in ("detection", "segmentation")],
    *[(source, "yolo", "pose") for source in ("coco", "dice")],
    *[(source, "yolo", "obb") for source in ("coco", "labelme", "yolo")],
    *[(source, "coco", "segmentation") for source in ("coco", "labelme", "yolo")],
    *[(source, "coco", "detection") for source in ("labelme", "yolo")],
    ("yolo", "yolo", "detection"),
    ("dice", "folders", "classification"),
    ("folders", "folders", "classification"),
]
CONVERSIONS = {key: Conversion(_convert(key), _finish) for key in _PAIRS}
