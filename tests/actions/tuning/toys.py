"""Actions to search over: a loop of a few epochs that goes down to where `x` is best, and ways to go wrong on it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from trainer_hooks.actions import BaseTrainAction


class Params(BaseModel):
    x: float
    noise: float = 0.0
    epochs: int = 2
    trouble: Literal["none", "raise", "kill", "exit", "nan", "wait"] = "none"
    trouble_above: float = 0.5
    begun: str | None = None
    """A folder in which each trial that is begun leaves a file."""
    until: str | None = None
    """Waiting ends when this file is there, or the trial is to stop."""
    wait_at: int | None = None
    """The epoch before whose end to wait; by default the last."""
    upload: float = 0.0
    """Seconds of work behind the last epoch, which end at once if the trial is to stop."""


class Quadratic(BaseTrainAction[Params]):
    """The loss is (x - 0.25)² and a rest that goes with the epochs."""

    action_name = "quadratic"

    def execute(self) -> dict[str, Any]:
        params = self.params
        if params.begun is not None:
            (Path(params.begun) / f"{params.x!r}-{os.getpid()}").touch()
        loss = float("nan")
        for epoch in range(1, params.epochs + 1):
            if (
                epoch == (params.wait_at or params.epochs)
                and params.x > params.trouble_above
                and params.trouble == "wait"
            ):
                self._wait()
            if self.ctx.run.should_stop:
                break
            loss = (params.x - 0.25) ** 2 + 1 / 10**epoch
            if params.x > params.trouble_above:
                loss = self._have_trouble(loss)
            self.ctx.run.log_metrics({"loss": loss}, epoch=epoch, total_epochs=params.epochs)
        self._upload()
        return {"score": -loss, "model_id": int(params.x * 1000), "status": 3}

    def _upload(self) -> None:
        over = time.monotonic() + self.params.upload
        while time.monotonic() < over:
            if self.ctx.run.should_stop:
                message = "the upload is cut off"
                raise InterruptedError(message)
            threading.Event().wait(0.02)

    def _wait(self) -> None:
        while not self.ctx.run.should_stop and not (self.params.until and Path(self.params.until).exists()):
            threading.Event().wait(0.02)

    def _have_trouble(self, loss: float) -> float:
        if self.params.trouble == "raise":
            message = f"x is {self.params.x}"
            raise ArithmeticError(message)
        if self.params.trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params.trouble == "exit":
            os._exit(3)
        return float("nan") if self.params.trouble == "nan" else loss


class PerIteration(BaseTrainAction[Params]):
    """Five iterations an epoch, each with its loss."""

    def execute(self) -> dict[str, Any]:
        for iteration in range(1, 5 * self.params.epochs + 1):
            if self.ctx.run.should_stop:
                break
            self.ctx.run.log_metrics({"loss": self.params.x / iteration}, iteration=iteration)
            threading.Event().wait(0.1)
            if iteration % 5 == 0:
                self.ctx.run.log_metrics({"other": 1.0}, epoch=iteration // 5, total_epochs=self.params.epochs)
        return {"iterations": iteration}


class Deaf(BaseTrainAction[Params]):
    """Tells one epoch, and never asks whether to stop."""

    def execute(self) -> None:
        self.ctx.run.log_metrics({"loss": self.params.x}, epoch=1)
        while True:
            threading.Event().wait(60)
