"""Under which names a file is known that a Trainer has written: Lightning's `ModelCheckpoint` has just noted it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any


def names_of(trainer: Any, path: str) -> list[str]:
    """What it is stored as: "last" for the newest, "best" for the best by a callback's monitored metric.

    Where a callback keeps a file of its own for the newest, only that one is "last". A file that is neither, one of the
    best three, say, has no name, and is not stored. Where several callbacks monitor something, the others' best are
    "best_<metric>".
    """
    callbacks = [callback for callback in trainer.checkpoint_callbacks if hasattr(callback, "best_model_path")]
    names: list[str] = []
    for place, callback in enumerate(callback for callback in callbacks if callback.monitor is not None):
        if _is_same(callback.best_model_path, path):
            names += ["best"] if place == 0 else []
            names += [f"best_{callback.monitor.replace('/', '_')}"] if _are_several(callbacks) else []
    if any(_is_same(callback.last_model_path, path) for callback in callbacks) or not any(map(_keeps_last, callbacks)):
        names.insert(0, "last")
    return names


def monitored(trainer: Any) -> Iterator[str]:
    """The metrics that the best checkpoints are chosen by."""
    return (
        callback.monitor for callback in trainer.checkpoint_callbacks if getattr(callback, "monitor", None) is not None
    )


def is_better(trainer: Any, metrics: Mapping[str, Any]) -> bool:
    """Whether a validation is better than the best that is kept, where its checkpoint is written behind it."""
    judge = next((callback for callback in trainer.checkpoint_callbacks if getattr(callback, "monitor", None)), None)
    if judge is None or judge.monitor not in metrics or not judge._should_save_on_train_epoch_end(trainer):  # noqa: SLF001
        return False
    new, best = float(metrics[judge.monitor]), judge.best_model_score
    return best is None or (new < float(best) if judge.mode == "min" else new > float(best))


def is_written_later(trainer: Any) -> bool:
    """Whether the host writes its files in the background, so that none is whole when it says so."""
    # AsyncCheckpointIO and whatever wraps one; each has its executor.
    plugin = trainer.strategy.checkpoint_io
    while plugin is not None:
        if hasattr(plugin, "_executor"):
            return True
        plugin = getattr(plugin, "checkpoint_io", None)
    return False


def _keeps_last(callback: Any) -> bool:
    """Whether the callback writes a file that is always the newest; a link to another is none."""
    return bool(callback.save_last) and callback.save_last != "link"


def _are_several(callbacks: list[Any]) -> bool:
    return sum(callback.monitor is not None for callback in callbacks) > 1


def _is_same(known: str, path: str) -> bool:
    return bool(known) and os.path.abspath(known) == path  # noqa: PTH100 - as the host joins them
