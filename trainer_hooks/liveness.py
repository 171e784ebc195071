"""Whether a training lives, and whether it gets anywhere: what the courier knows between two events.

`<run directory>/alive.json` is replaced whole at each heartbeat; a platform that wants heartbeats is sent the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trainer_hooks.files import write_whole

_FILE = "alive.json"
Progress: TypeAlias = Literal["starting", "progressing", "stalled"]


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat: the process lives, at `time` (unix seconds).

    `state` is "starting" before the first epoch, or told iteration, and "stalled" while nothing has been told for
    `idle` seconds, which is many times the `usual` time between two of them. `usual` is None while it isn't known.
    """

    time: float
    run: str
    attempt: int
    state: Progress
    idle: float
    usual: float | None = None
    epoch: int | None = None
    total_epochs: int | None = None
    iteration: int | None = None


def save_liveness(run_directory: Path, liveness: Liveness) -> None:
    """Replace the newest heartbeat.

    Raises:
        OSError: if it can't be written.
    """
    write_whole(run_directory / _FILE, msgspec.json.encode(liveness))


def load_liveness(run_directory: Path) -> Liveness | None:
    """The newest heartbeat of the run's couriers; None if there never was one."""
    try:
        return msgspec.json.decode((run_directory / _FILE).read_bytes(), type=Liveness)
    except (OSError, msgspec.MsgspecError):
        return None
