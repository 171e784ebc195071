"""The smallest real trainings, for the benchmarks of the hooks: one class per framework, with the same methods."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from measuring import ROOT

from tools.synthetic import make_dataset
from trainer_hooks.autologging import Autolog, autolog

_OPTIONS = {
    "imgsz": 64,
    "batch": 8,
    "workers": 0,
    "plots": False,
    "amp": False,
    "optimizer": "SGD",
    "verbose": False,
    "device": "cpu",
    "seed": 7,
    "exist_ok": True,
}


class Micro(ABC):
    """Trains in this process, again and again, on a few small images."""

    version: str
    owner: Any
    """The class whose methods are wrapped."""
    name: ClassVar[str]
    title: ClassVar[str]
    after_iteration: ClassVar[str]
    """The host's announcement of every iteration's end."""
    epoch: ClassVar[tuple[str, str]]
    """The announcements that an epoch, its validation included, begins and ends with."""
    wrapped: ClassVar[tuple[str, ...]]
    """The methods that `autolog` wraps and an epoch calls; the first is the one that announces."""
    telling: tuple[Any, str]
    """Our method that tells a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """Train a new model, with these callbacks of the user's, by announcement."""

    def attached(self, **settings: Any) -> Autolog:
        """`autolog`, to be used in `with`; runs are kept in this folder."""
        os.environ["TRAINER_HOOKS_DIR"] = str(self.folder / "runs")
        return autolog(self.name, **settings)


class Ultralytics(Micro):
    """Ultralytics."""

    name, title = "ultralytics", "Ultralytics"
    after_iteration = "on_train_batch_end"
    epoch = ("on_train_epoch_start", "on_fit_epoch_end")
    wrapped = ("run_callbacks", "save_metrics")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        os.environ["YOLO_OFFLINE"] = "1"
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
        self._data = make_dataset(folder / "data")
        import ultralytics  # after the variables that it reads when it is imported

        # Of these settings, in this folder: where clearml is installed, its callback would be measured with the host.
        ultralytics.settings.update(clearml=False)
        from ultralytics.engine.trainer import BaseTrainer

        from trainer_hooks.reporter import Reporter

        self.version, self.owner, self.telling = ultralytics.__version__, BaseTrainer, (Reporter, "log_checkpoint")
        logging.getLogger("ultralytics").setLevel(logging.ERROR)

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """A micro YOLO."""
        from ultralytics import YOLO

        model = YOLO(ROOT / "tests" / "assets" / "micro.yaml")
        for event, callback in callbacks.items():
            model.add_callback(event, callback)
        # The end of a run says a few lines.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            model.train(epochs=epochs, data=str(self._data), project=str(self.folder / "out"), name="train", **_OPTIONS)


class MMEngine(Micro):
    """MMEngine."""

    name, title = "mmengine", "MMEngine"
    after_iteration = "after_train_iter"
    epoch = ("before_train_epoch", "after_val")
    wrapped = ("call_hook", "save_checkpoint")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import mmengine
        from mmengine.runner import Runner

        from trainer_hooks.integrations.mmengine.work import Work

        self.version, self.owner, self.telling = mmengine.__version__, Runner, (Work, "checkpoint_written")

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """The tests' classifier."""
        from tests.hosts.mmengine import calls_with_the_runner, config

        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            runner = self.owner.from_cfg(config(self.folder, epochs))
            for stage, callback in callbacks.items():
                runner.register_hook(calls_with_the_runner(callback, [stage]))
            runner.train()


HOSTS: tuple[type[Micro], ...] = (Ultralytics, MMEngine)
