"""datumaro's importers and exporters."""

from __future__ import annotations

import functools
import os
from importlib.metadata import version
from pathlib import Path

from datumaro import Dataset

from dataset_peers import Conversion
from dataset_peers._layout import COCO_FILE, place_images, write_yaml

NAME, VERSION = "datumaro", version("datumaro")


def _from_coco(source: Path, out: Path) -> None:
    arranged = out / "arranged"  # it looks for images in a folder of the split's name
    (arranged / "annotations").mkdir(parents=True)
    (arranged / "images").mkdir()
    for split in ("train", "val"):  # both, or it refuses to write
        os.link(source / COCO_FILE, arranged / "annotations" / f"instances_{split}.json")
        (arranged / "images" / split).symlink_to(source / "images")
    Dataset.import_from(str(arranged), "coco_instances").export(str(out / "made"), "yolo_ultralytics", save_media=False)


def _finish_yolo(source: Path, out: Path) -> Path:
    import yaml

    made = out / "made"
    place_images(source / "images", made / "images" / "train")
    names = yaml.safe_load((made / "data.yaml").read_text())["names"]
    return write_yaml(made, list(names.values()) if isinstance(names, dict) else names)


def _to_coco(source: Path, out: Path, *, form: str) -> None:
    Dataset.import_from(str(source), "yolo").export(str(out), form, save_media=False, reindex=True)


def _finish_coco(source: Path, out: Path) -> Path:
    for split in ("train", "val"):
        if (source / "images" / split).is_dir():
            place_images(source / "images" / split, out / "images" / split)
    return out


CONVERSIONS = {
    ("coco", "yolo", "detection"): Conversion(_from_coco, _finish_yolo),
    ("yolo", "coco", "detection"): Conversion(functools.partial(_to_coco, form="coco_instances"), _finish_coco),
}
