"""How a training hears that it is to stop: by a file in the run's directory, which the courier writes.

It is of one attempt, so that the next one of the same run is not stopped by it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from trainer_hooks.files import write_whole


def ask_to_stop(run_directory: Path, attempt: int, reason: str) -> None:
    """Ask the attempt to stop.

    Raises:
        OSError: if the file can't be written.
    """
    write_whole(_file(run_directory, attempt), reason.encode("utf-8", "backslashreplace"))


def asked_to_stop(run_directory: Path, attempt: int) -> str | None:
    """Why the attempt is to stop; None as long as nobody has asked."""
    with contextlib.suppress(OSError):
        return _file(run_directory, attempt).read_text("utf-8", "replace")
    return None


def _file(run_directory: Path, attempt: int) -> Path:
    return run_directory / f"stop-{attempt}"
