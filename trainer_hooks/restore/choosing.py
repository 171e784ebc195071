"""The newest whole checkpoint of a run, for its next attempt to go on from.

It may lie on this machine, as a private copy that waits for its upload or as the host's own file, or in storage, from
where it reaches a container with an empty disk, too. What isn't whole, or isn't what its manifest says, is passed over
for the next one, with a warning; any other trouble is raised: an attempt that began anew, or further back than it need,
would replace what it should have gone on from. The finished model that a host has stripped is no such checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.checkpoint_files import DamagedCheckpoint
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.errors import InvalidSetting, ObjectMissing
from trainer_hooks.events import Process, SegmentOpened
from trainer_hooks.folders import UNPACKED
from trainer_hooks.history import Attempt, RunHistory, read_history
from trainer_hooks.process import is_alive, this_process
from trainer_hooks.restore.candidates import in_storage, on_this_disk
from trainer_hooks.restore.restored import FOLDER, LAST, Restored
from trainer_hooks.settings import (
    Settings,
    has_other_ranks,
    is_on_one_machine,
    launch_id,
    main_process_rank,
)
from trainer_hooks.shield import resuming
from trainer_hooks.storage import open_configured

_log = logging.getLogger("trainer_hooks")
_BEST = "best"
_LOOKS = 3


def restore(settings: Settings) -> Restored | None:
    """What the next attempt of the run that the settings name goes on from; None where it is to begin anew.

    That is so where there is nothing, where the newest training has completed, and while it is at work in another
    process.

    Raises:
        InvalidSetting: if neither `run_id` nor `job_id` says which run it is.
        CannotResume: if it can't be told, or not be had.
    """
    run = named_run(settings)
    with resuming():
        history = _before_this_launch(settings.root / safe_name(run))
        return None if history is not None and _begins_anew(history) else _newest(settings, run, history)


def newest_checkpoint(settings: Settings) -> Restored | None:
    """The newest whole checkpoint of the run that the settings name, whatever has become of it; None without one.

    Raises:
        As `restore`.
    """
    run = named_run(settings)
    with resuming():
        return _newest(settings, run, _before_this_launch(settings.root / safe_name(run)))


def _newest(settings: Settings, run: str, history: RunHistory | None) -> Restored | None:
    # Some libraries draw from the global generator as they are imported, or when they retry.
    state = random.getstate()
    try:
        for looks_left in reversed(range(_LOOKS)):
            with contextlib.suppress(_Moving):
                return _look(settings, run, history, at_last=not looks_left)
    finally:
        random.setstate(state)
    raise AssertionError  # pragma: no cover - the last look returns


def named_run(settings: Settings) -> str:
    """The run that the settings name.

    Raises:
        InvalidSetting: if they don't.
    """
    run = settings.run_id or settings.job_id or settings.synapse_job
    if run is None:
        message = "to resume, it must be known which run: set run_id (TRAINER_HOOKS_RUN_ID) or job_id (JOB_ID)"
        raise InvalidSetting(message)
    return run


def _before_this_launch(directory: Path) -> RunHistory | None:
    """The run's attempts, without the one that this very launch's main process may have begun already."""
    history = read_history(directory)
    launch = launch_id()
    if main_process_rank() != 0:
        history.attempts = [one for one in history.attempts if not _is_of_this_launch(one.header, launch)]
    return history if history.attempts else None


def _is_of_this_launch(header: SegmentOpened, launch: str | None) -> bool:
    # A launcher that gives its ranks nothing in common: whatever is at work under this name is their main process.
    return header.launch == launch if launch else is_alive(header.process) is True


def _begins_anew(history: RunHistory) -> bool:
    """Whether the newest training needs no other, or can't have one; a validation or test by itself is none."""
    trainings = [one for one in history.attempts if one.state.started is None or _is_training(one)]
    if not trainings:
        return False
    latest = trainings[-1]
    if latest.state.ended is None and _lives_elsewhere(latest.header.process):
        _log.warning("run %s is at work in another process: it is not resumed here", history.run)
        return True
    if latest.status == "completed":
        _log.warning("run %s has completed: there is nothing to resume", history.run)
        return True
    return False


def _is_training(attempt: Attempt) -> bool:
    started = attempt.state.started
    return started is not None and started.operation == "training"


def _lives_elsewhere(process: Process) -> bool:
    return process != this_process() and is_alive(process) is True


class _Moving(Exception):
    """What was found has vanished, or isn't what was said of it: couriers replace checkpoints, so look once more."""


def _look(settings: Settings, run: str, history: RunHistory | None, *, at_last: bool) -> Restored | None:
    folder = settings.root / safe_name(run) / FOLDER
    store = _open_store(settings, run)
    vouched = list(store.manifests()) if store else []
    manifests = [one for one in vouched if one.run == run]
    if manifests:
        folder.mkdir(parents=True, exist_ok=True)
    stored = [in_storage(store, one, folder) for one in manifests if not one.final] if store else []
    # Ranks on other machines don't see this one's disk, and all must take the same: what is stored, if anything is.
    here = list(on_this_disk(history)) if history and not (store and _has_ranks_elsewhere()) else []
    for candidate in sorted([*here, *stored], key=lambda one: one.rank, reverse=True):
        try:
            path = candidate.fetch()
        except (DamagedCheckpoint, FileNotFoundError, ObjectMissing) as error:
            if not at_last:
                raise _Moving from error
            _log.warning("not resumed from checkpoint %r: %s", candidate.told.key, error)
            continue
        return _restored(candidate.told, path, folder, manifests, store)
    return _unvouched(store, run, folder) if store and not here and not vouched else None


def _has_ranks_elsewhere() -> bool:
    """Whether some of this launch's ranks are on other machines."""
    return has_other_ranks() and not is_on_one_machine()


def _unvouched(store: CheckpointStore, run: str, folder: Path) -> Restored | None:
    """A stored `last` without a manifest: whoever stored it was killed before it could say what it is."""
    key = next((key for key in store.keys_of_all() if Path(key).stem == LAST), None)
    if key is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = store.fetch_unvouched(key, folder)
    _log.warning("run %s goes on from %s, which has no manifest, and is whole", run, path)
    return Restored(path=path, folder=folder, run=run, name=LAST, attempt=1)


def _restored(
    told: Manifest, path: Path, folder: Path, manifests: Sequence[Manifest], store: CheckpointStore | None
) -> Restored:
    _log.warning("run %s goes on from its checkpoint of %s: %s", told.run, _where(told), path)
    best = next((one for one in manifests if Path(one.key).stem == _BEST and not one.final), None)
    _remove_others(folder, path)
    attempt = max([told.attempt, *(manifest.attempt for manifest in manifests)])
    return Restored(
        path=path,
        folder=folder,
        run=told.run,
        name=Path(told.key).stem,
        attempt=attempt,
        epoch=told.epoch,
        iteration=told.iteration,
        metrics=told.metrics,
        best=best,
        _fetch_best=partial(store.fetch, best) if store and best else None,
    )


def _where(told: Manifest) -> str:
    if told.epoch is not None:
        return f"epoch {told.epoch}"
    return "an epoch that was not told yet" if told.iteration is None else f"iteration {told.iteration}"


def _remove_others(folder: Path, kept: Path) -> None:
    """Remove the folders that earlier attempts have gone on from."""
    for path in folder.glob(UNPACKED):
        if path != kept and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _open_store(settings: Settings, run: str) -> CheckpointStore | None:
    storage = open_configured(settings)
    return CheckpointStore(storage, settings.job_id or run) if storage is not None else None
