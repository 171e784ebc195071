"""Ultralytics' convert_coco."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

from ultralytics.data.converter import convert_coco

from dataset_peers import Conversion
from dataset_peers._layout import names_by_id, place_images, write_yaml

NAME, VERSION = "Ultralytics", version("ultralytics-opencv-headless")


def _convert(source: Path, out: Path, **options: bool) -> None:
    convert_coco(str(source / "annotations"), str(out), cls91to80=False, **options)


def _finish(source: Path, out: Path) -> Path:
    place_images(source / "images", out / "images" / "train")
    return write_yaml(out, names_by_id(source))


CONVERSIONS = {
    ("coco", "yolo", "detection"): Conversion(_convert, _finish),
    ("coco", "yolo", "segmentation"): Conversion(functools.partial(_convert, use_segments=True), _finish),
    ("coco", "yolo", "pose"): Conversion(functools.partial(_convert, use_keypoints=True), _finish),
}
