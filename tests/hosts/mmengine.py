"""The MMEngine host: a real Runner on a small classifier, deterministic, in this process or as a script of its own.

As a script: python -m tests.hosts.mmengine FOLDER EPOCHS [--autolog] [--hook] [--launcher pytorch] [--do WHAT …]
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import DATASETS, METRICS, MODEL_WRAPPERS, MODELS
from mmengine.runner import FlexibleRunner, Runner

from tests.hosts import hosting
from tests.hosts.hosting import Trained, digest

name = "mmengine"
# Where a training can be made to fail or be killed: the host's own stages.
PHASES = ("before_run", "before_train_epoch", "before_save_checkpoint", "after_train_epoch", "after_val_epoch")
EVERYWHERE = (*PHASES, "before_train_iter", "after_train_iter", "before_val", "after_val", "after_train", "after_run")
CTRL_C = KeyboardInterrupt
EXIT_STATUS: dict[str, int] = {}
AFTER_EPOCH = "after_train_epoch"
SUFFIX = ".pth"
WRITES = "*.pth"
FINAL_BEST = False
EPOCH_METRICS = {"train/loss", "train/loss_l2", "train/loss_sharp", "train/lr", "train/time", "train/data_time"}
IMAGES = 16
_BALLAST = 100_000
_numbers = itertools.count(1)


@DATASETS.register_module()
class SpotDataset(torch.utils.data.Dataset):
    """Noise with a bright spot in its left or right half."""

    METAINFO: ClassVar = {"classes": ("left", "right")}

    def __init__(self, length: int = IMAGES, broken: int | None = None) -> None:
        """`broken`: the sample that can't be read."""
        source = torch.Generator().manual_seed(3)
        self.metainfo = dict(self.METAINFO)
        self._broken = broken
        self._labels = torch.arange(length) % 2
        self._images = torch.rand(length, 1, 8, 8, generator=source)
        for image, label in zip(self._images, self._labels, strict=True):
            image[0, 4, 2 + 4 * label] += 1

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> dict[str, Any]:
        if place == self._broken:
            message = f"sample {place} can't be read"
            raise OSError(message)
        return {"inputs": self._images[place], "data_samples": self._labels[place]}


@MODELS.register_module()
class SpotClassifier(BaseModel):
    """A convolution and a classifier, with dropout: any random number of ours would change the weights."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.25), torch.nn.Linear(4 * 36, 2))
        self.register_buffer("ballast", torch.zeros(_BALLAST))  # for a checkpoint of some size

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        found = self.head(self.body(inputs))
        if mode == "loss":
            weights = sum(parameter.square().sum() for parameter in self.parameters())
            return {"loss_sharp": torch.nn.functional.cross_entropy(found, data_samples), "loss_l2": 1e-3 * weights}
        return list(zip(found, data_samples, strict=True)) if mode == "predict" else found


@METRICS.register_module()
class SpotMetric(BaseMetric):
    """The share of images that are told right, and how surely."""

    default_prefix = "accuracy"

    def process(self, _: Any, data_samples: Sequence[Any]) -> None:
        self.results += [found.softmax(0)[label].item() for found, label in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, Any]:
        sure = torch.tensor(results)
        return {"top1": (sure > 0.5).double().mean().item(), "sure": sure.double().mean().numpy()}


@MODEL_WRAPPERS.register_module()
class Distributed(MMDistributedDataParallel):
    """The host's own, for ranks on the CPU: it takes every rank to have a GPU."""

    def __init__(self, module: Any, device_ids: Any = None, **options: Any) -> None:  # noqa: ARG002
        super().__init__(module, **options)


def _without_gpus() -> dict[str, Any]:
    """Let a launched rank run on the CPU; returns what the config needs for it."""
    torch.cuda.set_device = lambda _: None
    return {"model_wrapper_cfg": {"type": "Distributed"}}


def config(folder: Path, epochs: int = 2, **more: Any) -> Config:
    """The config of the training; its parts can be replaced."""
    loader = {
        "batch_size": 4,
        "num_workers": 0,
        "dataset": {"type": "SpotDataset"},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    }
    judged = {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}}
    parts = {
        "model": {"type": "SpotClassifier"},
        "work_dir": str(folder / "out"),
        # Runners of one name within one second would share the host's message hub.
        "experiment_name": f"spots-{next(_numbers)}",
        "train_dataloader": loader,
        "val_dataloader": judged,
        "test_dataloader": judged,
        "train_cfg": {"by_epoch": True, "max_epochs": epochs, "val_interval": 1},
        "val_cfg": {},
        "test_cfg": {},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        "val_evaluator": {"type": "SpotMetric"},
        "test_evaluator": {"type": "SpotMetric"},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "accuracy/sure", "max_keep_ckpts": 1},
            "logger": {"type": "LoggerHook", "interval": 2},
        },
        "randomness": {"seed": 7, "deterministic": True},
        "env_cfg": {"dist_cfg": {"backend": "gloo"}},
    }
    return Config({**parts, **more})


def calls_with_the_runner(do: Callable[[Any], Any], at: Sequence[str], epoch: int = 1) -> Hook:
    """A hook of the user's that calls `do` at these stages, from the epoch (counted from 1) on."""

    def call(_: Hook, runner: Any, **__: Any) -> None:
        if runner.epoch + 1 >= epoch:
            do(runner)

    return type("Calls", (Hook,), dict.fromkeys(at, call))()


def train(
    folder: Path,
    epochs: int = 2,
    *,
    at: Sequence[str] = (),
    epoch: int = 1,
    do: Callable[[], Any] | None = None,
    hook: bool = False,
    clearml_backend: bool = False,
    **more: Any,
) -> Trained:
    """Train; at these stages, from the epoch on, call `do` from a hook of the user's.

    `hook`: with our entry. `clearml_backend`: with the host's own backend for ClearML.
    """
    own: dict[str, Any] = {"custom_hooks": [{"type": "trainer_hooks.TrainerHook"}]} if hook else {}
    if clearml_backend:
        task = {"project_name": "the host's", "task_name": "of the backend"}
        own["visualizer"] = {"type": "Visualizer", "vis_backends": [{"type": "ClearMLVisBackend", "init_kwargs": task}]}
    if more.get("launcher", "none") != "none":
        own |= _without_gpus()
    try:
        runner = Runner.from_cfg(config(folder, epochs, **own, **more))
        if do:
            # The stages before the first epoch and after the last know of no other.
            steady = [stage for stage in at if stage in ("before_run", "before_train", "after_train", "after_run")]
            others = [stage for stage in at if stage not in steady]
            runner.register_hook(calls_with_the_runner(lambda _: do(), steady))
            runner.register_hook(calls_with_the_runner(lambda _: do(), others, epoch))
        runner.train()
    except BaseException as error:  # noqa: BLE001 - what it raises is what is asked
        return Trained(None, error)
    return Trained(digest(runner.model))


def fingerprint() -> list[Any]:
    """The identities of the host's objects that an integration could have replaced."""
    owners = (Runner, FlexibleRunner, Hook)
    return [(owner.__name__, key, id(value)) for owner in owners for key, value in sorted(vars(owner).items())]


def load_checkpoint(path: Path) -> None:
    """Load a checkpoint of this host; raises if it isn't whole."""
    # It holds the host's own objects beside the weights; the file was written a moment ago.
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    assert "head.2.weight" in checkpoint["state_dict"]


def best_checkpoint(folder: Path) -> Path:
    """The file that a training in `folder` has left as its best."""
    (best,) = (folder / "out").glob("best_accuracy_sure_*.pth")
    return best


def steady(line: str) -> str | None:
    """The line of output without times of day, durations and the names made of them."""
    line = re.sub(r"^\d\d/\d\d \d\d:\d\d:\d\d|\d{8}_\d{6}", "NOW", line)
    return re.sub(r"\b(time|data_time|eta): [\d.:]+", r"\1: SOME", line)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hook", action="store_true")
    parser.add_argument("--launcher", default="none")
    parser.add_argument("--clearml-backend", action="store_true")


if __name__ == "__main__":
    hosting.main(name, train, _options)
