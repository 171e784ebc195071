"""A checkpoint to go on from, and how it is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainer_hooks.checkpoint_store import Manifest
from trainer_hooks.events import Metrics

FOLDER = "restored"
"""Of a run's directory: where what it goes on from is kept."""
LAST = "last"


@dataclass(frozen=True)
class Restored:
    """A whole checkpoint of an earlier attempt, on this machine's disk at `path`: a file or a folder, as it was saved.

    `epoch` or `iteration` says how many were finished when it was written; None where that isn't known. `attempt` is
    the newest attempt that is known of.
    """

    path: Path
    folder: Path
    """The run's own, for what is made of the checkpoint."""
    run: str
    name: str
    attempt: int
    epoch: int | None = None
    iteration: int | None = None
    metrics: Metrics = field(default_factory=dict)
    best: Manifest | None = None
    """What is said of the best checkpoint in storage, where there is one."""
    _fetch_best: Callable[[Path], None] | None = None

    def fetch_best(self, target: Path) -> bool:
        """Put the best checkpoint so far there, where storage has one and `target` doesn't exist yet.

        A host that goes on in an empty folder writes a best one only when it has improved on it.
        """
        if self._fetch_best is None or target.exists():
            return False
        self._fetch_best(target)
        return True
