"""Which process speaks, of which run: asked here, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.attempts import claim_somewhere, find_launched, load_addresses
from trainer_hooks.journal import owner, read_headers
from trainer_hooks.last_word import recent_state
from trainer_hooks.process import is_alive, this_process
from trainer_hooks.restore import Restored
from trainer_hooks.run.joined import JoinedRun
from trainer_hooks.run.open_runs import keep, surrounding_run
from trainer_hooks.run.run import Run
from trainer_hooks.settings import Settings, main_process_rank, run_above

_FOR_COPIES = ("storage", "clearml", "synapse")
"""The beginnings of settings that say of what private copies are to be made."""


def open_run(
    settings: Settings,
    *,
    resumed: str | None = None,
    clearml: bool | None = None,
    restored: Restored | None = None,
    alone: bool = False,
) -> Run:
    """Open a run for this process, or a silent one where this process is not to speak.

    Where another run takes trainings in, in this process or in the one that has started it, it is a part of that one,
    and tells in its stead, unless it is to be `alone` or an argument names it.

    Of a rank that is not the main one, nothing is heard but its failure. `resumed` is the id of an earlier run that is
    being continued, `restored` the checkpoint it goes on from; `clearml` goes before the setting. A directory that
    can't be written is replaced by one among the temporary files, with a warning: a training is never stopped for it.
    """
    if clearml is not None:
        settings = msgspec.structs.replace(settings, clearml=clearml)
    rank = main_process_rank()
    if settings.mode == "disabled":
        return Run(None, settings)
    named = settings.sources.get("run_id") == "argument"
    above = None if alone or named else _part_of_this_process() or _open_run_above()
    if above is not None:
        return join_run(*above)
    run = (
        JoinedRun(lambda: find_launched(settings), rank, settings) if rank else _claim_run(settings, resumed, restored)
    )
    run.checkpoint = restored
    if run.id is not None:
        keep(run)
    return run


def _claim_run(settings: Settings, resumed: str | None, restored: Restored | None) -> Run:
    if restored is None:
        return Run(claim_somewhere(settings, resumed), settings)
    return Run(claim_somewhere(settings, restored.run, after=restored.attempt), settings)


def join_run(directory: str, attempt: int) -> Run:
    """In a process that a run's own process has launched: tell in that one's stead (see `Run.hand_over`).

    Where checkpoints go is known from the run's own record; credentials are the courier's business, not this process's.
    """
    place = Path(directory)
    recorded = load_addresses(place).items()
    addresses: dict[str, Any] = {name: value for name, value in recorded if name.startswith(_FOR_COPIES)}
    run = JoinedRun(lambda: (place, attempt), main_process_rank(), Settings.load(**addresses))
    keep(run)
    return run


def _part_of_this_process() -> tuple[str, int] | None:
    around = surrounding_run()
    return around.hand_over() if around is not None else None


def _open_run_above() -> tuple[str, int] | None:
    """The run that this process was started within, while that is at work in another process of this machine."""
    place = run_above()
    if place is None:
        return None
    directory, attempt = place
    headers = {number: header for number, header in read_headers(directory).items() if header.attempt == attempt}
    if not headers or recent_state(directory, attempt).ended is not None:
        return None
    process = owner(headers, attempt).process
    return (str(directory), attempt) if is_alive(process) and process != this_process() else None
