"""Who may read what a training leaves on its machine: whom the umask allows. Only its owner may write to it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.parts import COMMAND, REPOSITORY
from trainer_hooks.delivery import load_state

TRAINING = """
import sys
from pathlib import Path
import trainer_hooks

folder = Path(sys.argv[1])
weights, image = folder / "last.onnx", folder / "plot.png"
weights.write_bytes(b"weights")
image.write_bytes(b"\\x89PNG an image")
with trainer_hooks.start_run(run_id="r", total_epochs=1) as run:
    run.log_metrics({"loss": 0.5}, epoch=1)
    run.log_checkpoint(weights, names=["last"])
    run.log_image(image)
"""


def with_umask(umask: int, folder: Path, *command: str, **environ: str) -> None:
    shell = ["sh", "-c", f'umask {umask:03o}; exec "$@"', "sh", *command]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environ}
    subprocess.run(shell, cwd=folder, env=environ, check=True, capture_output=True, timeout=100)


def modes_below(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_run_and_what_is_stored_of_it_have_the_modes_that_the_umask_leaves(
    tmp_path: Path, own_environment: Path, umask: int
) -> None:
    store = tmp_path / "store"
    options = {"TRAINER_HOOKS_STORAGE": store.as_uri(), "TRAINER_HOOKS_FLUSH_TIMEOUT": "30"}
    with_umask(umask, tmp_path, sys.executable, "-c", TRAINING, str(tmp_path), **options)
    with_umask(umask, tmp_path, *COMMAND, "sync", **options)
    assert load_state(own_environment / "r", "checkpoints").delivered
    for folder in (own_environment, store):
        modes = modes_below(folder)
        assert len(modes) > 3
        for name, mode in modes.items():
            whole = 0o777 if (folder / name).is_dir() else 0o666
            assert mode == whole & ~umask, f"{name}: {mode:o}"
