"""What the tests of the command line share: runs on disk, and the command itself, in this process or as its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from trainer_hooks.cli import main
from trainer_hooks.events import AnyEvent, EpochEnded, RunCompleted, RunStarted
from trainer_hooks.journal import Journal
from trainer_hooks.settings import Settings

REPOSITORY = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "trainer_hooks.cli"]

TRAINING: list[AnyEvent] = [
    RunStarted(framework="ultralytics", task="detect", model="micro.yaml", total_epochs=2),
    EpochEnded(epoch=1, total_epochs=2, metrics={"loss": 1.5, "map": 0.25}, duration=2.0),
    EpochEnded(epoch=2, total_epochs=2, metrics={"loss": "NaN", "map": 0.5, "late": 1}, duration=1.0),
]
COMPLETED: list[AnyEvent] = [*TRAINING, RunCompleted(epochs=2, metrics={"map": 0.5}, duration=3.0)]


def invoke(*arguments: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, arguments)


def write_run(
    root: Path, run: str, events: list[AnyEvent], *, job: str | None = None, attempt: int = 1, **settings: Any
) -> Path:
    """A run of this process's, with what it recorded of its settings."""
    directory = root / run
    journal = Journal(directory, run=run, attempt=attempt, writer="training", job=job)
    for event in events:
        journal.append(event)
    journal.close()
    addresses = Settings.load(environ={}, job_id=job, **settings).addresses()
    (directory / "run.json").write_bytes(msgspec.json.encode(addresses))
    return directory


def write_run_of_a_dead_process(root: Path, run: str, *, job: str = "", callback_url: str = "") -> Path:
    """As `write_run`, by a process that is killed in the middle of its training."""
    code = (
        "import os, signal, sys; from pathlib import Path; from tests.cli.parts import TRAINING, write_run;"
        "job, url = (text or None for text in sys.argv[3:]);"
        "write_run(Path(sys.argv[1]), sys.argv[2], TRAINING, job=job, callback_url=url);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(root), run, job, callback_url], cwd=REPOSITORY, check=False)
    return root / run


def launch(
    *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`trainer-hooks run`, as a process of its own, from start to end."""
    command = [*COMMAND, "run", *map(str, arguments)]
    environ = {**os.environ, **(env or {})}
    return subprocess.run(command, env=environ, input=stdin, cwd=cwd, capture_output=True, text=True, check=False)
