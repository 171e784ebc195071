"""Metrics in predecessor B's shape: three columns that it knows by name, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer_hooks.events import Metrics, Scalar

_LOSS = ("loss", "train/loss")
# Of Ultralytics, then of MMDetection, MMPretrain and MMSegmentation.
_ACCURACY = ("accuracy", "metrics/accuracy_top1", "metrics/mAP50-95(B)", "coco/bbox_mAP", "accuracy/top1", "mIoU")
_LEARNING_RATE = ("learning_rate", "lr", "lr/pg0", "train/lr")
_MAP = "mAP50-95"


def figures(metrics: Metrics, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The `metrics` object of a progress or completion call. `extra` joins `extra_metrics`."""
    return {
        "loss": _number(_loss(metrics)),
        "accuracy": _number(_accuracy(metrics)),
        "learning_rate": _number(_first(metrics, _LEARNING_RATE)),
        "extra_metrics": {**finite(metrics), **(extra or {})},
    }


def finite(metrics: Metrics) -> dict[str, Any]:
    """All metrics; what is no finite number is null and named under `non_finite`, since JSON has no word for it."""
    values: dict[str, Any] = {name: _number(value) for name, value in metrics.items()}
    non_finite = {name: value for name, value in metrics.items() if isinstance(value, str)}
    return {**values, "non_finite": non_finite} if non_finite else values


def primary_metric(metrics: Metrics, named: str | None) -> tuple[str, Scalar] | None:
    """The metric that a validation is judged by: the named one, else accuracy, else loss, else the first."""
    if named is not None and named in metrics:
        return named, metrics[named]
    choices: tuple[Callable[[Metrics], str | None], ...] = (
        _accuracy_name,
        lambda metrics: next((name for name in _LOSS if name in metrics), None),
        lambda metrics: next(iter(metrics), None),
    )
    chosen = next((name for choice in choices if (name := choice(metrics)) is not None), None)
    return None if chosen is None else (chosen, metrics[chosen])


def _loss(metrics: Metrics) -> Scalar | None:
    named = _first(metrics, _LOSS)
    if named is not None:
        return named
    parts = [value for name, value in metrics.items() if name.startswith("train/") and "loss" in name]
    numbers = [part for part in parts if not isinstance(part, str)]
    return sum(numbers) if parts and len(numbers) == len(parts) else None


def _accuracy(metrics: Metrics) -> Scalar | None:
    name = _accuracy_name(metrics)
    return None if name is None else metrics[name]


def _accuracy_name(metrics: Metrics) -> str | None:
    named = next((name for name in _ACCURACY if name in metrics), None)
    return named or next((name for name in metrics if _MAP in name), None)


def _first(metrics: Metrics, names: tuple[str, ...]) -> Scalar | None:
    return next((metrics[name] for name in names if name in metrics), None)


def _number(value: Scalar | None) -> int | float | None:
    return None if isinstance(value, str) else value
