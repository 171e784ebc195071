"""How a training hears that it is to stop: by a file in the run's directory.

The courier writes it where the platform wants so, and a receiver over the directory where somebody has asked for it.

It is of one attempt, so that the next one of the same run is not stopped by it. Where several ranks have to leave their
loops together, the main one writes beside it at which point they do: one that lies ahead, so that all of them have met
once more before they come to it, and each finds the file there by itself.
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


def agree_to_stop(run_directory: Path, attempt: int, at: int) -> None:
    """All ranks are to stop when so many epochs, or iterations, are finished.

    Raises:
        OSError: if the file can't be written.
    """
    write_whole(_agreed_file(run_directory, attempt), str(at).encode())


def agreed_to_stop(run_directory: Path, attempt: int) -> int | None:
    """When all ranks are to stop; None as long as that isn't settled."""
    with contextlib.suppress(OSError, ValueError):
        return int(_agreed_file(run_directory, attempt).read_text())
    return None


def _agreed_file(run_directory: Path, attempt: int) -> Path:
    return run_directory / f"stop-{attempt}-at"


def _file(run_directory: Path, attempt: int) -> Path:
    return run_directory / f"stop-{attempt}"
