"""What a Trainer's run starts with: the fields of `RunStarted`, before the trainer has built what it trains with."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from transformers.trainer_utils import get_last_checkpoint

from trainer_hooks.events import Operation
from trainer_hooks.shield import ask

_PACKAGES = ("transformers", "torch", "accelerate", "datasets", "tokenizers", "peft", "trl")
_STATE = "trainer_state.json"
_UNNAMED = "LABEL_"  # what the host calls classes that nobody has named


class Reached(msgspec.Struct, frozen=True):
    """What the host notes in a checkpoint of how far it is."""

    epoch: float | None = None
    global_step: int = 0
    best_model_checkpoint: str | None = None


def describe(trainer: Any, operation: Operation, dataset: Any, checkpoint: str | None) -> dict[str, Any]:
    """`dataset`: the one that is evaluated or predicted; a training's is the trainer's own."""
    args = trainer.args
    training, by_iteration = operation == "training", args.max_steps > 0
    return {
        "framework": "transformers",
        "model": type(trainer.model).__name__,
        "total_epochs": math.ceil(args.num_train_epochs) if training and not by_iteration else None,
        "total_iterations": args.max_steps if training and by_iteration else None,
        "params": args.to_dict(),
        "dataset": _datasets(trainer, operation, dataset),
        "class_names": class_names(trainer.model),
        "output_dir": output_dir(trainer),
        "versions": {"python": platform.python_version(), **_versions()},
        **(_done(checkpoint, by_iteration=by_iteration) if checkpoint else {}),
    }


def output_dir(trainer: Any) -> str:
    """Where the host writes to."""
    return str(Path(trainer.args.output_dir).absolute())


def resumed_from(trainer: Any, said: Any) -> str | None:
    """The checkpoint that the training is to go on from, as `train` has been told; None where the host finds none."""
    found: str | None = get_last_checkpoint(trainer.args.output_dir) if said is True else os.fspath(said)
    return found


def reached(checkpoint: str | Path) -> Reached:
    """How far the checkpoint is.

    Raises:
        OSError, msgspec.MsgspecError: if it doesn't say.
    """
    return msgspec.json.decode(Path(checkpoint, _STATE).read_bytes(), type=Reached)


def class_names(model: Any) -> list[str]:
    """The classes that a classifier has been given names for."""
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or any(str(name).startswith(_UNNAMED) for name in names.values()):
        return []
    return [str(names[place]) for place in sorted(names)]


def _done(checkpoint: str, *, by_iteration: bool) -> dict[str, int]:
    state = ask(lambda: reached(checkpoint))
    if isinstance(state, Exception):  # the host will say it
        return {}
    whole = int(state.epoch or 0)
    if by_iteration:
        return {"iteration": state.global_step}
    return {"epoch": whole} if whole == state.epoch else {"epoch": whole, "iteration": state.global_step}


def _datasets(trainer: Any, operation: Operation, dataset: Any) -> dict[str, Any]:
    evaluated = trainer.eval_dataset if dataset is None or isinstance(dataset, str) else dataset
    if operation != "training":
        return _described(evaluated)
    eval_dataset = {"eval": _described(evaluated)} if evaluated is not None else {}
    return {**_described(trainer.train_dataset), **eval_dataset}


def _described(dataset: Any) -> dict[str, Any]:
    if isinstance(dataset, dict):  # several, by name
        return {str(name): _described(one) for name, one in dataset.items()}
    size = ask(lambda: len(dataset))  # a stream has none
    return {"type": type(dataset).__name__, **({"size": size} if isinstance(size, int) else {})}


def _versions() -> dict[str, str]:
    modules = {name: sys.modules.get(name) for name in _PACKAGES}
    return {name: str(getattr(module, "__version__", "")) for name, module in modules.items() if module is not None}
