"""Trainings that write into the receiver's directory themselves: they ask no server, but look for a file there."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.attempts import TRAINING
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.stopping import ask_to_stop, asked_to_stop


def ask_resident_to_stop(run_directory: Path, reason: str) -> None:
    """Ask the run's newest attempt to stop, if its training writes here.

    Raises:
        OSError: if the file can't be written.
    """
    attempt = _resident_attempt(run_directory)
    if attempt is not None:
        ask_to_stop(run_directory, attempt, reason)


def is_resident_stopping(run_directory: Path) -> bool | None:
    """Whether the run's newest attempt has been asked to stop; None where its training doesn't write here."""
    attempt = _resident_attempt(run_directory)
    return None if attempt is None else asked_to_stop(run_directory, attempt) is not None


def _resident_attempt(run_directory: Path) -> int | None:
    headers = read_headers(run_directory)
    if not headers:
        return None
    newest = owner(headers)
    return newest.attempt if newest.writer == TRAINING else None
