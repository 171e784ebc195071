"""Where a checkpoint may be had: on this machine's disk, or in storage."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trainer_hooks.checkpoint_files import examine, examine_folder
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.events import CheckpointSaved, Record
from trainer_hooks.files import copy_file
from trainer_hooks.folders import SUFFIX, last_modified, size_of, unpack, unpacked_name
from trainer_hooks.history import RunHistory
from trainer_hooks.journal import read_records
from trainer_hooks.restore.restored import FOLDER, LAST


@dataclass(frozen=True)
class Candidate:
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
        return told.attempt, math.inf if done is None else done, Path(told.key).stem == LAST, self.created


def in_storage(store: CheckpointStore, manifest: Manifest, folder: Path) -> Candidate:
    """The one with that manifest; it is put into that folder."""

    def fetch() -> Path:
        name = unpacked_name(manifest.key, manifest.sha256) if manifest.folder else Path(manifest.key).name
        target = folder / name
        if not (manifest.folder and target.is_dir()):  # another rank may have been faster
            store.fetch(manifest, target)
        return target

    return Candidate(_seconds(manifest.created), manifest, fetch)


def on_this_disk(history: RunHistory) -> Iterator[Candidate]:
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


def _local(directory: Path, record: Record, event: CheckpointSaved, path: Path, *, is_as_told: bool) -> Candidate:
    name = event.names[0] if event.names else LAST
    told = Manifest(
        key=f"{LAST if LAST in event.names else name}{SUFFIX if event.folder else path.suffix}",
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
            return _unpack(path, directory / FOLDER, told.key)
        # Linked before it is read: the courier removes the private copy when it is stored.
        kept = _kept(path, directory / FOLDER / told.key)
        examine(kept, kept.suffix)
        return kept

    return Candidate(record.time, told, fetch)


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


def _seconds(created: str) -> float:
    """When a manifest says that its checkpoint was saved; of one that can't say it, long ago."""
    try:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
