"""Write a tiny dataset of coloured shapes that Ultralytics can train on: for the demo, the tests and the benchmarks.

    python tools/synthetic.py TARGET --task detect|segment|classify|pose|obb --images 8 --size 64 --seed 0
    python tools/synthetic.py TARGET --coco     # the boxes of `detect` as MMDetection reads them, too
    python tools/synthetic.py TARGET --masks    # the shapes of `segment` as MMSegmentation reads them, too

Red rectangles are class 0 and blue trapezoids are class 1, on noise. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

TASKS = ("detect", "segment", "classify", "pose", "obb")
_CLASSES = ("rectangle", "trapezoid")
_COLOURS = ((220, 50, 50), (60, 90, 230))
_RECTANGLE = ((-1, -1), (1, -1), (1, 1), (-1, 1))
_TRAPEZOID = ((-0.3, -1), (0.3, -1), (1, 1), (-1, 1))

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    """One drawn thing: its class and its four corners, in fractions of the image."""

    kind: int
    corners: tuple[Point, ...]

    def label(self, task: str) -> str:
        """Its line in the task's label file."""
        numbers = [*self._box()] if task in {"detect", "pose"} else []
        if task in {"segment", "obb"}:
            numbers += [value for corner in self.corners for value in corner]
        if task == "pose":
            visible = 2.0
            numbers += [value for x, y in self.corners for value in (x, y, visible)]
        return " ".join([str(self.kind), *(f"{value:.6g}" for value in numbers)])

    def _box(self) -> tuple[float, float, float, float]:
        across, down = zip(*self.corners, strict=True)
        left, right, top, bottom = min(across), max(across), min(down), max(down)
        return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def make_dataset(target: Path, task: str = "detect", images: int = 8, size: int = 64, seed: int = 0) -> Path:
    """Write `images` training images, and a quarter as many again (at least 4) for validation, under `target`.

    Returns what Ultralytics takes as `data=`: the data.yaml, or for `classify` the folder; absolute either way.

    Raises:
        ValueError: the task is none of `TASKS`.
    """
    if task not in TASKS:
        message = f"unknown task {task!r} (known: {', '.join(TASKS)})"
        raise ValueError(message)
    target = target.resolve()
    write = _write_classified if task == "classify" else _write_labelled
    for number, (split, count) in enumerate({"train": images, "val": max(4, images // 4)}.items()):
        rng = np.random.default_rng([seed, number])
        for index in range(count):
            write(target, task, f"{split}/{index:05d}", size, rng)
    if task == "classify":
        return target
    data = target / "data.yaml"
    data.write_text(_data_yaml(task))
    return data


def make_coco(target: Path, images: int = 8, size: int = 128) -> Path:
    """Write the dataset of `detect`, with its boxes in `annotations/train.json` and `annotations/val.json` as COCO's.

    Returns the dataset's folder, absolute.
    """
    target = make_dataset(target, images=images, size=size).parent
    for split in ("train", "val"):
        annotations = target / "annotations" / f"{split}.json"
        annotations.parent.mkdir(exist_ok=True)
        annotations.write_text(json.dumps(_coco(target, split)))
    return target


def make_masks(target: Path, images: int = 8, size: int = 64) -> Path:
    """Write the dataset of `segment`, with each image's shapes in `masks/<split>/`: 0 is nothing, 1 and 2 the kinds.

    Returns the dataset's folder, absolute.
    """
    target = make_dataset(target, "segment", images, size).parent
    for labels in sorted(target.glob("labels/*/*.txt")):
        mask = Image.new("L", (size, size))
        pen = ImageDraw.Draw(mask)
        for line in labels.read_text().splitlines():
            kind, *numbers = line.split()
            places = [float(number) * size for number in numbers]
            pen.polygon(list(zip(places[::2], places[1::2], strict=True)), fill=int(kind) + 1)
        _save(mask, target / "masks" / labels.parent.name / f"{labels.stem}.png")
    return target


def _coco(target: Path, split: str) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for path in sorted((target / "images" / split).iterdir()):
        with Image.open(path) as image:
            width, height = image.size
        images.append({"id": len(images), "file_name": path.name, "width": width, "height": height})
        for label in (target / "labels" / split / f"{path.stem}.txt").read_text().splitlines():
            box = _coco_box(label, width, height)
            boxes.append({"id": len(boxes) + 1, "image_id": images[-1]["id"], "iscrowd": 0, **box})
    categories = [{"id": kind, "name": name} for kind, name in enumerate(_CLASSES)]
    return {"images": images, "annotations": boxes, "categories": categories}


def _coco_box(label: str, width: int, height: int) -> dict[str, Any]:
    """A label's centre and size, in fractions of the image, as COCO's corner and size in pixels."""
    kind, *box = label.split()
    x, y, w, h = (float(value) * side for value, side in zip(box, (width, height) * 2, strict=True))
    return {"category_id": int(kind), "bbox": [x - w / 2, y - h / 2, w, h], "area": w * h}


def _data_yaml(task: str) -> str:
    lines = ["train: images/train", "val: images/val", "names:"]
    lines += [f"  {kind}: {name}" for kind, name in enumerate(_CLASSES)]
    if task == "pose":
        lines += ["kpt_shape: [4, 3]", "flip_idx: [1, 0, 3, 2]"]
    return "\n".join(lines) + "\n"


def _write_labelled(target: Path, task: str, name: str, size: int, rng: np.random.Generator) -> None:
    # One shape in each half, so that none covers another and every label can be seen.
    shapes = [_random_shape(int(rng.integers(2)), half, task, rng) for half in (0.25, 0.75)]
    _save(_draw(shapes, size, rng), target / f"images/{name}.png")
    labels = target / f"labels/{name}.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text("".join(f"{shape.label(task)}\n" for shape in shapes))


def _write_classified(target: Path, task: str, name: str, size: int, rng: np.random.Generator) -> None:
    split, index = name.split("/")
    kind = int(index) % len(_CLASSES)
    shape = _random_shape(kind, 0.5, task, rng)
    _save(_draw([shape], size, rng), target / split / _CLASSES[kind] / f"{index}.png")


def _random_shape(kind: int, centre: float, task: str, rng: np.random.Generator) -> _Shape:
    """A shape around x = `centre`, small enough to stay within its half of the image."""
    x, y = centre + rng.uniform(-0.03, 0.03), rng.uniform(0.25, 0.75)
    half_width, half_height = rng.uniform(0.1, 0.2), rng.uniform(0.1, 0.2)
    angle = rng.uniform(-math.pi / 4, math.pi / 4) if task == "obb" else 0.0
    # A rotated corner may reach √2 times as far as an upright one.
    scale = math.sqrt(0.5) if task == "obb" else 1.0
    corners = []
    for across, down in _RECTANGLE if kind == 0 else _TRAPEZOID:
        dx, dy = across * half_width * scale, down * half_height * scale
        turned = dx * math.cos(angle) - dy * math.sin(angle), dx * math.sin(angle) + dy * math.cos(angle)
        corners.append((x + turned[0], y + turned[1]))
    return _Shape(kind, tuple(corners))


def _draw(shapes: list[_Shape], size: int, rng: np.random.Generator) -> Image.Image:
    image = Image.fromarray(rng.integers(90, 160, (size, size, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        pen.polygon([(x * size, y * size) for x, y in shape.corners], fill=_COLOURS[shape.kind])
    return image


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Write a tiny dataset of coloured shapes.")
    parser.add_argument("target", type=Path, help="folder to write into")
    parser.add_argument("--task", choices=TASKS, default="detect")
    parser.add_argument("--images", type=int, default=8, help="images to train on")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coco", action="store_true", help="with COCO's annotations; for the task detect, seed 0")
    parser.add_argument("--masks", action="store_true", help="with masks; for the task segment, seed 0")
    options = parser.parse_args()
    if options.coco or options.masks:
        make = make_coco if options.coco else make_masks
        print(make(options.target, options.images, options.size))
        return
    print(make_dataset(options.target, options.task, options.images, options.size, options.seed))


if __name__ == "__main__":
    _main()
