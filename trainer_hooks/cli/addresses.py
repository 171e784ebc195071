"""Where a run is to be delivered to: as the environment says now, else as it was when the run began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from trainer_hooks.attempts import load_addresses
from trainer_hooks.history import RunHistory
from trainer_hooks.settings import Settings

# Two ways to say one thing: either of them, set now, goes before both of the record.
_STORAGE = {"storage", "storage_bucket"}


def settings_for(history: RunHistory) -> Settings:
    """The settings to deliver this run with, always online.

    A run that began with neither a job nor a platform is not told to one: it has no name there. It may be a second
    training that ran beside the job's own, which nobody is to hear of. For the same reason the environment does not say
    which job of Synapse's it is.

    Raises:
        InvalidSetting: if the environment, the file or the run's record holds a value that can't be used.
    """
    now = Settings.load(mode="online")
    recorded = load_addresses(history.directory)
    set_now = set(now.sources)
    if set_now & _STORAGE:
        set_now |= _STORAGE
    known = set(Settings.__struct_fields__) - set_now - {"job_id"}
    taken: dict[str, Any] = {name: value for name, value in recorded.items() if name in known}
    loaded = Settings.load(mode="online", **taken)
    settings = msgspec.structs.replace(loaded, synapse_job=recorded.get("synapse_job"))
    if history.latest.header.job is None and "callback_url" not in recorded:
        return msgspec.structs.replace(settings, callback_url=None)
    return settings


url_option = click.option("--url", help="A receiver to ask in place of this machine; the token is TRAINER_HOOKS_TOKEN.")


def check_one_place(url: str | None, directory: Path | None) -> None:
    """Raise UsageError where both are given: a command looks at this machine or at a receiver."""
    if url and directory:
        message = "--dir is about this machine, --url about another one: give one of them"
        raise click.UsageError(message)


def runs_root(directory: Path | None) -> Path:
    """The directory of runs: the given one, else the settings'."""
    return directory.absolute() if directory else Settings.load().root
