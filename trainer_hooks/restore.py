"""The newest whole checkpoint of a run, for its next attempt to go on from.

It may lie on this machine, as a private copy that waits for its upload or as the host's own file, or in storage, from
where it reaches a container with an empty disk, too. The newest is taken; what isn't whole, or isn't what its manifest
says, is passed over for the next one, with a warning. The finished model that a host has stripped is none of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.checkpoint_files import DamagedCheckpoint, examine
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.errors import CannotResume, InvalidSetting, StorageError
from trainer_hooks.events import CheckpointSaved, Metrics, Process, Record
from trainer_hooks.files import copy_file
from trainer_hooks.history import RunHistory, read_history
from trainer_hooks.journal import read_records
from trainer_hooks.process import is_alive, this_process
from trainer_hooks.settings import Settings, main_process_rank
from trainer_hooks.storage import open_storage

_log = logging.getLogger("trainer_hooks")
_FOLDER = "restored"
_BEST, _LAST = "best", "last"


@dataclass(frozen=True)
class Restored:
    """A whole checkpoint of an earlier attempt, on this machine's disk at `path`.

    `epoch` or `iteration` says how many were finished when it was written; None where that isn't known. `attempt` is
    the newest attempt that is known of.
    """

    path: Path
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

    created: datetime
    told: Manifest
    fetch: Callable[[], Path]


def restore(settings: Settings) -> Restored | None:
    """The newest whole checkpoint of the run that the settings name; None where its next attempt is to begin anew.

    That is so where there is none, where the newest attempt has completed, and while the run is at work in another
    process.

    Raises:
        InvalidSetting: if neither `run_id` nor `job_id` says which run it is.
        CannotResume: if storage can't be asked, and nothing is here either.
    """
    run = named_run(settings)
    history = _history(settings.root / safe_name(run))
    if history is not None and _begins_anew(history):
        return None
    # Some libraries draw from the global generator as they are imported, or when they retry.
    state = random.getstate()
    try:
        return _newest(settings, run, history)
    finally:
        random.setstate(state)


def named_run(settings: Settings) -> str:
    """The run that the settings name.

    Raises:
        InvalidSetting: if they don't.
    """
    run = settings.run_id or settings.job_id
    if run is None:
        message = "to resume, it must be known which run: set run_id (TRAINER_HOOKS_RUN_ID) or job_id (JOB_ID)"
        raise InvalidSetting(message)
    return run


def _history(directory: Path) -> RunHistory | None:
    history = read_history(directory)
    return history if history.attempts else None


def _begins_anew(history: RunHistory) -> bool:
    latest = history.latest
    if latest.state.ended is None and _lives_elsewhere(latest.header.process):
        if main_process_rank() != 0:  # its own job's main process has been quicker to begin
            return False
        _log.warning("run %s is at work in another process: it is not resumed here", history.run)
        return True
    if latest.status == "completed":
        _log.warning("run %s has completed: there is nothing to resume", history.run)
        return True
    return False


def _lives_elsewhere(process: Process) -> bool:
    return process != this_process() and is_alive(process) is True


def _newest(settings: Settings, run: str, history: RunHistory | None) -> Restored | None:
    folder = settings.root / safe_name(run) / _FOLDER
    store = _open_store(settings, run)
    manifests, trouble = _manifests(store)
    here = list(_here(history)) if history else []
    stored = [_stored(store, manifest, folder) for manifest in manifests if not manifest.final] if store else []
    for candidate in sorted([*here, *stored], key=_rank, reverse=True):
        try:
            path = candidate.fetch()
        except (DamagedCheckpoint, StorageError, OSError) as error:
            _log.warning("not resumed from checkpoint %r: %s", candidate.told.key, error)
            trouble = trouble or (error if isinstance(error, StorageError) else None)
            continue
        return _restored(candidate.told, path, manifests, store)
    if trouble is not None:
        message = (
            f"run {run} is to be resumed, and its checkpoints can't be read: {trouble}; mend the storage and start "
            "again, or set TRAINER_HOOKS_RESUME=never to begin anew, which replaces them"
        )
        raise CannotResume(message) from trouble
    return None


def _rank(candidate: _Candidate) -> tuple[datetime, bool]:
    """Of those that were written together, `last` is the one that is there to go on from."""
    return candidate.created, Path(candidate.told.key).stem == _LAST


def _restored(told: Manifest, path: Path, manifests: Sequence[Manifest], store: CheckpointStore | None) -> Restored:
    where = f"epoch {told.epoch}" if told.epoch is not None else f"iteration {told.iteration}"
    _log.warning("run %s goes on from its checkpoint of %s: %s", told.run, where, path)
    best = next((one for one in manifests if Path(one.key).stem == _BEST and not one.final), None)
    attempt = max([told.attempt, *(manifest.attempt for manifest in manifests)])
    return Restored(
        path=path,
        run=told.run,
        name=Path(told.key).stem,
        attempt=attempt,
        epoch=told.epoch,
        iteration=told.iteration,
        metrics=told.metrics,
        best=best,
        _fetch_best=partial(store.fetch, best) if store and best else None,
    )


def _open_store(settings: Settings, run: str) -> CheckpointStore | None:
    if settings.storage_uri is None:
        return None
    storage = open_storage(
        settings.storage_uri,
        endpoint=settings.storage_endpoint,
        access_key=settings.storage_access_key,
        secret_key=settings.storage_secret_key,
    )
    return CheckpointStore(storage, settings.job_id or run)


def _manifests(store: CheckpointStore | None) -> tuple[list[Manifest], StorageError | None]:
    try:
        return (list(store.manifests()) if store else []), None
    except StorageError as error:
        return [], error


def _stored(store: CheckpointStore, manifest: Manifest, folder: Path) -> _Candidate:
    def fetch() -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / Path(manifest.key).name
        store.fetch(manifest, target)
        return target

    return _Candidate(datetime.fromisoformat(manifest.created), manifest, fetch)


def _here(history: RunHistory) -> Iterator[_Candidate]:
    """What the journal tells of checkpoints, and is still on this disk: of each file the newest telling."""
    newest: dict[str, Record] = {}
    for record in read_records(history.directory):
        if isinstance(record.event, CheckpointSaved) and not record.event.final:
            newest[record.event.staged or record.event.path] = record
    for record in newest.values():
        if isinstance(record.event, CheckpointSaved):
            path = _on_disk(history.directory, record.time, record.event)
            if path is not None:
                yield _local(history.directory, record, record.event, path)


def _on_disk(directory: Path, told_at: float, event: CheckpointSaved) -> Path | None:
    """The private copy, or else the host's own file, unless the host has rewritten it since."""
    staged = directory / event.staged if event.staged else None
    for path in (staged, Path(event.path)):
        with contextlib.suppress(OSError):
            if path is not None and path.is_file():
                status = path.stat()
                if status.st_size == event.size and (path == staged or status.st_mtime <= told_at):
                    return path
    return None


def _local(directory: Path, record: Record, event: CheckpointSaved, path: Path) -> _Candidate:
    name = event.names[0] if event.names else _LAST
    told = Manifest(
        key=f"{name}{path.suffix}",
        sha256="",
        size=event.size,
        epoch=event.epoch,
        iteration=event.iteration,
        metrics=event.metrics,
        final=False,
        run=record.run,
        attempt=record.attempt,
        created="",
    )

    def fetch() -> Path:
        examine(path, path.suffix)
        return path if path == Path(event.path) else _kept(path, directory / _FOLDER / told.key)

    return _Candidate(datetime.fromtimestamp(record.time, timezone.utc), told, fetch)


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
