"""Trainings that write into the receiver's directory themselves: they ask no server, but look for a file there."""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path

from trainer_hooks.attempts import TRAINING
from trainer_hooks.events import SegmentOpened
from trainer_hooks.history import list_runs
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.stopping import ask_to_stop, asked_to_stop

_log = logging.getLogger(__name__)


def ask_residents_to_stop(root: Path, job: str, reason: str, *, ended: Container[str]) -> dict[str, str]:
    """Ask the newest attempt of each of the job's runs, but those that have `ended`, if its training writes here.

    Returns why others couldn't be asked, by their run. An attempt that has been asked already, by whomever, is not
    asked again.
    """
    refused = {}
    for directory in list_runs(root):
        newest = _resident(directory)
        if newest is None or job != (newest.job or newest.run) or newest.run in ended:
            continue
        why_not = _ask(directory, newest.attempt, reason)
        if why_not is not None:
            refused[newest.run] = why_not
            _log.warning("run %s can't be asked to stop: %s", newest.run, why_not)
    return refused


def is_resident_stopping(run_directory: Path) -> bool | None:
    """Whether the run's newest attempt has been asked to stop; None where its training doesn't write here."""
    newest = _resident(run_directory)
    return None if newest is None else asked_to_stop(run_directory, newest.attempt) is not None


def _ask(directory: Path, attempt: int, reason: str) -> str | None:
    """Returns why it can't be asked, and what helps."""
    if directory.is_symlink():  # whoever has made it may not be allowed to write where it leads
        return f"{directory} is a link, and links are not followed: stop it where it runs"
    if asked_to_stop(directory, attempt) is not None:
        return None
    try:
        ask_to_stop(directory, attempt, reason)
    except OSError as error:
        return f"{directory} can't be written ({error.strerror}): let the receiver's user write there"
    return None


def _resident(run_directory: Path) -> SegmentOpened | None:
    """Whose the newest attempt is, if it is its training that writes here."""
    try:
        headers = read_headers(run_directory)
    except OSError:  # it has just been removed, or is another user's
        return None
    newest = owner(headers) if headers else None
    return newest if newest and newest.writer == TRAINING else None
