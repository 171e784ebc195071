"""pycocotools, and MMDetection where it is, as judges of COCO datasets."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.datasets.cases.model import Point, Thing
from tests.datasets.oracles.found import Found, Seen, Unfit

_WORST = 0.999
"""Ground truth as its own detections has an average precision of 1.0."""


def read_coco(folder: Path, task: str) -> Found:
    """What pycocotools loads of annotations/instances_*.json below `folder`.

    Raises:
        Unfit: it can't, or an evaluation of the ground truth against itself isn't perfect.
    """
    found = Found(task, [])
    files = sorted((folder / "annotations").glob("instances_*.json"))
    if not files:
        message = f"there is no instances_*.json in {folder / 'annotations'}"
        raise Unfit(message)
    for file in files:
        split = file.stem.removeprefix("instances_")
        try:
            classes, images = _of_file(file, folder, split)
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError, IndexError, OSError) as error:
            message = f"{file.name}: {type(error).__name__}: {error}"
            raise Unfit(message) from error
        if found.classes and classes != found.classes:
            message = f"{file.name} has the classes {classes}, not {found.classes}"
            raise Unfit(message)
        found.classes = classes
        found.images.extend(images)
    return found


def _of_file(file: Path, folder: Path, split: str) -> tuple[list[str], list[Seen]]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools' own, of numpy
        coco = COCO(str(file))
        _check_ids(coco.dataset)
        _check_precision(coco)
        _check_mmdet(coco, file, folder / "images" / split)
        images = []
        for record in coco.dataset["images"]:
            path = _image(folder, split, record["file_name"])
            things = [_thing(coco, annotation) for annotation in coco.imgToAnns[record["id"]]]
            images.append(Seen(path, split, things))
    return [category["name"] for category in coco.dataset["categories"]], images


def _image(folder: Path, split: str, name: str) -> Path:
    """Where a trainer that is given `folder`/images/`split` looks."""
    path = folder / "images" / split / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
        message = f"the image {name} is not below {folder / 'images' / split}"
        raise Unfit(message)
    return path


def _check_ids(content: dict[str, Any]) -> None:
    annotations, images = content["annotations"], content["images"]
    ids = [annotation["id"] for annotation in annotations]
    known = {image["id"] for image in images}
    if len(set(ids)) != len(ids) or not all(isinstance(number, int) for number in ids):
        message = f"annotation ids are not numbers, each once: {ids}"
        raise Unfit(message)
    if len(known) != len(images) or not all(isinstance(number, int) for number in known):
        message = f"image ids are not numbers, each once: {known}"
        raise Unfit(message)
    for annotation in annotations:
        if annotation["image_id"] not in known or annotation["area"] <= 0 or annotation["iscrowd"] not in {0, 1}:
            message = f"an annotation that no trainer takes: {annotation}"
            raise Unfit(message)


def _thing(coco: Any, annotation: dict[str, Any]) -> Thing:
    x, y, w, h = annotation["bbox"]
    name = coco.cats[annotation["category_id"]]["name"]
    outline = tuple(_outlines(coco, annotation)) if annotation.get("segmentation") else ()
    return Thing(name, (x, y, x + w, y + h), outline, crowd=bool(annotation["iscrowd"]))


def _outlines(coco: Any, annotation: dict[str, Any]) -> Iterator[tuple[Point, ...]]:
    """Polygons as they are; of a mask the runs of each column, as thin rectangles."""
    if isinstance(annotation["segmentation"], list):
        for flat in annotation["segmentation"]:
            yield tuple(itertools.pairwise(flat))[::2]
        return
    mask = coco.annToMask(annotation)
    for x in range(mask.shape[1]):
        ys = mask[:, x].nonzero()[0].tolist()
        if ys:
            yield ((x, ys[0]), (x, ys[-1] + 1), (x + 1, ys[-1] + 1), (x + 1, ys[0]))


def _check_precision(coco: Any) -> None:
    from pycocotools.cocoeval import COCOeval

    fields = ("image_id", "category_id", "bbox")
    single = [annotation for annotation in coco.dataset["annotations"] if not annotation["iscrowd"]]
    if not single:
        return
    detections = coco.loadRes([{**{key: one[key] for key in fields}, "score": 1.0} for one in single])
    evaluation = COCOeval(coco, detections, "bbox")
    evaluation.params.maxDets = [len(single)]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # with as many detections as there are
    mean = precision[precision > -1].mean()
    if mean < _WORST:
        message = f"ground truth against itself has an AP of {mean:.3f}"
        raise Unfit(message)


def _check_mmdet(coco: Any, file: Path, images: Path) -> None:
    """That MMDetection keeps every annotation, where it is installed."""
    if not importlib.util.find_spec("mmdet"):
        return
    from mmdet.datasets import CocoDataset

    names = tuple(category["name"] for category in coco.dataset["categories"])
    loaded = CocoDataset(
        ann_file=str(file), data_prefix={"img": str(images)}, metainfo={"classes": names}, pipeline=[], test_mode=False
    )
    kept = sum(len(loaded.get_data_info(number)["instances"]) for number in range(len(loaded)))
    if kept != len(coco.dataset["annotations"]):
        message = f"MMDetection keeps {kept} of {len(coco.dataset['annotations'])} annotations"
        raise Unfit(message)
