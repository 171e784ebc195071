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
    content = torch.load(restored.path, map_location="cpu", weights_only=False)  # as the host itself loads it
    arguments = content.get("train_args") or {}
    done, epochs = content.get("epoch", -1) + 1, arguments.get("epochs", DEFAULT_CFG.epochs)
    if not 0 < done < epochs or content.get("optimizer") is None:
        _log.warning("%s is of a finished training: there is nothing to resume, and it begins anew", restored.path)
        return False
    folder = arguments.get("save_dir")
    moved = folder is not None and not _can_be_written(Path(folder))
    # In place: `Model.train` looks into the same mapping afterwards.
    overrides["resume"] = str(_moved(content, overrides, restored) if moved else restored.path)
    return True


def settle(trainer: Any, restored: Restored) -> None:
    """The trainer is built, and about to train."""
    if isinstance(trainer.model, torch.nn.Module):  # the model's own weights, which `Model.train` has given it
        trainer.model = trainer.args.model
    trainer.wdir.mkdir(parents=True, exist_ok=True)
    restored.fetch_best(trainer.best)


def _moved(content: dict[str, Any], overrides: MutableMapping[str, Any], restored: Restored) -> Path:
    """A copy of the checkpoint that names a folder which can be written here: the host goes on in the one it names.

    Versions before 8.4.100 have no argument for it.
    """
    own = Path(get_save_dir(get_cfg(DEFAULT_CFG, {name: overrides[name] for name in _NAMING if name in overrides})))
    _log.warning("%s can't be written here: the resumed training writes to %s", content["train_args"]["save_dir"], own)
    content["train_args"] |= {"save_dir": str(own), "project": str(own.parent), "name": own.name}
    copy = restored.folder / f"moved-{os.getpid()}{restored.path.suffix}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, copy)
    return copy


def _can_be_written(folder: Path) -> bool:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
