"""JSON2YOLO, which has no package: JSON2YOLO names the folder of a checkout."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import yaml

from dataset_peers import Conversion
from dataset_peers._layout import names_by_id, place_images, write_yaml

NAME = "JSON2YOLO"
_FOLDER = os.environ.get("JSON2YOLO", "")
if not (Path(_FOLDER) / "general_json2yolo.py").is_file():
    raise ImportError("JSON2YOLO=, the folder of a checkout")
sys.path.insert(0, _FOLDER)

from general_json2yolo import convert_coco_json, convert_labelme_json  # noqa: E402

VERSION = subprocess.run(
    ["git", "-C", _FOLDER, "log", "-1", "--format=%h of %cs"], capture_output=True, text=True, check=False
).stdout.strip()


def _coco(source: Path, out: Path, **options: bool) -> None:
    convert_coco_json(str(source / "annotations"), save_dir=str(out), **options)


def _finish_coco(source: Path, out: Path) -> Path:
    place_images(source / "images", out / "images" / "train")
    return write_yaml(out, names_by_id(source))


def _labelme(source: Path, out: Path, *, use_segments: bool) -> None:
    convert_labelme_json(str(source), use_segments=use_segments, save_dir=str(out))


def _finish_labelme(source: Path, out: Path) -> Path:
    place_images(source, out / "images")
    names = yaml.safe_load((out / "data.yaml").read_text())["names"]
    return write_yaml(out, list(names.values()), "images", "images")


CONVERSIONS = {
    ("coco", "yolo", "detection"): Conversion(_coco, _finish_coco),
    ("coco", "yolo", "segmentation"): Conversion(functools.partial(_coco, use_segments=True), _finish_coco),
    ("coco", "yolo", "pose"): Conversion(functools.partial(_coco, use_keypoints=True), _finish_coco),
    ("labelme", "yolo", "detection"): Conversion(functools.partial(_labelme, use_segments=False), _finish_labelme),
    ("labelme", "yolo", "segmentation"): Conversion(functools.partial(_labelme, use_segments=True), _finish_labelme),
}
