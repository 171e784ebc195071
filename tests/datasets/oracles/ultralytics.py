"""Ultralytics' own checker and loader as judges of YOLO datasets and of image folders."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.datasets.cases.model import Point, Thing
from tests.datasets.oracles.found import Found, Seen, Unfit, bounds

_TASKS = {"detection": "detect", "segmentation": "segment", "pose": "pose", "obb": "obb"}
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}


def read_yolo(data_yaml: Path, task: str) -> Found:
    """What Ultralytics trains with, split by split.

    Raises:
        Unfit: it would refuse the dataset, or leave an image out.
    """
    from ultralytics.data.utils import check_det_dataset

    with _quiet() as said:
        try:
            data = check_det_dataset(str(data_yaml), autodownload=False)
            found = Found(task, list(data["names"].values()))
            for split in ("train", "val", "test"):
                # A dataset without images to validate with may name those of training again.
                if data.get(split) and not (split == "val" and data["val"] == data["train"]):
                    found.images.extend(_of_split(data, split, task))
        except (AssertionError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, KeyError) as error:
            raise Unfit(f"{error} {said.getvalue()}".strip()) from error
    return found


def _of_split(data: dict[str, Any], split: str, task: str) -> Iterator[Seen]:
    from ultralytics.data.dataset import YOLODataset

    files = _files(data[split])
    if not files:
        return
    loaded = YOLODataset(
        img_path=data[split], data=data, task=_TASKS[task], augment=False, imgsz=64, cache=False, batch_size=1
    )
    taken = {Path(label["im_file"]) for label in loaded.labels}
    if left_out := sorted(path.name for path in files if path not in taken):
        message = f"Ultralytics leaves out {left_out}"
        raise Unfit(message)
    for label in loaded.labels:
        yield Seen(Path(label["im_file"]), split, list(_things(label, data["names"], task)))


def _things(label: dict[str, Any], names: dict[int, str], task: str) -> Iterator[Thing]:
    height, width = label["shape"]
    with Image.open(label["im_file"]) as image:
        shown = ImageOps.exif_transpose(image).size
    if shown != (width, height):
        message = f"{label['im_file']} is {shown}, taken for {(width, height)}"
        raise Unfit(message)
    for number, (cls, (x, y, w, h)) in enumerate(zip(label["cls"].ravel(), label["bboxes"].tolist(), strict=True)):
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        outline: tuple[Point, ...] = ()
        keypoints: tuple[tuple[float, float, int], ...] = ()
        if len(label["segments"]):
            outline = tuple((px * width, py * height) for px, py in label["segments"][number].tolist())
            box = bounds(outline)
        if task == "pose":
            keypoints = tuple((px * width, py * height, int(v)) for px, py, v in label["keypoints"][number].tolist())
        corners = outline if task == "obb" else ()
        yield Thing(names[int(cls)], box, (outline,) if outline else (), keypoints, corners)


def read_folders(root: Path) -> Found:
    """What Ultralytics trains a classifier with.

    Raises:
        Unfit: it would refuse the folder, or number classes otherwise in another split.
    """
    from torchvision.datasets import ImageFolder
    from ultralytics.data.utils import check_cls_dataset

    with _quiet() as said:
        try:
            data = check_cls_dataset(str(root))
        except (OSError, RuntimeError, SyntaxError, TypeError, ValueError) as error:
            raise Unfit(f"{error} {said.getvalue()}".strip()) from error
    found = Found("classification", list(data["names"].values()))
    for split in ("train", "val", "test"):
        if not data.get(split) or (split == "test" and data[split] == data["val"]):
            continue
        try:
            loaded = ImageFolder(str(data[split]), allow_empty=True)
        except (OSError, RuntimeError) as error:
            raise Unfit(str(error)) from error
        if loaded.classes != found.classes:
            message = f"{split} has the classes {loaded.classes}, not {found.classes}"
            raise Unfit(message)
        found.images += [Seen(Path(path), split, [Thing(found.classes[cls])]) for path, cls in loaded.samples]
    return found


def _files(split: object) -> set[Path]:
    """The images of a folder, of a list of paths, or of several of either, as Ultralytics reads them."""
    if isinstance(split, list):
        return set().union(*(_files(part) for part in split))
    path = Path(str(split))
    if path.is_dir():
        return {file for file in path.rglob("*") if file.suffix.lower() in _IMAGES}
    lines = path.read_text().split("\n") if path.exists() else []
    return {path.parent / line[2:] if line.startswith("./") else Path(line) for line in map(str.strip, lines) if line}


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """What Ultralytics says is kept, not shown."""
    logger = logging.getLogger("ultralytics")
    said = io.StringIO()
    handlers, logger.handlers = logger.handlers, [logging.StreamHandler(said)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield said
    finally:
        logger.handlers = handlers
