"""`model.best`, as predecessor A's document has it; the host's own model knows only its trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.engine.model import Model

from trainer_hooks.shield import Patch, extended


def offer_best() -> Callable[[], None]:
    """Give models `best`, unless the host has come to do so itself; call the result to take it away again."""
    if hasattr(Model, "best"):
        return lambda: None
    # Where the host looks last. A property would be no place to say what is missing: the host's own method would be
    # asked after it, and say that the network in the model has no `best`.
    return Patch(Model, "__getattr__", extended("best", _best)).undo


def _best(model: Any) -> Path:
    trainer = vars(model).get("trainer")
    if trainer is None:
        message = "this model has not been trained, and has no best checkpoint: call model.train() first"
        raise AttributeError(message)
    return Path(trainer.best)
