"""One dataset of many images in four formats: COCO, DICE (nested), LabelMe and YOLO (boxes).

Three of five annotations are polygons of 12 to 40 points, the others boxes, on photographs' sizes; about seven and a
half an image. The JPEGs hold a few dozen different pictures of some 7 KB, each file an inode of its own; the formats
share them by hard links.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 640, 480
CLASSES = [f"class_{number:02}" for number in range(80)]
_PICTURES = 48
_NOISE = (56, 42)
_MOST = 15
_POLYGONS = 0.6


@dataclass(frozen=True, slots=True)
class Drawn:
    """An annotation: its class, its box (left, top, width, height) and its outline, if it has one."""

    number: int
    box: tuple[float, float, float, float]
    outline: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """An image's name and what is on it."""

    name: str
    drawn: Sequence[Drawn]


def write(root: Path, images: int) -> int:
    """Write the dataset into `root`/coco, dice, labelme and yolo; how many annotations it has."""
    draw = random.Random(6)
    scenes = [Scene(f"{number:06}.jpg", list(_drawn(draw))) for number in range(images)]
    _write_images(root, scenes, draw)
    _write_coco(root / "coco", scenes)
    _write_dice(root / "dice", scenes)
    _write_labelme(root / "labelme", scenes)
    _write_yolo(root / "yolo", scenes)
    return sum(len(scene.drawn) for scene in scenes)


def _drawn(draw: random.Random) -> Iterator[Drawn]:
    for _ in range(draw.randint(0, _MOST)):
        number = draw.randrange(len(CLASSES))
        x, y, radius = draw.uniform(70, WIDTH - 70), draw.uniform(70, HEIGHT - 70), draw.uniform(8, 65)
        if draw.random() < _POLYGONS:
            outline = tuple(_outline(draw, x, y, radius))
            yield Drawn(number, _bounds(outline), outline)
        else:
            width, height = round(radius * 2, 2), round(radius * draw.uniform(0.5, 1.9), 2)
            yield Drawn(number, (round(x - radius, 2), round(y - height / 2, 2), width, height), ())


def _outline(draw: random.Random, x: float, y: float, radius: float) -> Iterator[float]:
    count = draw.randint(12, 40)
    for place in range(count):
        angle, reach = math.tau * place / count, radius * draw.uniform(0.7, 1.0)
        yield round(x + reach * math.cos(angle), 2)
        yield round(y + reach * math.sin(angle), 2)


def _bounds(outline: Sequence[float]) -> tuple[float, float, float, float]:
    left, top = min(outline[::2]), min(outline[1::2])
    return (left, top, round(max(outline[::2]) - left, 2), round(max(outline[1::2]) - top, 2))


def _write_images(root: Path, scenes: Sequence[Scene], draw: random.Random) -> None:
    folders = [root / "coco" / "images", root / "dice" / "images", root / "labelme", root / "yolo" / "images" / "train"]
    for folder in folders:
        folder.mkdir(parents=True)
    pictures = [_picture(draw) for _ in range(_PICTURES)]
    for number, scene in enumerate(scenes):
        first = folders[0] / scene.name
        first.write_bytes(pictures[number % len(pictures)])
        for folder in folders[1:]:
            os.link(first, folder / scene.name)


def _picture(draw: random.Random) -> bytes:
    noise = Image.frombytes("RGB", _NOISE, draw.randbytes(_NOISE[0] * _NOISE[1] * 3))
    buffer = io.BytesIO()
    noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=30)
    return buffer.getvalue()


def _write_coco(folder: Path, scenes: Sequence[Scene]) -> None:
    annotations = [
        {
            "id": 0,
            "image_id": number,
            "category_id": one.number + 1,
            "bbox": one.box,
            "area": round(one.box[2] * one.box[3], 2),
            "iscrowd": 0,
            "segmentation": [one.outline] if one.outline else [],
        }
        for number, scene in enumerate(scenes, 1)
        for one in scene.drawn
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    content = {
        "images": [
            {"id": number, "file_name": scene.name, "width": WIDTH, "height": HEIGHT}
            for number, scene in enumerate(scenes, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
    }
    _write_json(folder / "annotations" / "instances_train.json", content)


def _write_dice(folder: Path, scenes: Sequence[Scene]) -> None:
    images = [
        {
            "id": number,
            "file_name": scene.name,
            "file_format": "jpg",
            "width": WIDTH,
            "height": HEIGHT,
            "depth": 3,
            "split": "train",
            "annotations": [
                {
                    "id": place,
                    "image_id": number,
                    "class_id": one.number,
                    "class_name": CLASSES[one.number],
                    "bbox": one.box,
                    "bbox_format": "xywh",
                    "area": round(one.box[2] * one.box[3], 2),
                    "iscrowd": 0,
                    **({"segmentation": [one.outline]} if one.outline else {}),
                }
                for place, one in enumerate(scene.drawn)
            ],
        }
        for number, scene in enumerate(scenes, 1)
    ]
    classes = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"format_version": "1.0", "task_type": "object_detection", "classes": classes, "images": images}
    _write_json(folder / "annotations_detection.json", content)


def _write_labelme(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [_shape(one) for one in scene.drawn],
            "imagePath": scene.name,
            "imageData": None,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        _write_json((folder / scene.name).with_suffix(".json"), content)


def _shape(one: Drawn) -> dict[str, object]:
    x, y, width, height = one.box
    corners = [(x, y), (x + width, y + height)]
    return {
        "label": CLASSES[one.number],
        "points": list(zip(one.outline[::2], one.outline[1::2], strict=True)) if one.outline else corners,
        "group_id": None,
        "shape_type": "polygon" if one.outline else "rectangle",
        "flags": {},
    }


def _write_yolo(folder: Path, scenes: Sequence[Scene]) -> None:
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    for scene in scenes:
        (labels / scene.name).with_suffix(".txt").write_text("".join(map(_row, scene.drawn)))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n{names}")
    # One image more, to validate with: peers are given the others only.
    for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
        (folder / kind / "val").mkdir()
        first = (folder / kind / "train" / scenes[0].name).with_suffix(suffix)
        (folder / kind / "val" / f"val{suffix}").write_bytes(first.read_bytes())


def _row(one: Drawn) -> str:
    x, y, width, height = one.box
    centre = f"{(x + width / 2) / WIDTH:.6f} {(y + height / 2) / HEIGHT:.6f}"
    return f"{one.number} {centre} {width / WIDTH:.6f} {height / HEIGHT:.6f}\n"


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
