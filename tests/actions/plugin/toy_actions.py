"""What the tests of executors run: an action that gets into the trouble that it is asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from trainer_hooks.actions import BaseTrainAction, BaseTrainParams


class Params(BaseTrainParams):
    epochs: int = 1
    trouble: str = ""


class Fit(BaseTrainAction[Params]):
    action_name = "fit"

    def execute(self) -> dict[str, Any]:
        self.set_progress(1, 2)
        self.set_metrics({"loss": 0.5})
        sys.stdout.write("said on stdout\n")
        getattr(self, self.params.trouble or "nothing")()
        self.set_progress(2, 2)
        return {"epochs": self.params.epochs}

    def nothing(self) -> None: ...

    def fails(self) -> None:
        message = "no good"
        raise ValueError(message)

    def needs_the_plugins_variable(self) -> None:
        assert os.environ["TOY"] == "1"

    def is_killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def is_killed_once(self) -> None:
        if self.ctx.run.attempt == 1:
            self.is_killed()

    def exits(self) -> None:
        os._exit(4)

    def launches(self) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        loop = Path(__file__).with_name("loop.py")
        subprocess.run([*torchrun, loop, str(self.params.epochs)], check=True)

    def lingers(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self.set_metrics({"asked_to_end": 1.0}))
        self.set_metrics({"lingering": 1.0})
        self.waits()

    def takes_its_time(self) -> None:
        threading.Event().wait(4)

    def waits(self) -> None:
        threading.Event().wait(120)
