"""What a Runner's run starts with: the fields of `RunStarted`, from a runner that has built next to nothing yet."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmengine.runner import IterBasedTrainLoop

from trainer_hooks.events import Operation
from trainer_hooks.shield import ask

# In the words that the project has for tasks, which are Ultralytics'.
_TASKS = {
    "mmdet": "detect",
    "mmyolo": "detect",
    "mmrotate": "obb",
    "mmseg": "segment",
    "mmpretrain": "classify",
    "mmpose": "pose",
}
_PACKAGES = ("mmengine", "mmcv", *_TASKS, "torch")
_LOADERS = {"training": "_train_dataloader", "validation": "_val_dataloader", "test": "_test_dataloader"}
_PARTS = ("_train_loop", *_LOADERS.values(), "optim_wrapper", "param_schedulers")


def describe(runner: Any, operation: Operation) -> dict[str, Any]:
    """Of a runner that could not be built, as many fields as it has got."""
    loader = getattr(runner, _LOADERS[operation], None)
    dataset = _dataset_config(loader)
    schedule = _schedule(getattr(runner, "_train_loop", None)) if operation == "training" else {}
    return {
        "framework": "mmengine",
        "task": task(runner),
        "model": getattr(runner, "_model_name", None),
        "total_epochs": schedule.get("max_epochs"),
        "total_iterations": None if "max_epochs" in schedule else schedule.get("max_iters"),
        "params": _config(runner),
        "dataset": {name: value for name, value in dataset.items() if name != "pipeline"},
        "class_names": _planned_class_names(loader, dataset),
        "output_dir": getattr(runner, "_work_dir", None),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def task(runner: Any) -> str | None:
    """The kind of task, going by the package whose registry is the default; None for MMEngine's own."""
    scope = getattr(runner, "default_scope", None)
    return _TASKS.get(getattr(scope, "scope_name", ""))


def class_names(dataset: Any) -> list[str]:
    """The dataset's, once it is built; empty where it has none."""
    return _classes(getattr(dataset, "metainfo", None))


def trained(runner: Any) -> dict[str, int | None]:
    """How far the runner's own training has come, if it had one: what a validation or test of its own is of."""
    loop: Any = getattr(runner, "_train_loop", None)
    if not getattr(loop, "iter", 0):  # not the runner's own properties, which would build the loop
        return {}
    return {"iteration": loop.iter} if isinstance(loop, IterBasedTrainLoop) else {"epoch": loop.epoch}


def resumed_from(runner: Any) -> str | None:
    """The checkpoint that the training is to go on from; None for a new one, and where there is none to be found."""
    resume, load_from = getattr(runner, "_resume", False), getattr(runner, "_load_from", None)
    if not resume:
        return None
    if isinstance(resume, str) or load_from is not None:  # FlexibleRunner takes a path for both
        return str(resume if isinstance(resume, str) else load_from)
    pointer = Path(runner.work_dir, "last_checkpoint")  # the host's own note
    return pointer.read_text().strip() if pointer.exists() else None


def _schedule(loop: Any) -> Mapping[str, Any]:
    """A train loop's config; as it would be, for one that is built already."""
    if loop is None or isinstance(loop, Mapping):
        return loop or {}
    return {"max_iters": loop.max_iters} if isinstance(loop, IterBasedTrainLoop) else {"max_epochs": loop.max_epochs}


def _config(runner: Any) -> dict[str, Any]:
    """The config; of a runner that was given its parts without one, those parts that are configs."""
    cfg = getattr(runner, "cfg", None)
    if cfg:
        whole: dict[str, Any] = cfg.to_dict()
        return whole
    parts = {name.lstrip("_"): getattr(runner, name, None) for name in _PARTS}
    return {name: value for name, value in parts.items() if isinstance(value, (Mapping, list))}


def _dataset_config(loader: Any) -> Mapping[str, Any]:
    """The dataset's config; within wrappers (a repetition, a concatenation), that of the first dataset."""
    found: Mapping[str, Any] = {}
    while isinstance(loader, Mapping):
        found = loader
        loader = loader.get("dataset") or next(iter(loader.get("datasets") or ()), None)
    return found if "type" in found else {}


def _planned_class_names(loader: Any, config: Mapping[str, Any]) -> list[str]:
    """By the rule of the host's datasets: the config's own, else those of the class. It isn't built yet."""
    dataset = getattr(loader, "dataset", None)
    if dataset is not None and not isinstance(dataset, Mapping):  # given as it is
        return class_names(dataset)
    return _classes(config.get("metainfo")) or _classes(getattr(ask(lambda: _class_of(config)), "METAINFO", None))


def _class_of(config: Mapping[str, Any]) -> Any:
    kind = config["type"]
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(None) as registry:
        return registry.get(kind)


def _classes(metainfo: Any) -> list[str]:
    classes = metainfo.get("classes") if isinstance(metainfo, Mapping) else None
    return list(classes) if isinstance(classes, (list, tuple)) else []


def _versions() -> dict[str, str]:
    modules = {name: sys.modules.get(name) for name in _PACKAGES}
    return {name: str(getattr(module, "__version__", "")) for name, module in modules.items() if module is not None}
