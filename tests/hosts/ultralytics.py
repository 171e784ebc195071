"""The Ultralytics host: a real, tiny, deterministic training, in this process or as a script of its own.

As a script:
python -m tests.hosts.ultralytics FOLDER EPOCHS [--autolog] [--data YAML] [--do WHAT --at EVENT --epoch N]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

name = "ultralytics"
MODEL = Path(__file__).parent.parent / "assets" / "micro.yaml"
SETTINGS = {
    "imgsz": 64,
    "batch": 8,
    "workers": 0,
    "plots": False,
    "amp": False,
    "optimizer": "SGD",
    "verbose": False,
    "device": "cpu",
    "seed": 7,
    "deterministic": True,
    "exist_ok": True,
}
# The same body with the other tasks' heads.
_HEADS = {
    "detect": ("Detect", "[nc]"),
    "segment": ("Segment", "[nc, 4, 16]"),
    "pose": ("Pose", "[nc, kpt_shape]"),
    "obb": ("OBB", "[nc, 1]"),
    "classify": ("Classify", "[nc]"),
}
# Where a training can be made to fail or be killed: the host's own names for the phases.
PHASES = ("on_pretrain_routine_end", "on_train_epoch_start", "on_model_save", "on_fit_epoch_end", "on_train_end")
EVERYWHERE = (*PHASES, "on_train_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end")
EPOCH_METRICS = {"train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/mAP50-95(B)", "lr/pg0", "fitness"}


@dataclass(frozen=True)
class Trained:
    """What a training left: a digest of its final weights, or what it raised."""

    weights: str | None
    error: BaseException | None = None


def train(
    folder: Path,
    epochs: int = 2,
    *,
    at: Sequence[str] = (),
    epoch: int = 1,
    do: Callable[[], Any] | None = None,
    **more: Any,
) -> Trained:
    """Train; at these phases, from the epoch (counted from 1) on, call `do` from a callback of the user's."""
    from ultralytics import YOLO

    from tools.synthetic import make_dataset

    model = YOLO(MODEL)
    for phase in at if do else ():
        model.add_callback(phase, lambda trainer: do() if getattr(trainer, "epoch", epoch - 1) + 1 >= epoch else None)
    options = {
        **SETTINGS,
        "data": str(make_dataset(folder / "data")),
        "project": str(folder / "out"),
        "name": "train",
        **more,
    }
    try:
        model.train(epochs=epochs, **options)
    except BaseException as error:  # noqa: BLE001 - what it raises is what is asked
        return Trained(None, error)
    average = getattr(model.trainer, "ema", None)  # a launching parent has none: its ranks trained
    return Trained(digest(average.ema if average else model.model))


def make_model(folder: Path, task: str) -> Path:
    """Write the micro model for the task; returns its YAML file."""
    head, arguments = _HEADS[task]
    layers = "[-1, 1, Classify, [nc]]" if task == "classify" else f"[[2, 3, 4], 1, {head}, {arguments}]"
    text = MODEL.read_text().replace("[[2, 3, 4], 1, Detect, [nc]]", layers)
    path = folder / f"micro-{task}.yaml"
    path.write_text(f"kpt_shape: [4, 3]\n{text}" if task == "pose" else text)
    return path


def fingerprint() -> list[Any]:
    """The identities of the host's objects that an integration could have replaced."""
    from ultralytics import YOLO
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.utils import callbacks, dist

    owners = (BaseTrainer, YOLO, callbacks, dist)
    return [(owner.__name__, key, id(value)) for owner in owners for key, value in sorted(vars(owner).items())]


def load_checkpoint(path: Path) -> None:
    """Load a checkpoint of this host; raises if it isn't whole."""
    from ultralytics import YOLO

    YOLO(path)


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
    if os.environ.get("RANK") == "1":
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


def main() -> None:
    """Train as the arguments say, let what it raises out, and print the weights' digest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("epochs", type=int)
    parser.add_argument("--autolog", action="store_true")
    parser.add_argument("--data", help="instead of a dataset made for it")
    parser.add_argument("--do", choices=ENDS)
    parser.add_argument("--at")
    parser.add_argument("--epoch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    if chosen.autolog:
        import trainer_hooks

        trainer_hooks.autolog(name)
    trained = train(
        chosen.folder,
        chosen.epochs,
        at=[chosen.at] if chosen.at else (),
        epoch=chosen.epoch,
        do=ENDS.get(chosen.do or ""),
        device=chosen.device,
        **({"data": chosen.data} if chosen.data else {}),
    )
    if trained.error is not None:
        raise trained.error
    sys.stdout.write(f"weights {trained.weights}\n")


if __name__ == "__main__":
    main()
