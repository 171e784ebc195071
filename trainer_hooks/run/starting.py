"""What users call: a run for a loop of their own, a checkpoint to go on from; and what is checked at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from trainer_hooks.clearml_task import check_installed
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.events import Operation, RunStarted
from trainer_hooks.restore import Restored, named_run, newest_checkpoint, restore
from trainer_hooks.run.joined import JoinedRun
from trainer_hooks.run.open_runs import surround, surrounding_run
from trainer_hooks.run.run import Run
from trainer_hooks.run.speaking import open_run
from trainer_hooks.settings import Settings
from trainer_hooks.storage import check_storage


def start_run(
    *,
    params: Mapping[str, Any] | None = None,
    operation: Operation = "training",
    takes_in_trainings: bool = False,
    **details: Any,
) -> Run:
    """Open a run for a hand-written loop; use it in `with`, or end it by `complete`, `fail` or `interrupt`.

    `details` are settings by their names in `Settings` (`run_id`, `job_id`, `storage`, …) and fields of `RunStarted`
    (`framework`, `task`, `model`, `total_epochs`, `dataset`, `class_names`, `output_dir`). With `resume="auto"`,
    `run.checkpoint` is what to go on from, or None. With `takes_in_trainings`, those of frameworks that `autolog` is
    attached to are told as part of this run while it is open, and don't end it; and so is any run without a name of its
    own that is opened meanwhile, here or in a process that is started here.

    Raises:
        InvalidSetting, MissingPackage: for a keyword that nobody knows, or a setting that can't be used.
        CannotResume: with `resume="auto"`, if storage can't be asked what there is to go on from.
    """
    _check_details(operation, details)
    own = {name: details.pop(name) for name in list(details) if name in Settings.__struct_fields__}
    settings = load_settings(**own)
    restored = restore(settings) if settings.resumes else None
    around = None if takes_in_trainings else surrounding_run()
    run = open_run(settings, restored=restored, alone=takes_in_trainings)
    if takes_in_trainings:
        surround(run)
    told = around if around is not None and isinstance(run, JoinedRun) else run  # that one has told its start
    told.started(operation=operation, params=params, **details)
    return run


def get_checkpoint(**settings: Any) -> Restored | None:
    """The newest whole checkpoint of a run, on this disk or fetched from storage; None where there is none.

    `settings` are options by their names in `Settings`; `run_id` or `job_id`, there or in the environment, says which
    run. Verified by the SHA-256 in its manifest. `path` stays as it is until the next attempt is restored.

    Raises:
        InvalidSetting, MissingPackage: for a setting that can't be used, or where no run is named.
        CannotResume: if storage can't be asked, or the checkpoint not be had.
    """
    return newest_checkpoint(load_settings(**settings))


def load_settings(**arguments: Any) -> Settings:
    """The settings, and what can be told at once of whether they will do.

    Raises:
        InvalidSetting, MissingPackage: with the mend in the message.
    """
    settings = Settings.load(**arguments)
    if settings.resumes:
        named_run(settings)
    if settings.storage_uri is not None and settings.mode != "disabled":
        check_storage(settings.storage_uri)
    if settings.clearml and settings.mode != "disabled":
        check_installed()
    return settings


def _check_details(operation: str, details: Mapping[str, Any]) -> None:
    """Raise InvalidSetting for what `start_run` doesn't know."""
    if operation not in get_args(Operation):
        message = f"operation is {operation!r} (known: {', '.join(get_args(Operation))})"
        raise InvalidSetting(message)
    known = [name for kind in (RunStarted, Settings) for name in kind.__struct_fields__]
    for name in details:
        if name not in known:
            message = f"{name!r} is neither a setting nor a detail of a run (known: {', '.join(known)})"
            raise InvalidSetting(message)
