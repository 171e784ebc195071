"""Datasets made for one test, and what is in the folder that comes of them."""

from __future__ import annotations

import functools
import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 64, 48


@functools.cache
def jpeg(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


@functools.cache
def png(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """The same, in the other format."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: bytes) -> Path:
    """A file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_images(root: Path, names: Iterable[str]) -> None:
    """Pictures of those names below `images`."""
    for name in names:
        put(root / "images" / name, png() if name.lower().endswith("png") else jpeg())


def large_tree(root: Path, count: int) -> Path:
    """A COCO dataset of so many images, all of them links to one."""
    names = numbered(count)
    first = put(root / "images" / names[0], jpeg())
    for name in names[1:]:
        (root / "images" / name).hardlink_to(first)
    put(root / "annotations.json", json.dumps(coco_document(names)).encode())
    return root


def coco_document(names: Sequence[str], objects: int = 3, seed: int = 0) -> dict[str, Any]:
    """What a COCO file of such images says, with boxes and polygons of two classes."""
    chance = random.Random(seed)
    annotations = []
    for image, _ in enumerate(names, 1):
        for _ in range(objects):
            left, top = round(chance.uniform(0, 40), 1), round(chance.uniform(0, 30), 1)
            width, height = round(chance.uniform(2, 20), 1), round(chance.uniform(2, 16), 1)
            ring = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": chance.choice([1, 2]),
                    "bbox": [round(number, 2) for number in (left, top, width, height)],
                    "segmentation": [[round(number, 2) for number in ring]],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                }
            )
    images = [{"id": place, "file_name": name, "width": WIDTH, "height": HEIGHT} for place, name in enumerate(names, 1)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_tree(root: Path, names: Sequence[str], objects: int = 3, seed: int = 0) -> Path:
    """A COCO dataset on disk."""
    put_images(root, names)
    put(root / "annotations.json", json.dumps(coco_document(names, objects, seed)).encode())
    return root


def numbered(count: int) -> list[str]:
    """So many names of images."""
    return [f"{number:05}.jpg" for number in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    """All files below it, by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def beside(target: Path) -> set[str]:
    """What lies in the target's folder besides it and its lock."""
    return {path.name for path in target.parent.iterdir()} - {target.name, f".{target.name}.lock"}
