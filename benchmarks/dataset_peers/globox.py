"""globox's AnnotationSet: boxes only."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

from globox import AnnotationSet

from dataset_peers import Conversion
from dataset_peers._layout import COCO_FILE, labelme_names, names_in_order, place_coco, place_images, write_yaml

NAME, VERSION = "globox", version("globox")


def _read(source: Path, kind: str) -> AnnotationSet:
    if kind == "coco":
        return AnnotationSet.from_coco(source / COCO_FILE)
    if kind == "labelme":
        return AnnotationSet.from_labelme(source, recursive=True, include_poly=True)
    images, labels = source / "images" / "train", source / "labels" / "train"
    return AnnotationSet.from_yolo_v5(labels, image_folder=images, recursive=True)


def _names(source: Path, kind: str) -> list[str]:
    return names_in_order(source) if kind == "coco" else labelme_names(source)


def _to_yolo(source: Path, out: Path, *, kind: str) -> None:
    numbers = {name: number for number, name in enumerate(_names(source, kind))}
    labels = out / "labels" / "train"
    labels.mkdir(parents=True)
    _read(source, kind).save_yolo_v5(labels, label_to_id=numbers)


def _finish_yolo(source: Path, out: Path, *, kind: str) -> Path:
    place_images(source / "images" if kind == "coco" else source, out / "images" / "train")
    return write_yaml(out, _names(source, kind))


def _to_coco(source: Path, out: Path, *, kind: str) -> None:
    out.mkdir(exist_ok=True)
    _read(source, kind).save_coco(out / "made.json", auto_ids=True)


def _finish_coco(source: Path, out: Path) -> Path:
    return place_coco(out / "made.json", source, out)


CONVERSIONS = {
    **{
        (kind, "yolo", "detection"): Conversion(
            functools.partial(_to_yolo, kind=kind), functools.partial(_finish_yolo, kind=kind)
        )
        for kind in ("coco", "labelme")
    },
    ("labelme", "coco", "detection"): Conversion(functools.partial(_to_coco, kind="labelme"), _finish_coco),
    ("yolo", "coco", "detection"): Conversion(functools.partial(_to_coco, kind="yolo"), _finish_coco),
}
