"""A host's training as a user runs it: a script of its own, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def run(
    host: Any, folder: Path, *arguments: str, epochs: int = 2, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the host's script to its end."""
    with start(host, folder, *arguments, epochs=epochs, **environment) as process:
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def start(
    host: Any, folder: Path, *arguments: str, epochs: int = 2, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The host's script while it runs; killed at the end of the block, if it still does. It leads its own group."""
    command = [sys.executable, "-m", f"tests.hosts.{host.name}", str(folder), str(epochs), *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended_by(host: Any, folder: Path, what: str, **where: Any) -> subprocess.CompletedProcess[str]:
    """Run a training that ends as `host.ENDS[what]` does, in its first epoch or where told."""
    place = {"at": "on_fit_epoch_end", "epoch": 1, **where}
    arguments = ["--do", what, "--at", place["at"], "--epoch", str(place["epoch"])]
    environment: Mapping[str, str] = where.get("environment", {})
    return run(host, folder, *arguments, *where.get("arguments", ()), **environment)
