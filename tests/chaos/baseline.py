"""How a training ends without us: what its weights, its output and its exit status are compared with."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.chaos.evidence import Ending
from tests.chaos.plan import Host
from tests.hosts.scripts import ROOT, comparable

_ENDS_WITHIN = 120.0


def compared(host: Host, folder: Path, status: int, output: str) -> Ending:
    """That end beside the one without us."""
    status_without, output_without, weights_without = without_us(host)
    return Ending(
        status,
        _comparable(host, output, folder),
        _weights(output),
        output_without,
        weights_without if status_without == 0 else None,
    )


@cache
def without_us(host: Host) -> tuple[int, list[str], str | None]:
    """Exit status, output and weights of the same training, without us."""
    if host != "loop":  # what a framework says only when it is first imported
        subprocess.run([sys.executable, "-c", f"import {host}"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.training", host, str(folder), str(folder / "told.jsonl")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TRAINER_HOOKS_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ENDS_WITHIN,
            check=True,
        )
        return done.returncode, _comparable(host, done.stdout, folder), _weights(done.stdout)


def _comparable(host: Host, output: str, folder: Path) -> list[str]:
    if host == "loop":
        return output.splitlines()
    return comparable(importlib.import_module(f"tests.hosts.{host}"), output, folder)


def _weights(output: str) -> str | None:
    found = re.search(r"^weights (\w+)$", output, re.MULTILINE)
    return found[1] if found else None
