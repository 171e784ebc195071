"""Where a checkpoint that a run has told of can be had from.

What a run tells is anybody's word: a URI leads into the configured store, or to what its own job has uploaded here,
and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from trainer_hooks.checkpoint_store import CheckpointStore
from trainer_hooks.errors import ObjectMissing, StorageRefused
from trainer_hooks.receiver.objects import EXPIRES_IN, Objects
from trainer_hooks.receiver.shown import RunTold
from trainer_hooks.storage import GivesAddresses, KeepsFiles, Storage, key_of


class NotToBeHad(LookupError):
    """The checkpoint can't be had from this server; the message says why, and names the URI."""


@dataclass(frozen=True)
class InStore:
    """It can be fetched from this address, for a while and without credentials."""

    address: str


@dataclass(frozen=True)
class OnDisk:
    """It is this file. `sha256` is None where nobody vouches for one."""

    path: Path
    sha256: str | None = None


Place: TypeAlias = InStore | OnDisk


class Checkpoints:
    """The checkpoints of all runs. Safe to use from any thread."""

    def __init__(self, objects: Objects, store: Storage | None) -> None:
        self._objects = objects
        self._store = store

    def find(self, run: RunTold, name: str) -> Place:
        """Where the newest checkpoint of that name is.

        Raises:
            NotToBeHad: if there is none, or it isn't here.
            StorageError: if the store can't sign an address.
        """
        shown = [one for attempt in reversed(run.attempts) for one in attempt.checkpoints if one.name == name]
        if not shown:
            message = f"run {run.summary.run!r} has no checkpoint {name!r}"
            raise NotToBeHad(message)
        uri = next((one.uri for one in shown if one.uri), None)
        if uri is None:
            message = f"checkpoint {name!r} of run {run.summary.run!r} is in no storage yet"
            raise NotToBeHad(message)
        return self._at(uri, run.summary.job)

    def _at(self, uri: str, job: str) -> Place:
        uploaded = self._objects.name_of(job, uri)
        key = uri if uploaded else key_of(self._store, uri) if self._store else None
        try:
            if key and isinstance(self._store, GivesAddresses):
                return InStore(self._store.download_address(key, EXPIRES_IN))
            if uploaded:
                return OnDisk(self._objects.file(job, uploaded))
            if key and isinstance(self._store, KeepsFiles):
                return OnDisk(path := self._store.file(key), _vouched_for(self._store, key, path))
        except (ObjectMissing, StorageRefused) as error:
            message = f"the checkpoint at {uri} can't be had: {error}"
            raise NotToBeHad(message) from error
        message = (
            f"the checkpoint is at {uri}, which was not uploaded to this server, nor is it in its TRAINER_HOOKS_STORAGE"
        )
        raise NotToBeHad(message)


def _vouched_for(store: Storage, key: str, path: Path) -> str | None:
    """The file's SHA-256, by its manifest; None where that isn't there, or for another file at this moment."""
    manifest = CheckpointStore(store, "").manifest(key)
    return manifest.sha256 if manifest and manifest.size == path.stat().st_size else None
