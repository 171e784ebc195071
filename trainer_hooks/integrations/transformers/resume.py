"""`resume="auto"`: what the host needs beside the checkpoint that it goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_hooks.integrations.transformers.description import output_dir, reached
from trainer_hooks.restore import Restored


def put_best_back(trainer: Any, restored: Restored) -> None:
    """In an empty folder: the best checkpoint so far, where the host has noted that it lies.

    Raises:
        OSError, StorageError: if it can't be had; the training goes on without it.
    """
    best = reached(restored.path).best_model_checkpoint
    if best is not None and Path(best).resolve().parent == Path(output_dir(trainer)).resolve():
        Path(best).parent.mkdir(parents=True, exist_ok=True)
        restored.fetch_best(Path(best))
