"""labelme2coco, the package in Python."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import labelme2coco

from dataset_peers import Conversion
from dataset_peers._layout import place_coco

NAME, VERSION = "labelme2coco", version("labelme2coco")


def _convert(source: Path, out: Path) -> None:
    labelme2coco.convert(str(source), str(out), category_id_start=1)


def _finish(source: Path, out: Path) -> Path:
    return place_coco(out / "dataset.json", source, out)


CONVERSIONS = {("labelme", "coco", task): Conversion(_convert, _finish) for task in ("detection", "segmentation")}
