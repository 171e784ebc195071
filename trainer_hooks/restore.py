"""The newest whole checkpoint of a run, for its next attempt to go on from.

It may lie on this machine, as a private copy that waits for its upload or as the host's own file, or in storage, from
where it reaches a container with an empty disk, too. What isn't whole, or isn't what its manifest says, is passed over
for the next one, with a warning; any other trouble is raised: an attempt that began anew, or further back than it need,
would replace what it should have gone on from. The finished model that a host has stripped is no such checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.checkpoint_files import DamagedCheckpoint, examine, examine_folder
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.errors import InvalidSetting, ObjectMissing
from trainer_hooks.events import CheckpointSaved, Metrics, Process, Record, SegmentOpened
from trainer_hooks.files import copy_file
from trainer_hooks.folders import SUFFIX, UNPACKED, last_modified, size_of, unpack, unpacked_name
from trainer_hooks.history import Attempt, RunHistory, read_history
from trainer_hooks.journal import read_records
from trainer_hooks.process import is_alive, this_process
from trainer_hooks.settings import (
    Settings,
    checkpoint_above,
    has_other_ranks,
    is_on_one_machine,
    launch_id,
    main_process_rank,
    run_above,
)
from trainer_hooks.shield import resuming
from trainer_hooks.storage import open_configured

_log = logging.getLogger("trainer_hooks")
_FOLDER = "restored"
_BEST, _LAST = "best", "last"
_LOOKS = 3


@dataclass(frozen=True)
class Restored:
    """A whole checkpoint of an earlier attempt, on this machine's disk at `path`: a file or a folder, as it was saved.

    `epoch` or `iteration` says how many were finished when it was written; None where that isn't known. `attempt` is
    the newest attempt that is known of.
    """

    path: Path
    folder: Path
    """The run's own, for what is made of the checkpoint."""
    run: str
    name: str
    attempt: int
    epoch: int | None = None
    iteration: int | None = None
    metrics: Metrics = field(default_factory=dict)
    best: Manifest | None = None
    """What is said of the best checkpoint in storage, where there is one."""
    _fetch_best: Callable[[Path], None] | None = None

    def fetch_best(self, target: Path) -> bool:
        """Put the best checkpoint so far there, where storage has one and `target` doesn't exist yet.

        A host that goes on in an empty folder writes a best one only when it has improved on it.
        """
        if self._fetch_best is None or target.exists():
            return False
        self._fetch_best(target)
        return True


@dataclass(frozen=True)
class _Candidate:
    """Where a checkpoint may be had. `fetch` gives its path on this disk, or raises."""

    created: float
    told: Manifest
    fetch: Callable[[], Path]

    @property
    def rank(self) -> tuple[int, float, bool, float]:
        """The newest has the highest: by attempt, then by how far it is; of those, `last` is there to go on from.

        One that nobody has told of yet is further than all that have been.
        """
        told = self.told
        done = told.epoch if told.epoch is not None else told.iteration
        return told.attempt, math.inf if done is None else done, Path(told.key).stem == _LAST, self.created


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


def is_launched_within_a_run() -> bool:
    """Whether this is a rank that a process has launched whose run it is part of: that one says what all go on from."""
    return run_above() is not None and main_process_rank() != 0


def restored_above() -> Restored | None:
    """What the process goes on from that has launched this rank; None where it begins anew."""
    path, place = checkpoint_above(), run_above()
    if path is None or place is None:
        return None
    directory, attempt = place
    return Restored(path=path, folder=directory / _FOLDER, run=directory.name, name=_LAST, attempt=attempt)


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
    folder = settings.root / safe_name(run) / _FOLDER
    store = _open_store(settings, run)
    vouched = list(store.manifests()) if store else []
    manifests = [one for one in vouched if one.run == run]
    if manifests:
        folder.mkdir(parents=True, exist_ok=True)
    stored = [_stored(store, one, folder) for one in manifests if not one.final] if store else []
    # Ranks on other machines don't see this one's disk, and all must take the same: what is stored, if anything is.
    here = list(_here(history)) if history and not (store and _has_ranks_elsewhere()) else []
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
    key = next((key for key in store.keys_of_all() if Path(key).stem == _LAST), None)
    if key is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = store.fetch_unvouched(key, folder)
    _log.warning("run %s goes on from %s, which has no manifest, and is whole", run, path)
    return Restored(path=path, folder=folder, run=run, name=_LAST, attempt=1)


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


def _open_store(settings: Settings, run: str) -> CheckpointStore | None:
    storage = open_configured(settings)
    return CheckpointStore(storage, settings.job_id or run) if storage is not None else None


def _stored(store: CheckpointStore, manifest: Manifest, folder: Path) -> _Candidate:
    def fetch() -> Path:
        name = unpacked_name(manifest.key, manifest.sha256) if manifest.folder else Path(manifest.key).name
        target = folder / name
        if not (manifest.folder and target.is_dir()):  # another rank may have been faster
            store.fetch(manifest, target)
        return target

    return _Candidate(_seconds(manifest.created), manifest, fetch)


def _remove_others(folder: Path, kept: Path) -> None:
    """Remove the folders that earlier attempts have gone on from."""
    for path in folder.glob(UNPACKED):
        if path != kept and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _seconds(created: str) -> float:
    """When a manifest says that its checkpoint was saved; of one that can't say it, long ago."""
    try:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _here(history: RunHistory) -> Iterator[_Candidate]:
    """What the journal tells of checkpoints, and is still on this disk: private copies, and the host's own files.

    Those may have been rewritten since they were told of, and then nobody has said of which epoch they are.
    """
    directory = history.directory
    files: dict[str, tuple[Record, CheckpointSaved]] = {}
    for record in read_records(directory):
        event = record.event
        if isinstance(event, CheckpointSaved) and not event.final:
            files[event.path] = record, event
            staged = directory / event.staged if event.staged else None
            if staged is not None and staged.is_file():
                yield _local(directory, record, event, staged, is_as_told=True)
    for path, (record, event) in files.items():
        with contextlib.suppress(OSError):
            size, modified = size_of(path), last_modified(Path(path))
            if _can_be_whole(event, size):
                is_as_told = size == event.size and modified <= record.time
                yield _local(directory, record, event, Path(path), is_as_told=is_as_told)


def _can_be_whole(event: CheckpointSaved, size: int) -> bool:
    """Whether what is there now is of the kind that it was; a folder that has lost something is being deleted."""
    mode = Path(event.path).stat().st_mode
    return stat.S_ISDIR(mode) and size >= event.size if event.folder else stat.S_ISREG(mode)


def _local(directory: Path, record: Record, event: CheckpointSaved, path: Path, *, is_as_told: bool) -> _Candidate:
    name = event.names[0] if event.names else _LAST
    told = Manifest(
        key=f"{_LAST if _LAST in event.names else name}{SUFFIX if event.folder else path.suffix}",
        sha256="",
        size=event.size,
        epoch=event.epoch if is_as_told else None,
        iteration=event.iteration if is_as_told else None,
        metrics=event.metrics if is_as_told else {},
        final=False,
        run=record.run,
        attempt=record.attempt,
        created="",
    )

    def fetch() -> Path:
        if path.is_dir():
            examine_folder(path)
            return path
        if path == Path(event.path):
            examine(path, path.suffix)
            return path
        if event.folder:
            return _unpack(path, directory / _FOLDER, told.key)
        # Linked before it is read: the courier removes the private copy when it is stored.
        kept = _kept(path, directory / _FOLDER / told.key)
        examine(kept, kept.suffix)
        return kept

    return _Candidate(record.time, told, fetch)


def _unpack(staged: Path, folder: Path, key: str) -> Path:
    archive = _kept(staged, folder / f"{os.getpid()}-{key}")  # each rank's own, and gone when it is unpacked
    try:
        target = folder / unpacked_name(key, examine(archive, SUFFIX).sha256)
        unpack(archive, target)
    finally:
        archive.unlink(missing_ok=True)
    return target


def _kept(staged: Path, target: Path) -> Path:
    """The private copy by another name: the courier removes it when it is stored, and nobody ever writes to it."""
    target.parent.mkdir(exist_ok=True)
    arriving = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            arriving.hardlink_to(staged)
        except OSError:
            copy_file(staged, arriving)
        arriving.replace(target)
    finally:
        arriving.unlink(missing_ok=True)  # a link to what lies there already is not moved
    return target
