"""What peers leave to their users: images beside the labels, data.yaml, the place of COCO's file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

IMAGES = {".jpg", ".jpeg", ".png"}
COCO_FILE = Path("annotations", "instances_train.json")


def place_images(source: Path, target: Path) -> None:
    """Link every image below `source` to the same place below `target`."""
    for path in source.rglob("*"):
        if path.suffix.lower() in IMAGES and path.is_file():
            placed = target / path.relative_to(source)
            placed.parent.mkdir(parents=True, exist_ok=True)
            if not placed.exists():
                os.link(path.resolve(), placed)


def write_yaml(out: Path, names: Sequence[str], train: str = "images/train", val: str = "images/train") -> Path:
    """A data.yaml that names these classes; its path."""
    path = out / "data.yaml"
    content = {"path": str(out), "train": train, "val": val, "names": dict(enumerate(names))}
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def names_in_order(source: Path) -> list[str]:
    """The categories' names, in the order of the file."""
    return [category["name"] for category in json.loads((source / COCO_FILE).read_text())["categories"]]


def names_by_id(source: Path) -> list[str]:
    """The names such that a class is its category's id less one, where ids are numbers from 1 without gaps."""
    categories = json.loads((source / COCO_FILE).read_text())["categories"]
    return [category["name"] for category in sorted(categories, key=lambda category: category["id"])]


def labelme_names(source: Path) -> list[str]:
    """The labels of all LabelMe files, sorted."""
    files = [json.loads(path.read_text()) for path in sorted(source.rglob("*.json"))]
    return sorted({shape["label"] for file in files for shape in file.get("shapes", ())})


def place_coco(file: Path, source: Path, out: Path) -> Path:
    """Put a COCO file and the images that it names where a loader looks, by the file names that it has."""
    content = json.loads(file.read_text())
    for image in content["images"]:
        given = Path(image["file_name"])
        candidates = [given, source / given, source / "images" / "train" / given, source / "images" / given]
        found = next((path for path in candidates if path.is_absolute() and path.is_file()), None)
        if found is None or source.resolve() not in found.resolve().parents:
            continue
        name = found.resolve().relative_to(source.resolve())
        placed = out / "images" / "train" / name
        placed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, placed)
        image["file_name"] = name.as_posix()
    target = out / COCO_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content))
    return out
