"""A run's checkpoints into storage: each whole, beside a manifest, and announced in the journal when it is there.

How they lie there, and why a manifest is never wrong, is told in `trainer_hooks.checkpoint_store`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from trainer_hooks.checkpoint_files import DamagedCheckpoint, WholeFile, examine
from trainer_hooks.checkpoint_store import CheckpointStore, Manifest
from trainer_hooks.destinations import Context, Receipt
from trainer_hooks.errors import Rejected, RetryLater, StorageError, StorageRefused
from trainer_hooks.events import CheckpointSaved, CheckpointStored, Event, Record
from trainer_hooks.folders import SUFFIX as PACKED
from trainer_hooks.storage import Storage, open_configured

_log = logging.getLogger(__name__)

_STAGED = "staged"
_LAST = "last"
# A missing bucket or permission is mended by people, and until then no checkpoint may be given up.
_AFTER_REFUSAL = 30.0

_Identity: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class _Upload:
    """A record, and under which of its names it is still worth storing."""

    record: Record
    event: CheckpointSaved
    names: list[str]


HANDLES: tuple[type[Event], ...] = (CheckpointSaved,)


def open_destination(context: Context) -> Checkpoints | None:
    """The destination, where a storage is set.

    Raises:
        SetupError: if the storage's address can't be used.
    """
    storage = open_configured(context.settings)
    return Checkpoints(context, storage) if storage is not None else None


class Checkpoints:
    """Stores the private copies that training made, and removes them."""

    waits_for_checkpoints: bool = False

    def __init__(self, context: Context, storage: Storage) -> None:
        self._context = context
        self._store = CheckpointStore(storage, context.job)
        self._examined: dict[Path, tuple[_Identity, WholeFile]] = {}

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        """Store in order; a `last` that a newer one in `records` replaces is given up before anything is sent."""
        with _retrying():
            uploads = self._plan(records)
        for upload in uploads:
            with _retrying():
                receipt = self._deliver(upload)
            yield [receipt]

    def close(self) -> None:
        """Nothing is held open."""

    def _plan(self, records: Sequence[Record]) -> list[_Upload]:
        uploads: list[_Upload] = []
        replaced = False
        for record in reversed(records):
            if not isinstance(record.event, CheckpointSaved):
                continue
            upload = _Upload(record, record.event, list(dict.fromkeys(record.event.names)))
            if replaced and not upload.event.final:
                upload = self._without_last(upload)
            # A damaged newer one must not cost us the older one that is whole.
            replaced = replaced or (_LAST in upload.names and self._is_whole(upload.event))
            uploads.append(upload)
        return uploads[::-1]

    def _without_last(self, upload: _Upload) -> _Upload:
        names = [name for name in upload.names if name != _LAST]
        if not names:
            # At once: while storage is down, private copies would fill the disk.
            self._discard(upload.event)
        return replace(upload, names=names)

    def _deliver(self, upload: _Upload) -> Receipt:
        record, event = upload.record, upload.event
        if event.names and not upload.names:
            return Receipt(record, superseded=True)
        self._go_on()
        try:
            staged = self._staged(event)
            whole = self._examine(event, staged)
        except Rejected as refusal:
            self._discard(event)
            return Receipt(record, refused=str(refusal))
        except FileNotFoundError:
            return self._look_up(upload)
        manifests = {name: self._manifest(upload, name, whole) for name in upload.names}
        manifests = {name: ours for name, ours in manifests.items() if not self._is_outdated(ours)}
        if not manifests:
            self._discard(event)
            return Receipt(record, superseded=True)
        self._store.store(staged, list(manifests.values()), self._go_on)
        self._announce(manifests)
        self._discard(event)
        return Receipt(record)

    def _staged(self, event: CheckpointSaved) -> Path:
        """Where the private copy is.

        Raises:
            Rejected: if there is none, or none that may be touched.
        """
        if not event.names:
            raise Rejected("it has no name to be stored under")
        if event.staged is None:
            message = f"no private copy of it was made{': ' + event.uncopied if event.uncopied else ''}"
            raise Rejected(message)
        folder = (self._context.run_directory / _STAGED).resolve()
        staged = (self._context.run_directory / event.staged).resolve()
        if folder not in staged.parents:
            message = f"its private copy should be in the run's folder {_STAGED!r}, not at {event.staged!r}"
            raise Rejected(message)
        if staged.is_dir():
            raise Rejected("its private copy is a directory, and not a file")
        if staged.exists() and not staged.is_file():  # to open a FIFO would be to wait for ever
            raise Rejected("it is no regular file")
        return staged

    def _examine(self, event: CheckpointSaved, staged: Path) -> WholeFile:
        """Read the private copy, once however often its upload has to be tried.

        Raises:
            Rejected: if it isn't a whole checkpoint.
        """
        status = staged.stat()
        if status.st_size != event.size:
            message = f"its private copy has {status.st_size} bytes, and the checkpoint had {event.size}"
            raise Rejected(message)
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._examined.get(staged)
        if known is not None and known[0] == identity:
            return known[1]
        try:
            whole = examine(staged, _suffix(event))
        except DamagedCheckpoint as error:
            raise Rejected(str(error)) from error
        self._examined[staged] = (identity, whole)
        return whole

    def _is_whole(self, event: CheckpointSaved) -> bool:
        self._go_on()
        try:
            self._examine(event, self._staged(event))
        except (Rejected, FileNotFoundError):
            return False
        return True

    def _is_outdated(self, ours: Manifest) -> bool:
        """Whether a later checkpoint of the same run is there already: the run may have gone on from another disk.

        By the clock alone, an attempt on a machine that is slow would store nothing; by the attempt alone, one that
        begins anew on an empty disk, and so numbers from 1.
        """
        present = self._store.manifest(ours.key)
        if present is None or present.run != ours.run:
            return False
        return present.attempt >= ours.attempt and present.created > ours.created

    def _look_up(self, upload: _Upload) -> Receipt:
        """What became of a record whose private copy is gone: it was stored, and we died before we could say so."""
        fates = {self._fate(upload, name) for name in upload.names}
        if "lost" in fates:
            return Receipt(upload.record, refused="its private copy is gone before it was stored")
        return Receipt(upload.record, superseded=fates == {"superseded"})

    def _fate(self, upload: _Upload, name: str) -> str:
        record, event = upload.record, upload.event
        present = self._store.manifest(self._key(event, name))
        if present is None or present.run != record.run:
            return "lost"
        there, ours = (present.attempt, present.created), (record.attempt, _utc(record.time))
        if (there, present.epoch, present.iteration, present.size) == (ours, event.epoch, event.iteration, event.size):
            return "stored"
        return "superseded" if there > ours else "lost"

    def _announce(self, manifests: Mapping[str, Manifest]) -> None:
        said = self._context.stored()
        for name, manifest in manifests.items():
            uri, manifest_uri = self._store.uris(manifest.key)
            event = CheckpointStored(
                name=name,
                uri=uri,
                manifest_uri=manifest_uri,
                size=manifest.size,
                sha256=manifest.sha256,
                epoch=manifest.epoch,
                iteration=manifest.iteration,
                metrics=manifest.metrics,
                final=manifest.final,
            )
            if name not in said or _identity(said[name]) != _identity(event):
                self._context.emit(event)

    def _discard(self, event: CheckpointSaved) -> None:
        """Remove the private copy, if that is what `staged` names; one that stays costs room, and no truth."""
        try:
            staged = self._staged(event)
            self._examined.pop(staged, None)
            staged.unlink(missing_ok=True)
        except Rejected:
            return
        except OSError as error:
            _log.warning("can't remove the private copy %s: %s", event.staged, error.strerror)

    def _manifest(self, upload: _Upload, name: str, whole: WholeFile) -> Manifest:
        record, event = upload.record, upload.event
        return Manifest(
            key=self._key(event, name),
            sha256=whole.sha256,
            size=whole.size,
            epoch=event.epoch,
            iteration=event.iteration,
            metrics=event.metrics,
            final=event.final,
            run=record.run,
            attempt=record.attempt,
            created=_utc(record.time),
            folder=event.folder,
        )

    def _key(self, event: CheckpointSaved, name: str) -> str:
        return self._store.key(name, _suffix(event))

    def _go_on(self) -> None:
        if self._context.stopping():
            raise RetryLater("stopping")


@contextlib.contextmanager
def _retrying() -> Iterator[None]:
    try:
        yield
    except StorageRefused as error:
        raise RetryLater(str(error), after=_AFTER_REFUSAL) from error
    except (StorageError, OSError) as error:
        raise RetryLater(str(error)) from error


def _suffix(event: CheckpointSaved) -> str:
    return PACKED if event.folder else Path(event.path).suffix


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="microseconds")


def _identity(event: CheckpointStored) -> tuple[str, int | None, int | None, bool]:
    return event.sha256, event.epoch, event.iteration, event.final
