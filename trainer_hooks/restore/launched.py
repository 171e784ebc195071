"""A rank that a process of the run has launched: it goes on from what that one has chosen."""

from __future__ import annotations

from trainer_hooks.restore.restored import FOLDER, LAST, Restored
from trainer_hooks.settings import checkpoint_above, main_process_rank, run_above


def is_launched_within_a_run() -> bool:
    """Whether this is a rank that a process has launched whose run it is part of: that one says what all go on from."""
    return run_above() is not None and main_process_rank() != 0


def restored_above() -> Restored | None:
    """What the process goes on from that has launched this rank; None where it begins anew."""
    path, place = checkpoint_above(), run_above()
    if path is None or place is None:
        return None
    directory, attempt = place
    return Restored(path=path, folder=directory / FOLDER, run=directory.name, name=LAST, attempt=attempt)
