"""Metrics as Synapse takes them: numbers by category, for JSON has no NaN and A has no word for one."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from trainer_hooks.events import Metrics

Category: TypeAlias = Literal["train", "validation", "test"]
_OF_PREFIXES: dict[str, Category] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "metrics": "validation",  # Ultralytics' own, which it measures by validating
    "test": "test",
}
_SAYS_NO_MORE = frozenset({"train", "val", "validation", "test"})


def finite(metrics: Metrics) -> dict[str, float | None]:
    """The metrics with null for what is no finite number."""
    return {name: value if _is_finite(value) else None for name, value in metrics.items()}  # type: ignore[misc]


def non_finite(metrics: Metrics) -> dict[str, str]:
    """What `finite` has made null, by name: "NaN", "Infinity", "-Infinity"."""
    return {name: str(value) for name, value in metrics.items() if not _is_finite(value)}


def by_category(metrics: Metrics, otherwise: Category) -> dict[Category, Metrics]:
    """The metrics of each category, going by what stands in front of their names; a mere category there goes."""
    found: dict[Category, Metrics] = {}
    for name, value in metrics.items():
        prefix, _, rest = name.partition("/")
        category = _OF_PREFIXES.get(prefix, otherwise) if rest else otherwise
        of_category = found.setdefault(category, {})
        short = rest if rest and prefix in _SAYS_NO_MORE else name
        of_category[name if short in of_category else short] = value
    return found


def _is_finite(value: float | str) -> bool:
    return not isinstance(value, str) and math.isfinite(value)
