"""Datasets as the platform stores them, in a folder, and the settings to fetch them with."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.settings import Settings


def jpeg(seed: int, size: int = 3000) -> bytes:
    """Bytes that begin and end as a JPEG does."""
    return b"\xff\xd8\xff\xe0" + random.Random(seed).randbytes(size) + b"\xff\xd9"


def put_dataset(store: Path, dataset_id: str = "ds_1", *, count: int = 12, size: int = 3000, task: str = "detection"):
    """A dataset of so many images, below `datasets/<id>/` of that folder; returns its version's hash."""
    folder = store / "datasets" / dataset_id
    names = [f"line{number % 3}/p{number}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        write(folder / "images" / name, jpeg(number, size))
    put_annotations(store, names, dataset_id, task=task)
    return version_of(folder)


def put_annotations(
    store: Path, names: list[str], dataset_id: str = "ds_1", *, task: str | None = "detection", root: str | None = None
) -> None:
    """An annotation file that names these images."""
    content: dict[str, object] = {"images": [{"id": number, "file_name": name} for number, name in enumerate(names)]}
    if root is not None:
        content["storage_info"] = {"image_root": root}
    file = f"annotations_{task}.json" if task else "annotations.json"
    write(store / "datasets" / dataset_id / file, json.dumps(content).encode())


def version_of(folder: Path) -> str:
    """The hash of the dataset's version, as the platform computes it."""
    files = sorted(folder.glob("annotations*.json"), key=lambda path: path.name)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def settings_for(folder: Path, **given: object) -> Settings:
    """Datasets come from `store` in that folder, and are kept in its `cache`."""
    places = {"dataset_storage": (folder / "store").as_uri(), "dataset_cache": str(folder / "cache")}
    return Settings.load(environ={}, **{**places, **given})


def tree(folder: Path) -> dict[str, bytes]:
    """All files below it, by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in files_in(folder)}


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def left_over(settings: Settings) -> list[str]:
    """What lies in the cache beside its entries."""
    root = settings.cache_root
    return [str(path.relative_to(root)) for name in ("temp", "trash") for path in root.glob(f"{name}/*")]
