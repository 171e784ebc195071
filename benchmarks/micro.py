"""The smallest real trainings, for the benchmarks of the hooks: one class per framework, with the same methods."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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
    name: ClassVar[str]
    title: ClassVar[str]
    after_iteration: ClassVar[str]
    """The host's announcement of every iteration's end."""
    epoch: ClassVar[tuple[str, str]]
    """The announcements that an epoch, its validation included, begins and ends with; or the next one begins with."""
    wrapped: Sequence[tuple[Any, str]]
    """What `autolog` wraps and an epoch calls, by owner and name; the first is what announces."""
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

        self.version, self.telling = ultralytics.__version__, (Reporter, "log_checkpoint")
        self.wrapped = [(BaseTrainer, "run_callbacks"), (BaseTrainer, "save_metrics")]
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

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import mmengine
        from mmengine.runner import Runner

        from trainer_hooks.integrations.mmengine.work import Work

        self.version, self.telling = mmengine.__version__, (Work, "checkpoint_written")
        self.wrapped = [(Runner, "call_hook"), (Runner, "save_checkpoint")]

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """The tests' classifier."""
        from tests.hosts.mmengine import calls_with_the_runner, config

        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            runner = self.wrapped[0][0].from_cfg(config(self.folder, epochs))
            for stage, callback in callbacks.items():
                runner.register_hook(calls_with_the_runner(callback, [stage]))
            runner.train()


class Lightning(Micro):
    """Lightning."""

    name, title = "lightning", "Lightning"
    after_iteration = "on_train_batch_end"
    epoch = ("on_train_epoch_start", "on_train_epoch_start")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import lightning.pytorch as host
        from lightning.pytorch.trainer import call
        from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector

        from trainer_hooks.integrations._lightning.work import Work

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        self.version, self.telling = host.__version__, (Work, "checkpoint_written")
        self.wrapped = [
            (call, "_call_callback_hooks"),
            (_LoggerConnector, "update_train_epoch_metrics"),
            (host.Trainer, "save_checkpoint"),
        ]

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """The tests' classifier."""
        from tests.hosts import lightning as host

        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            own = [host.calls(callback, [hook]) for hook, callback in callbacks.items()]
            trainer = host.make_trainer(self.folder, epochs, callbacks=own)
            trainer.fit(host.Classifier(), host.loader(shuffle=True), host.loader())


class Transformers(Micro):
    """Hugging Face's Trainer."""

    name, title = "transformers", "transformers"
    after_iteration = "on_step_end"
    epoch = ("on_epoch_begin", "on_epoch_begin")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import transformers
        from transformers.trainer_callback import CallbackHandler

        from trainer_hooks.integrations.transformers.work import Work

        self.version, self.telling = transformers.__version__, (Work, "checkpoint_written")
        own = (transformers.Trainer, "_save_checkpoint"), (transformers.Trainer, "evaluate")
        self.wrapped = [(CallbackHandler, "call_event"), *own]

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """The tests' classifier."""
        from tests.hosts import transformers as host

        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            trainer = host.built(self.folder, epochs)
            for event, callback in callbacks.items():
                trainer.add_callback(host.calling(callback, [event]))
            trainer.train()


HOSTS: tuple[type[Micro], ...] = (Ultralytics, MMEngine)
OF_ANOTHER_ENVIRONMENT: tuple[type[Micro], ...] = (Lightning, Transformers)
"""Those of the group `hosts`."""
