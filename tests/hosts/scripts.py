"""A host's training as a user runs it: a script of its own, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


# A small disk of its own for the runs, in a mount namespace that ends with the script; no privilege is needed.
ON_A_SMALL_DISK = [
    *("unshare", "--map-root-user", "--mount", "sh", "-c"),
    'mkdir -p "$TRAINER_HOOKS_DIR" && mount -t tmpfs -o size=4m tmpfs "$TRAINER_HOOKS_DIR" && exec "$@"',
    "sh",
]


def run(
    host: Any, folder: Path, *arguments: str, epochs: int = 2, under: Sequence[str] = (), **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run the host's script to its end, under another command if one is given."""
    with start(host, folder, *arguments, epochs=epochs, under=under, **environment) as process:
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def start(
    host: Any, folder: Path, *arguments: str, epochs: int = 2, under: Sequence[str] = (), **environment: str | None
) -> Iterator[subprocess.Popen[str]]:
    """The host's script while it runs; killed at the end of the block, if it still does. It leads its own group.

    A variable that is None is not in its environment.
    """
    command = [*under, sys.executable, "-m", f"tests.hosts.{host.name}", str(folder), str(epochs), *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={name: value for name, value in {**os.environ, **environment}.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended_by(host: Any, folder: Path, what: str, **where: Any) -> subprocess.CompletedProcess[str]:
    """Run a training that ends as `hosting.ENDS[what]` does, with its first epoch or where told."""
    place = {"at": host.AFTER_EPOCH, "epoch": 1, **where}
    arguments = ["--do", what, "--at", place["at"], "--epoch", str(place["epoch"])]
    environment: Mapping[str, str | None] = where.get("environment", {})
    return run(host, folder, *arguments, *where.get("arguments", ()), **environment)


def comparable(host: Any, output: str, folder: Path) -> list[str]:
    """A training's output without what differs from one time to the next."""
    lines = re.split(r"[\r\n]+", output.replace(str(folder), "FOLDER"))
    return [line for line in map(host.steady, lines) if line is not None]
