"""pylabel's importers and exporters."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

import yaml
from pylabel import importer

from dataset_peers import Conversion
from dataset_peers._layout import COCO_FILE, place_coco, place_images, write_yaml

NAME, VERSION = "pylabel", version("pylabel")


def _to_yolo(source: Path, out: Path, *, segmentation: bool) -> None:
    labels = out / "labels" / "train"
    labels.mkdir(parents=True)
    dataset = importer.ImportCoco(str(source / COCO_FILE), path_to_images=str(source / "images"))
    dataset.export.ExportToYoloV5(output_path=str(labels), segmentation=segmentation)


def _finish_yolo(source: Path, out: Path) -> Path:
    place_images(source / "images", out / "images" / "train")
    return write_yaml(out, yaml.safe_load(next(out.rglob("dataset.yaml")).read_text())["names"])


def _to_coco(source: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    images, labels = source / "images" / "train", source / "labels" / "train"
    names = yaml.safe_load((source / "data.yaml").read_text())["names"]
    names = list(names.values()) if isinstance(names, dict) else names
    dataset = importer.ImportYoloV5(str(labels), path_to_images=str(images), cat_names=names, img_ext="jpg")
    dataset.export.ExportToCoco(str(out / "made.json"), cat_id_index=1)


def _finish_coco(source: Path, out: Path) -> Path:
    return place_coco(out / "made.json", source, out)


CONVERSIONS = {
    ("coco", "yolo", "detection"): Conversion(functools.partial(_to_yolo, segmentation=False), _finish_yolo),
    ("coco", "yolo", "segmentation"): Conversion(functools.partial(_to_yolo, segmentation=True), _finish_yolo),
    ("yolo", "coco", "detection"): Conversion(_to_coco, _finish_coco),
}
