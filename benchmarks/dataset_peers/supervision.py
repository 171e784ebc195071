"""supervision's DetectionDataset."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

import supervision
import yaml

from dataset_peers import Conversion
from dataset_peers._layout import COCO_FILE, place_coco, place_images, write_yaml

NAME, VERSION = "supervision", version("supervision")
_Dataset = supervision.DetectionDataset


def _read(source: Path, kind: str, *, masks: bool) -> supervision.DetectionDataset:
    if kind == "coco":
        return _Dataset.from_coco(str(source / "images"), str(source / COCO_FILE), force_masks=masks)
    if kind == "labelme":
        return _Dataset.from_labelme(str(source), str(source), force_masks=masks)
    images, labels = source / "images" / "train", source / "labels" / "train"
    return _Dataset.from_yolo(str(images), str(labels), str(source / "data.yaml"), force_masks=masks)


def _to_yolo(source: Path, out: Path, *, kind: str, masks: bool) -> None:
    dataset = _read(source, kind, masks=masks)
    dataset.as_yolo(annotations_directory_path=str(out / "labels" / "train"), data_yaml_path=str(out / "names.yaml"))


def _to_coco(source: Path, out: Path, *, kind: str, masks: bool) -> None:
    _read(source, kind, masks=masks).as_coco(annotations_path=str(out / "made.json"))


def _finish_yolo(source: Path, out: Path, *, kind: str) -> Path:
    place_images(source / "images" if kind == "coco" else source, out / "images" / "train")
    return write_yaml(out, yaml.safe_load((out / "names.yaml").read_text())["names"])


def _finish_coco(source: Path, out: Path) -> Path:
    return place_coco(out / "made.json", source, out)


def _yolo(kind: str, *, masks: bool) -> Conversion:
    return Conversion(functools.partial(_to_yolo, kind=kind, masks=masks), functools.partial(_finish_yolo, kind=kind))


CONVERSIONS = {
    ("coco", "yolo", "detection"): _yolo("coco", masks=False),
    ("coco", "yolo", "segmentation"): _yolo("coco", masks=True),
    ("labelme", "yolo", "detection"): _yolo("labelme", masks=False),
    ("labelme", "yolo", "segmentation"): _yolo("labelme", masks=True),
    ("labelme", "coco", "detection"): Conversion(
        functools.partial(_to_coco, kind="labelme", masks=False), _finish_coco
    ),
    ("labelme", "coco", "segmentation"): Conversion(
        functools.partial(_to_coco, kind="labelme", masks=True), _finish_coco
    ),
    ("yolo", "coco", "detection"): Conversion(functools.partial(_to_coco, kind="yolo", masks=False), _finish_coco),
    ("yolo", "coco", "segmentation"): Conversion(functools.partial(_to_coco, kind="yolo", masks=True), _finish_coco),
}
