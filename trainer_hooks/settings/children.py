"""What a process of ours tells those that it starts, and those below them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from trainer_hooks.settings.environ import variables_set

AUTOLOG = "TRAINER_HOOKS_AUTOLOG"
SUPERVISOR = "TRAINER_HOOKS_SUPERVISOR"
_WITHIN = "TRAINER_HOOKS_WITHIN"
_GOES_ON_FROM = "TRAINER_HOOKS_GOES_ON_FROM"


def told_to_children(
    run_directory: Path, attempt: int, goes_on_from: Path | None = None
) -> AbstractContextManager[None]:
    """Processes that are started within this block know of which run they are part.

    `goes_on_from` is the checkpoint that a training goes on from whose ranks they are.
    """
    # Said even where there is none: what an outer block has said is of another training.
    checkpoint = str(goes_on_from) if goes_on_from else ""
    return variables_set({_WITHIN: f"{attempt}:{run_directory}", _GOES_ON_FROM: checkpoint})


def run_above(environ: Mapping[str, str] | None = None) -> tuple[Path, int] | None:
    """The directory and the attempt of the run that this process was started within; None where there is none."""
    attempt, _, directory = (os.environ if environ is None else environ).get(_WITHIN, "").partition(":")
    return (Path(directory), int(attempt)) if attempt.isdecimal() and directory else None


def checkpoint_above(environ: Mapping[str, str] | None = None) -> Path | None:
    """The checkpoint that this rank's training goes on from, as the process says that has launched it."""
    told = (os.environ if environ is None else environ).get(_GOES_ON_FROM)
    return Path(told) if told else None


def autolog_frameworks(environ: Mapping[str, str] | None = None) -> list[str]:
    """The frameworks that `trainer-hooks run` attaches to, as TRAINER_HOOKS_AUTOLOG lists them; empty: all known."""
    listed = (os.environ if environ is None else environ).get(AUTOLOG, "")
    return [name.strip() for name in listed.split(",") if name.strip()]


def supervisor_name(environ: Mapping[str, str] | None = None) -> str | None:
    """Which process the `trainer-hooks run` is that this one descends from; None where there is none."""
    return (os.environ if environ is None else environ).get(SUPERVISOR) or None
