"""From one format to another: what is there is found out, planned, done in jobs, and put in its place whole."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trainer_hooks.attempts import safe_name
from trainer_hooks.datasets.converting.engines import engine_named
from trainer_hooks.datasets.converting.placing import Place
from trainer_hooks.datasets.converting.planning import Asked, Plan
from trainer_hooks.datasets.dataset import Dataset
from trainer_hooks.datasets.formats import target_named
from trainer_hooks.datasets.model import task_named
from trainer_hooks.datasets.report import Report
from trainer_hooks.datasets.splitting import Split
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings import Settings

_log = logging.getLogger("trainer_hooks")
# A process of its own takes as long to start as so many images to convert.
_IMAGES_PER_WORKER = 1500

Progress = Callable[[int, int], object]


def convert(  # noqa: PLR0913 - what is asked for, each by its name
    dataset: str | os.PathLike[str],
    *,
    source: str,
    target: str,
    task: str,
    to: str | os.PathLike[str] | None = None,
    split: Split | None = None,
    classes: Sequence[str] | None = None,
    max_missing: int = 0,
    engine: str = "local",
    workers: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Convert a dataset; returns what a trainer is given: for YOLO the path of `data.yaml`, else the folder's.

    Args:
        dataset: what `fetch` returned, a folder, or one file of annotations.
        source: its format: dice, coco, labelme, yolo or folders.
        target: the format wanted: yolo, coco, folders, labelme or dice.
        task: detection, segmentation, pose, obb or classification, in any of the spellings in use.
        to: the folder to make, outside of the dataset; by default beside it, named after it, the target and the task,
            and by a hash of `split` and `classes` where they are given; in `datasets/` of the working directory for one
            that was fetched.
        split: which image trains and which validates; by default what the dataset says of itself, else a fifth
            validates, chosen by a hash of each image's name.
        classes: the only ones wanted, in this order; by default all, in the order of the dataset.
        max_missing: how many images may be missing or unreadable before that is an error.
        engine: "local", or "ray" to do the jobs on a Ray cluster that sees the same folders.
        workers: how many processes; by default one per core, fewer where there is little to do.
        progress: called now and then with how many images are done, and how many there are.

    The images are hard links where the file system has them, else copies. The same conversion a second time finds that
    it has been done. One that is killed leaves nothing under the folder's name.

    Raises:
        InvalidSetting: for a name, a split or classes that can't be used, or a folder where none can be made.
        MissingPackage: if Pillow, PyYAML, or what an engine or a mask needs, isn't installed.
        DatasetError: if the dataset can't be used, too many images are missing, none is left to train on, or something
            else is at that place.
    """
    asked = Asked(source, target, task, split, classes, max_missing)
    place = Place(Path(to) if to is not None else _usual_place(dataset, asked))
    place.refuse_around(Path(dataset).expanduser().resolve())
    with place.reserved():
        plan = Plan.make(dataset, asked, str(place.folder))
        fingerprint = plan.fingerprint()
        if place.holds(fingerprint):
            _log.info("%s was made of the same before, and stays as it is", place.folder)
            return place.result()
        with place.staging() as staging:
            plan.write_to(staging)
            jobs = _do(plan, engine, workers, progress)
            plan.refuse_without_training()
            result = target_named(target, plan.whole.task).finish(plan.whole, jobs, plan.report)
            place.keep(staging, plan.report, fingerprint, result)
        _log.info("%s: %s", place.folder, plan.report.summary())
        return place.result()


def validate(  # noqa: PLR0913 - as `convert`
    dataset: str | os.PathLike[str],
    *,
    source: str,
    task: str,
    target: str | None = None,
    split: Split | None = None,
    classes: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """What `convert` would report, with nothing written; however much is missing, it goes on.

    The first thousand findings are listed, all are counted.

    Without a target, what is asked is whether a trainer could use the dataset: as YOLO, or as folders of classes.

    Raises:
        InvalidSetting, MissingPackage: as `convert`.
        DatasetError: if the dataset can't be read at all.
    """
    asked = Asked(source, target or _usual_target(task), task, split, classes, sys.maxsize)
    plan = Plan.make(dataset, asked, "")
    _do(plan, "local", workers, progress)
    return plan.report


def split(
    dataset: str | os.PathLike[str], *, source: str, task: str, split: Split | None = None
) -> dict[str, list[str]]:
    """The names of the images that `convert` would put into train, val and test, with nothing written.

    Where several images have one name, it is their files, relative to the dataset's root.

    Raises:
        InvalidSetting, MissingPackage: as `convert`.
        DatasetError: if the dataset can't be read at all.
    """
    asked = Asked(source, _usual_target(task), task, split, None, sys.maxsize)
    return Plan.make(dataset, asked, "").by_split()


def _do(plan: Plan, engine: str, workers: int | None, progress: Progress | None) -> int:
    """Do all jobs, and tell how many; if one fails, none is at work any more afterwards."""
    count = _workers(workers, len(plan.planned))
    jobs = plan.jobs(count)
    with contextlib.closing(engine_named(engine).run(jobs, count, plan.counting(progress))) as reports:
        for report in reports:
            plan.take(report)
    plan.end()
    return len(jobs)


def _usual_target(task: str) -> str:
    return "folders" if task_named(task) == "classification" else "yolo"


def _usual_place(dataset: str | os.PathLike[str], asked: Asked) -> Path:
    ending = f"{asked.target}-{task_named(asked.task)}{_choice(asked)}"
    if isinstance(dataset, Dataset) and dataset.is_cached:
        return Path("datasets") / f"{safe_name(dataset.id)}-{ending}"
    path = Path(dataset).expanduser().resolve()
    if path.is_relative_to(Settings.load().cache_root):
        message = f"{path} is in the cache, where nothing may be written beside it: name the folder to make, as `to`"
        raise InvalidSetting(message)
    return path.with_name(f"{path.name if path.is_dir() else path.stem}-{ending}")


def _choice(asked: Asked) -> str:
    """What tells apart conversions of different parts of one dataset: one may train while the other is made."""
    if asked.split is None and asked.classes is None:
        return ""
    chosen = msgspec.json.encode([asked.split, asked.classes], order="sorted")
    return f"-{hashlib.sha256(chosen).hexdigest()[:8]}"


def _workers(asked: int | None, images: int) -> int:
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, images // _IMAGES_PER_WORKER))
