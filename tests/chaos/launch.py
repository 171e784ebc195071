"""One process of the training, and the moments at which it is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.plan import Kill, Plan
from tests.hosts.scripts import ROOT

_ENDS_WITHIN = 120.0
_POLL = 0.005
_pause = threading.Event()


@dataclass(frozen=True)
class Completed:
    """An attempt that nobody killed."""

    folder: Path
    status: int
    output: str


class Launch:
    """One process of the training."""

    def __init__(self, plan: Plan, folder: Path, record: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._record = record
        self._output = folder / "stdout"
        self._began = time.monotonic()
        self._written = _size(record)
        with self._output.open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.training", plan.host, str(folder), str(record)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def wait_for(self, kill: Kill) -> None:
        """Wait for the kill's moment, or for the training's end."""
        begins = self._began
        if not kill.from_start:
            while _size(self._record) == self._written and not self.is_over:
                _pause.wait(_POLL)
            begins = time.monotonic()
        while time.monotonic() < begins + kill.after and not self.is_over:
            _pause.wait(_POLL / 5)

    def completed(self) -> Completed:
        """Wait for its own end."""
        status = self.process.wait(_ENDS_WITHIN)
        return Completed(self.folder, status, self._output.read_text())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
