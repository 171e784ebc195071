"""sahi's Coco.export_as_yolo: boxes only."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import yaml
from sahi.utils.coco import Coco

from dataset_peers import Conversion
from dataset_peers._layout import COCO_FILE, write_yaml

NAME, VERSION = "sahi", version("sahi")


def _convert(source: Path, out: Path) -> None:
    coco = Coco.from_coco_dict_or_path(str(source / COCO_FILE), image_dir=str(source / "images"))
    coco.export_as_yolo(str(out), train_split_rate=1.0)


def _finish(source: Path, out: Path) -> Path:
    del source  # it links the images itself
    return write_yaml(out, yaml.safe_load((out / "data.yml").read_text())["names"], "train", "train")


CONVERSIONS = {("coco", "yolo", "detection"): Conversion(_convert, _finish)}
