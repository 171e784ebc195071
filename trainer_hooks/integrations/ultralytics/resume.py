"""`resume="auto"`: a trainer that is about to be built goes on from its run's newest checkpoint, by the host's own way.

The host reads everything else, too, from the checkpoint: a resumed training keeps its arguments and its folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import torch
from ultralytics.cfg import DEFAULT_CFG, get_cfg, get_save_dir

from trainer_hooks.restore import Restored

_log = logging.getLogger("trainer_hooks")
_NAMING = ("mode", "task", "project", "name", "exist_ok")
"""What the host makes the name of its folder of."""


def overrides_of(arguments: tuple[Any, ...], options: dict[str, Any]) -> MutableMapping[str, Any] | None:
    """The user's arguments in a call of `BaseTrainer.__init__(self, cfg, overrides, _callbacks)`; None without any."""
    given = options.get("overrides", arguments[1] if len(arguments) > 1 else None)
    return given if isinstance(given, MutableMapping) else None


def point(overrides: MutableMapping[str, Any], restored: Restored) -> bool:
    """Have the trainer that is built with these go on from the checkpoint; False where there is nothing left to do."""
    epochs = overrides.get("epochs") or DEFAULT_CFG.epochs
    if restored.epoch is not None and restored.epoch >= epochs:
        _log.warning("all %s epochs are done: there is nothing to resume, and the training begins anew", epochs)
        return False
    _move_to_a_folder_that_can_be_written(restored.path, overrides)
    # In place: `Model.train` looks into the same mapping afterwards.
    overrides["resume"] = str(restored.path)
    return True


def settle(trainer: Any, restored: Restored) -> None:
    """The trainer is built, and about to train."""
    if isinstance(trainer.model, torch.nn.Module):  # the model's own weights, which `Model.train` has given it
        trainer.model = trainer.args.model
    trainer.wdir.mkdir(parents=True, exist_ok=True)
    restored.fetch_best(trainer.best)


def _move_to_a_folder_that_can_be_written(checkpoint: Path, overrides: MutableMapping[str, Any]) -> None:
    """The host writes to the folder that the checkpoint names, which need not be possible in this container.

    Versions before 8.4.100 have no argument for it, so it is changed in the checkpoint, which is our own copy.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)  # as the host itself loads it
    arguments = content.get("train_args")
    folder = arguments.get("save_dir") if isinstance(arguments, dict) else None
    if folder is None or _can_be_written(Path(folder)):
        return
    own = get_save_dir(get_cfg(DEFAULT_CFG, {name: overrides[name] for name in _NAMING if name in overrides}))
    _log.warning("%s can't be written here: the resumed training writes to %s", folder, own)
    arguments |= {"save_dir": str(own), "project": str(Path(own).parent), "name": Path(own).name}
    changed = checkpoint.with_suffix(f".{os.getpid()}")
    torch.save(content, changed)
    changed.replace(checkpoint)


def _can_be_written(folder: Path) -> bool:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
