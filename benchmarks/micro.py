"""The smallest real Ultralytics training, for the benchmarks of the hooks."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class Micro:
    """Trains in this process, again and again, on one small dataset."""

    def __init__(self, folder: Path) -> None:
        os.environ["YOLO_OFFLINE"] = "1"
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
        self._folder = folder
        self._data = make_dataset(folder / "data")
        import ultralytics  # after the variables that it reads when it is imported

        self.version = ultralytics.__version__
        logging.getLogger("ultralytics").setLevel(logging.ERROR)

    def train(self, epochs: int, **callbacks: Callable[[Any], None]) -> None:
        """Train a new model, with these callbacks of the user's, by event."""
        from ultralytics import YOLO

        model = YOLO(ROOT / "tests" / "assets" / "micro.yaml")
        for event, callback in callbacks.items():
            model.add_callback(event, callback)
        # The end of a run says a few lines.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            model.train(
                epochs=epochs, data=str(self._data), project=str(self._folder / "out"), name="train", **_OPTIONS
            )

    def attached(self, **settings: Any) -> Autolog:
        """`autolog`, to be used in `with`; runs are kept in this folder."""
        os.environ["TRAINER_HOOKS_DIR"] = str(self._folder / "runs")
        return autolog("ultralytics", **settings)
