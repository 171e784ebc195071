"""What a Trainer's run starts with: the fields of `RunStarted`, before the host has built anything."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from trainer_hooks.events import Operation

_PACKAGES = ("lightning", "pytorch_lightning", "torch", "torchmetrics")
_OPTIONS = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "check_val_every_n_epoch",
    "val_check_interval",
    "limit_train_batches",
    "limit_val_batches",
    "overfit_batches",
    "precision",
    "world_size",
)
_CKPT_PATH = 3
"""Which argument of `fit` behind the model the path of a checkpoint is."""


def describe(trainer: Any, model: Any, operation: Operation) -> dict[str, Any]:
    """Of a trainer that has not been told its model yet, as much as it has."""
    module = model if model is not None else getattr(trainer, "lightning_module", None)
    return {
        "framework": type(trainer).__module__.partition(".")[0],
        "model": type(module).__name__ if module is not None else None,
        "total_epochs": _limit(trainer.max_epochs) if operation == "training" else None,
        "params": {**_hyperparameters(module), "trainer": _options(trainer)},
        "output_dir": output_folder(trainer),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def epochs_to_come(trainer: Any) -> int | None:
    """How many the training will have, now that its data is known: a number of iterations may end it earlier."""
    epochs, steps = _limit(trainer.max_epochs), _limit(trainer.max_steps)
    batches: float = trainer.num_training_batches
    if steps is not None and math.isfinite(batches) and batches:
        by_steps: int = math.ceil(steps / math.ceil(batches / trainer.accumulate_grad_batches))
        return by_steps if epochs is None else min(epochs, by_steps)
    return epochs


def output_folder(trainer: Any) -> str | None:
    """Where the checkpoints lie; until the host knows it, the folder that all of its own is in."""
    found = getattr(trainer.checkpoint_callback, "dirpath", None) or trainer.default_root_dir
    return os.fspath(found) if found else None


def given_checkpoint(trainer: Any, more: Sequence[Any], options: Mapping[str, Any]) -> str | None:
    """The checkpoint that the user has `fit` go on from; a word like "last" is left to the host."""
    given = options.get("ckpt_path") or (more[_CKPT_PATH] if len(more) > _CKPT_PATH else None) or trainer.ckpt_path
    return str(given) if given else None


def folder_of(checkpoint: str) -> str | None:
    """The folder it lies in; None where it is no path of this machine."""
    return os.path.dirname(os.path.abspath(checkpoint)) if os.path.exists(checkpoint) else None  # noqa: PTH100, PTH110, PTH120


def _limit(number: int | None) -> int | None:
    """None for the host's -1, which is no limit."""
    return number if number is not None and number >= 0 else None


def _hyperparameters(module: Any) -> dict[str, Any]:
    found = getattr(module, "hparams", None)
    return dict(found) if isinstance(found, Mapping) else {}


def _options(trainer: Any) -> dict[str, Any]:
    found = {name: getattr(trainer, name, None) for name in _OPTIONS}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "accelerator": type(trainer.accelerator).__name__,
        "strategy": type(trainer.strategy).__name__,
    }


def _versions() -> dict[str, str]:
    modules = {name: sys.modules.get(name) for name in _PACKAGES}
    return {name: str(getattr(module, "__version__", "")) for name, module in modules.items() if module is not None}
