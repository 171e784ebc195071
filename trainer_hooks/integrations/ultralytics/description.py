"""What a trainer is and works with, for `RunStarted` and validations."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import ultralytics


def per_class(validator: Any) -> dict[str, dict[str, float]]:
    """The box metrics of each class that occurred; empty for a task that has none (classify)."""
    metrics = validator.metrics
    classes = getattr(metrics, "ap_class_index", ())
    names = ("precision", "recall", "mAP50", "mAP50-95")
    return {
        str(validator.names[int(number)]): dict(zip(names, map(float, metrics.class_result(place)[:4]), strict=False))
        for place, number in enumerate(classes)
    }


def describe(trainer: Any) -> dict[str, Any]:
    """The fields of `RunStarted`; of a trainer that could not be built, as many as it has got."""
    args = getattr(trainer, "args", None)
    data = getattr(trainer, "data", None)
    return {
        "framework": "ultralytics",
        "task": _text(getattr(args, "task", None)),
        "model": _text(getattr(args, "model", None)),
        "total_epochs": getattr(trainer, "epochs", None) or getattr(args, "epochs", None),
        "params": dict(vars(args)) if args is not None else {},
        "dataset": _dataset(data) if isinstance(data, Mapping) else {"data": _text(getattr(args, "data", None))},
        "class_names": class_names(trainer),
        "output_dir": output_dir(trainer),
        "resumed_from": _text(getattr(args, "resume", None)) if getattr(trainer, "resume", False) else None,
        "versions": {
            "ultralytics": ultralytics.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


def _dataset(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "names"}


def class_names(trainer: Any) -> list[str]:
    """By number; empty while they aren't known."""
    data = getattr(trainer, "data", None)
    names: Any = data.get("names") if isinstance(data, Mapping) else None
    values: Iterable[Any] = names.values() if isinstance(names, Mapping) else names or ()
    return [str(name) for name in values]


def output_dir(trainer: Any) -> str | None:
    """Absolute: the process that resumes may stand in another directory."""
    folder = getattr(trainer, "save_dir", None)
    return str(Path(folder).absolute()) if folder else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
