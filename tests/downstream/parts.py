"""Training with what stands on MMEngine, as its users do: its own tools/train.py, and a config of the examples."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_hooks.journal import read_records

ROOT = Path(__file__).parent.parent.parent
STAND_IN = Path(__file__).parent / "mmcv_without_operators"
UNDER_RUN = (sys.executable, "-m", "trainer_hooks.cli", "run", "--")


@dataclass(frozen=True)
class Package:
    """MMDetection or MMSegmentation, and the example for it."""

    name: str
    example: Path

    def train(
        self, folder: Path, changes: str = "", under: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Train with the example's config, changed by these lines, in `folder`, where its data is."""
        config = folder / "config.py"
        config.write_text(f"_base_ = {str(self.example)!r}\n{changes}\n")
        (found,) = importlib.util.find_spec(self.name).submodule_search_locations
        script = Path(found) / ".mim" / "tools" / "train.py"
        return subprocess.run(
            [*under, sys.executable, str(script), config.name, "--work-dir", "work_dir"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(STAND_IN), **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


def told(run: Path, kind: type[Any] | tuple[type[Any], ...]) -> list[Any]:
    """What the run told of that kind, in order."""
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]
