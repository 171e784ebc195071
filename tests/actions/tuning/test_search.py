"""What a search needs before it can start; without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SEARCH = """
from tests.actions.tuning.toys import Quadratic
from trainer_hooks.actions import run_action
config = {"metric": "loss", "mode": "min"}
space = [{"name": "x", "type": "uniform", "min": 0, "max": 1}]
run_action(Quadratic, {"is_tune": True, "tune_config": config, "hyperparameters": space})
"""


def test_without_ray_the_mend_is_told_and_nothing_starts(tmp_path: Path, own_environment: Path) -> None:
    hidden = tmp_path / "hidden" / "ray"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no Ray here')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(hidden.parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", SEARCH], env=environment, capture_output=True, text=True, check=False)
    assert (
        'MissingPackage: a search over hyper-parameters needs Ray Tune: pip install "trainer-hooks[ray]"' in done.stderr
    )
    assert not own_environment.exists()
