"""A search as a run: its progress is that of its trials, its result the best of them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.action import BaseTrainAction
from trainer_hooks.actions.tuning.account import CATEGORY, Account
from trainer_hooks.actions.tuning.order import Order, entrypoint_of, import_path
from trainer_hooks.actions.tuning.params import TuneParams
from trainer_hooks.errors import ActionError, InvalidSetting
from trainer_hooks.run import Run, load_settings, start_run
from trainer_hooks.settings import Settings


def run_search(
    action: type[BaseTrainAction[Any]],
    own: Mapping[str, Any],
    search: TuneParams,
    settings: Mapping[str, Any],
    opened: Callable[[Run], object],
) -> dict[str, Any]:
    """Search over the action's hyper-parameters; `own` are its other ones. Returns the result, as it is told.

    `opened` is told the search's run before the first trial begins.

    Raises:
        MissingPackage, InvalidAction, InvalidParams, InvalidSetting: before anything has started.
        ActionError: if no trial has come to a value of the metric, or none has got its resources.
    """
    from trainer_hooks.actions.tuning import ray as engine

    last_epoch = _last_epoch(own, search)
    engine.check(search, last_epoch)
    entrypoint = entrypoint_of(action)
    if load_settings(**settings).mode == "disabled":
        message = "a search reads what its trials tell, and TRAINER_HOOKS_MODE is disabled; set it to online or offline"
        raise InvalidSetting(message)
    params = {**own, **search.model_dump(exclude_none=True)}
    with start_run(params=params, action=action.action_name, **settings) as run:
        opened(run)
        order = _order(run, entrypoint, own, search, load_settings(**settings))
        account = Account(run, search, order)
        _forget_rays_files(order)
        try:
            engine.fit(search, order, account, seed=_seed(order.parent), last_epoch=last_epoch)
        except engine.SearchStopped:
            pass  # what is known by now is its result, and its run knows why it ends
        finally:
            _forget_rays_files(order)
        result, metrics = account.conclude()
        run.complete(metrics, result=result)
    return result


def _order(run: Run, entrypoint: str, own: Mapping[str, Any], search: TuneParams, settings: Settings) -> Order:
    if run.id is None or run.directory is None:
        message = "this process's run is not recorded, so its trials can't be; see the warning before"
        raise ActionError(message)
    folder = run.directory / CATEGORY
    folder.mkdir(exist_ok=True)
    return Order(
        parent=run.id,
        entrypoint=entrypoint,
        sys_path=import_path(),
        directory=str(Path.cwd()),
        params=dict(own),
        settings=_for_trials(settings, run.directory.parent),
        metric=search.tune_config.metric,
        mode=search.tune_config.mode,
        folder=str(folder),
    )


def _for_trials(settings: Settings, root: Path) -> Settings:
    """The search's settings for its trials: the platform's job is the search, and so is the task in ClearML."""
    return msgspec.structs.replace(
        settings, directory=str(root), run_id=None, job_id=None, callback_url=None, synapse_job=None, clearml=False
    )


def _forget_rays_files(order: Order) -> None:
    """What Ray keeps to go on from is not needed: the trials' own runs tell what is done."""
    shutil.rmtree(Path(order.folder, "tune"), ignore_errors=True)


def _seed(run_id: str) -> int:
    """The same for each attempt at the search: what was tried comes again, and need not be done again."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big")


def _last_epoch(own: Mapping[str, Any], search: TuneParams) -> int | None:
    """How many epochs a trial has at most, as schedulers want to know; None where nothing says so."""
    tried = next((entry.examples() for entry in search.hyperparameters if entry.name == "epochs"), [own.get("epochs")])
    counts = [value for value in tried if isinstance(value, int) and value > 0]
    return max(counts, default=None)
