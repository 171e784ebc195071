"""What all hosts share: what a training left, the ways to end one, and the script."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trained:
    """What a training left: a digest of its final weights, or what it raised."""

    weights: str | None
    error: BaseException | None = None


def digest(model: Any) -> str:
    """A hash over every tensor of the model."""
    found = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        found.update(key.encode())
        found.update(tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()


def _fail() -> None:
    raise RuntimeError("the user's own error")


def _fail_in_rank_1() -> None:
    if "1" in (os.environ.get("RANK"), os.environ.get("LOCAL_RANK")):  # Lightning's launcher says the latter alone
        _fail()


def _fill_the_disk() -> None:
    """Not a byte more fits where the runs are kept."""
    with open(f"{os.environ['TRAINER_HOOKS_DIR']}/ballast", "ab", buffering=0) as file, contextlib.suppress(OSError):  # noqa: PTH123
        while file.write(bytes(1 << 16)):
            pass


ENDS: dict[str, Callable[[], Any]] = {
    "fill the disk": _fill_the_disk,
    "raise": _fail,
    "raise in rank 1": _fail_in_rank_1,
    "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill the group": lambda: os.killpg(os.getpgrp(), signal.SIGKILL),
    "exit 3": lambda: sys.exit(3),
    "exit 0": lambda: sys.exit(0),
    "_exit 4": lambda: os._exit(4),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
}


def main(name: str, train: Callable[..., Trained], options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Train as the arguments say, let what it raises out, and print the weights' digest.

    `options` adds those of the host's own, which are given to its `train` by name; a None is not given.
    """
    chosen = _arguments(options)
    task = chosen.pop("clearml_task", None)
    if task == "before":
        _make_clearml_task()
    mirror = ["clearml"] if chosen.pop("mirror") else []
    if chosen.pop("autolog"):
        import trainer_hooks

        trainer_hooks.autolog(name, *mirror)
    if task == "after":
        _make_clearml_task()
    do, at = ENDS.get(chosen.pop("do", "")), chosen.pop("at", None)
    trained = train(chosen.pop("folder"), chosen.pop("epochs"), at=[at] if at else (), do=do, **chosen)
    if trained.error is not None:
        raise trained.error
    sys.stdout.write(f"weights {trained.weights}\n")
    sys.stdout.write(f"clearml {'is' if 'clearml' in sys.modules else 'is not'} loaded\n")
    _leave_the_other_ranks()


def _leave_the_other_ranks() -> None:
    """As torch asks of every script, and Hugging Face's Trainer doesn't do: else gloo's threads may abort the exit."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _arguments(options: Callable[[argparse.ArgumentParser], None]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("epochs", type=int)
    parser.add_argument("--autolog", action="store_true")
    parser.add_argument("--mirror", action="store_true", help="with --autolog: to ClearML, said in the script")
    parser.add_argument("--clearml-task", choices=["before", "after"], help="of the script's own; when: of autolog")
    parser.add_argument("--do", choices=ENDS)
    parser.add_argument("--at")
    parser.add_argument("--epoch", type=int, default=1)
    options(parser)
    return {key: value for key, value in vars(parser.parse_args()).items() if value is not None}


def _make_clearml_task() -> None:
    from clearml import Task

    Task.init(project_name="the user's", task_name="own task")
