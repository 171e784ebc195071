"""The Lightning host: a real Trainer on a small classifier, deterministic, in this process or as a script of its own.

As a script: python -m tests.hosts.lightning FOLDER EPOCHS [--autolog] [--devices 2] [--do WHAT --at HOOK --epoch N]
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.connectors.logger_connector import logger_connector

from tests.hosts import hosting
from tests.hosts.hosting import Trained, digest

name = "lightning"
# Where a training can be made to fail or be killed: the host's own hooks.
PHASES = ("on_fit_start", "on_train_epoch_start", "on_save_checkpoint", "on_train_epoch_end", "on_train_end")
EVERYWHERE = (
    *PHASES,
    "setup",
    "on_train_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_end",
)
CTRL_C = SystemExit if lightning.__version__ >= "2.4" else type(None)
EXIT_STATUS = {"interrupt": 1, "terminate": 0}
AFTER_EPOCH = "on_train_epoch_start"
SUFFIX = ".ckpt"
WRITES = "*.ckpt"
FINAL_BEST = False
EPOCH_METRICS = {"train_loss", "val_sure", "lr/pg0"}
IMAGES = 16
_BALLAST = 100_000


class Spots(torch.utils.data.Dataset[Any]):
    """Noise with a bright spot in its left or right half."""

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(3)
        self._labels = torch.arange(IMAGES) % 2
        self._images = torch.rand(IMAGES, 1, 8, 8, generator=source)
        for image, label in zip(self._images, self._labels, strict=True):
            image[0, 4, 2 + 4 * label] += 1

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, place: int) -> Any:
        return self._images[place], self._labels[place]


class Classifier(LightningModule):
    """A convolution and a classifier, with dropout: any random number of ours would change the weights."""

    def __init__(self, rate: float = 0.1) -> None:  # noqa: ARG002 - the host reads it from the frame
        super().__init__()
        self.save_hyperparameters()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.25), torch.nn.Linear(4 * 36, 2))
        self.register_buffer("ballast", torch.zeros(_BALLAST))  # for a checkpoint of some size

    def training_step(self, batch: Any, _: int) -> Any:
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.head(self.body(images)), labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_sure", self._sureness(batch), sync_dist=True)

    def test_step(self, batch: Any, _: int) -> None:  # noqa: PT019 - no test of pytest's
        self.log("test_sure", self._sureness(batch), sync_dist=True)

    def predict_step(self, batch: Any, _: int) -> Any:
        return self.head(self.body(batch[0]))

    def _sureness(self, batch: Any) -> Any:
        images, labels = batch
        chances = torch.softmax(self.head(self.body(images)), 1)
        return chances.gather(1, labels[:, None]).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["rate"], momentum=0.9)


def loader(*, shuffle: bool = False) -> Any:
    """The images in batches of four."""
    return torch.utils.data.DataLoader(Spots(), batch_size=4, shuffle=shuffle)


def calls(do: Callable[[Any], Any], at: Sequence[str], epoch: int = 1) -> Callback:
    """A callback of the user's that calls `do` with the trainer at these hooks, from the epoch (counted from 1) on."""

    def call_it(_: Callback, trainer: Any, *__: Any, **___: Any) -> None:
        if not trainer.sanity_checking and trainer.current_epoch + 1 >= epoch:
            do(trainer)

    return type("Calls", (Callback,), dict.fromkeys(at, call_it))()


def make_trainer(folder: Path, epochs: int = 2, **more: Any) -> Trainer:
    """A trainer on the CPU that keeps its best and its last checkpoint in folder/out."""
    # With torch 2.13 Lightning's own tree of modules warns, and of few workers and of a folder that is not empty.
    warnings.simplefilter("ignore")
    seed_everything(7)
    keeps = ModelCheckpoint(dirpath=folder / "out", monitor="val_sure", mode="max", save_last=True)
    options: dict[str, Any] = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "deterministic": True,
        "default_root_dir": str(folder),
        **more,
    }
    return Trainer(**{**options, "callbacks": [*more.get("callbacks", ()), keeps]})


def train(
    folder: Path,
    epochs: int = 2,
    *,
    at: Sequence[str] = (),
    epoch: int = 1,
    do: Callable[[], Any] | None = None,
    ckpt_path: Any = None,
    **more: Any,
) -> Trained:
    """Train; at these hooks, from the epoch (counted from 1) on, call `do` from a callback of the user's."""
    # The hooks before the first epoch and after the last know of no other.
    steady_hooks = [hook for hook in at if hook in ("setup", "on_fit_start", "on_train_start", "on_train_end")]
    others = [hook for hook in at if hook not in steady_hooks]
    callbacks = [calls(lambda _: do(), steady_hooks), calls(lambda _: do(), others, epoch)] if do else []
    try:
        with warnings.catch_warnings():
            trainer = make_trainer(folder, epochs, callbacks=callbacks, **more)
            model = Classifier()
            trainer.fit(model, loader(shuffle=True), loader(), ckpt_path=ckpt_path)
    except BaseException as error:  # noqa: BLE001 - what it raises is what is asked
        return Trained(None, error)
    return Trained(digest(model))


def fingerprint() -> list[Any]:
    """The identities of the host's objects that an integration could have replaced."""
    owners = (Trainer, Callback, LightningModule, call, logger_connector._LoggerConnector)
    return [(owner.__name__, key, id(value)) for owner in owners for key, value in sorted(vars(owner).items())]


def load_checkpoint(path: Path) -> None:
    """Load a checkpoint of this host; raises if it isn't whole."""
    Classifier.load_from_checkpoint(path)


def best_checkpoint(folder: Path) -> Path:
    """The file that a training in `folder` has left as its best."""
    (best,) = (folder / "out").glob("epoch=*.ckpt")
    return best


def steady(line: str) -> str | None:
    """The line of output without durations."""
    return re.sub(r"\d+\.\d+ ?(s|seconds)\b", "TIME", line)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=int)
    parser.add_argument("--strategy")


if __name__ == "__main__":
    hosting.main(name, train, _options)
