"""The Ultralytics host: a real, tiny, deterministic training, in this process or as a script of its own.

As a script: python -m tests.hosts.ultralytics FOLDER EPOCHS [--autolog] [--data YAML] [--do WHAT --at EVENT --epoch N]
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.hosts import hosting
from tests.hosts.hosting import Trained, digest

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
CTRL_C = KeyboardInterrupt
EXIT_STATUS: dict[str, int] = {}
AFTER_EPOCH = "on_fit_epoch_end"
SUFFIX = ".pt"
WRITES = "*.pt"
FINAL_BEST = True
# Lets `--device=0,1` launch two gloo ranks on the CPU; what lies on the path besides, an older host say, stays there.
_DDP = str(Path(__file__).parent / "ddp_on_cpu")
TWO_RANKS = {"PYTHONPATH": os.pathsep.join([_DDP, *filter(None, [os.environ.get("PYTHONPATH")])])}
EPOCH_METRICS = {"train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/mAP50-95(B)", "lr/pg0", "fitness"}


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


def best_checkpoint(folder: Path) -> Path:
    """The file that a training in `folder` has left as its best."""
    return folder / "out" / "train" / "weights" / "best.pt"


def steady(line: str) -> str | None:
    """The line of output without durations; None for progress bars and rates."""
    if line.startswith("\x1b[K") or any(unit in line for unit in ("it/s", "ms ", "MB/s")):
        return None
    return re.sub(r"\d+\.\d+ (hours|s)\b|\d+:\d+", "TIME", line)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", help="instead of a dataset made for it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plots", action="store_true")


if __name__ == "__main__":
    hosting.main(name, train, _options)
