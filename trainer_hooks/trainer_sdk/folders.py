"""A dataset's folder as predecessor B's trainers know it: what is in it, and where they look for what was made of it.

Conversions lie below `.converted`. What a trainer reads is put into the folder itself: `data.yaml`, or the training
images' COCO annotations as `annotations_<task>.json` beside `annotations_val.json`, or `train` and `val`. All ranks of
a job may ask for it: the first one does it, and the others find it done.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.datasets.model import SPLITS, Task, spellings
from trainer_hooks.files import copy_file, locked, replacing, write_whole

CONVERTED = ".converted"
_PATIENCE = 3600.0
# How the COCO files begin that `datasets.convert` writes.
_OURS = b'{"info":{"description":"made by trainer-hooks"}'


def converting(folder: Path) -> contextlib.AbstractContextManager[bool]:
    """No other process converts the dataset in that folder meanwhile.

    Raises:
        TimeoutError: if one has been at it for an hour.
    """
    return locked(folder / CONVERTED / ".lock", _PATIENCE)


def own_annotations(folder: Path, task: Task, *, keep: bool) -> Path:
    """The dataset's own annotation file of the task, and not one that was made of it; the folder where there is none.

    `keep`: it stays as `dice_annotations_<task>.json`, since another one is to take its place.
    """
    own, kept = folder / f"annotations_{task}.json", folder / f"dice_annotations_{task}.json"
    if own.is_file() and not _is_ours(own):
        if not keep:
            return own
        with replacing(kept) as copy:
            copy_file(own, copy)
    others = (folder / f"annotations_{name}.json" for name in spellings(task) if name != task)
    return next((file for file in (kept, *others, folder / "annotations.json") if file.is_file()), folder)


def _is_ours(annotations: Path) -> bool:
    with annotations.open("rb") as file:
        return file.read(len(_OURS)) == _OURS


def put_outcome(made: Path, target: str, task: Task, folder: Path) -> None:
    """What the conversion `made` has come to, where a trainer looks for it in the dataset's folder."""
    if target == "yolo":
        write_whole(folder / "data.yaml", (made / "data.yaml").read_bytes())
    elif target == "coco":
        _put_coco(made, "val", folder / "annotations_val.json")
        _put_coco(made, "train", folder / f"annotations_{task}.json")
    elif target == "folders":
        for split in SPLITS:
            _put_folder(made / split, folder / split)


class _Coco(msgspec.Struct):
    info: msgspec.Raw
    licenses: msgspec.Raw
    categories: msgspec.Raw
    images: list[dict[str, Any]]
    annotations: msgspec.Raw


def _put_coco(made: Path, split: str, target: Path) -> None:
    """The split's annotations, with the names of images relative to the `images` beside the target."""
    source = made / "annotations" / f"instances_{split}.json"
    if not source.exists():
        target.unlink(missing_ok=True)
        return
    coco = msgspec.json.decode(source.read_bytes(), type=_Coco)
    for image in coco.images:
        image["file_name"] = f"../{CONVERTED}/{made.name}/images/{split}/{image['file_name']}"
    write_whole(target, msgspec.json.encode(coco))


def _put_folder(made: Path, target: Path) -> None:
    """A link where nothing else is: image classification has no labels beside the images that a loader would miss."""
    if target.is_symlink():
        target.unlink()
    if made.is_dir() and not target.exists():
        target.symlink_to(Path(CONVERTED) / made.parent.name / made.name, target_is_directory=True)
