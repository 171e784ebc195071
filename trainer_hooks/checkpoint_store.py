"""Checkpoints in storage, each beside a manifest that is never wrong about it.

    checkpoints/<job>/<name><suffix>                  the host's file, as it was when the host had written it
    checkpoints/<job>/<name><suffix>.manifest.json    `Manifest`: its SHA-256, size, epoch, metrics and origin

Whenever a manifest exists, the object beside it has that SHA-256. So the old manifest is withdrawn just before a new
object takes the old one's place, and the new manifest is written right after. An upload that breaks off earlier has
changed nothing: the old checkpoint and its manifest are there as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from trainer_hooks.checkpoint_files import DamagedCheckpoint, WholeFile, examine
from trainer_hooks.errors import ObjectMissing
from trainer_hooks.events import Metrics
from trainer_hooks.folders import is_packed, unpack, unpacked_name
from trainer_hooks.storage import Storage

_MANIFEST_SUFFIX = ".manifest.json"
# File names end at 255 bytes; suffixes and a store's own additions need room beside this.
_LONGEST_PART = 160
_LONGEST_SUFFIX = 30


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside a stored checkpoint. `created` is when the host had saved it: ISO 8601, UTC.

    `folder`: it is the tar of a folder, and `size` and `sha256` are the tar's.
    """

    format: int = 1
    key: str
    sha256: str
    size: int
    epoch: int | None
    metrics: Metrics
    final: bool
    run: str
    attempt: int
    created: str
    iteration: int | None = None
    folder: bool = False


class CheckpointStore:
    """One job's checkpoints. All methods raise StorageError as the storage does."""

    def __init__(self, storage: Storage, job: str) -> None:
        self._storage = storage
        self._job = job

    def key(self, name: str, suffix: str) -> str:
        """Where a checkpoint of that name is kept; a file without a suffix is taken for torch's."""
        return f"checkpoints/{_path_part(self._job)}/{_path_part(name)}{_path_part(suffix or '.pt', _LONGEST_SUFFIX)}"

    def uris(self, key: str) -> tuple[str, str]:
        """The full addresses of the object and of its manifest."""
        return self._storage.uri(key), self._storage.uri(key + _MANIFEST_SUFFIX)

    def manifest(self, key: str) -> Manifest | None:
        """What is stored under the key; None if nothing is, or nothing that can be vouched for."""
        try:
            return msgspec.json.decode(self._storage.read(key + _MANIFEST_SUFFIX), type=Manifest)
        except (ObjectMissing, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def manifests(self) -> Iterator[Manifest]:
        """Of all checkpoints of the job that can be vouched for."""
        for stored in self._storage.list(f"checkpoints/{_path_part(self._job)}/"):
            if stored.key.endswith(_MANIFEST_SUFFIX):
                manifest = self.manifest(stored.key.removesuffix(_MANIFEST_SUFFIX))
                if manifest is not None:
                    yield manifest

    def keys_of_all(self) -> Iterator[str]:
        """The keys of all checkpoints of the job, vouched for or not."""
        for stored in self._storage.list(f"checkpoints/{_path_part(self._job)}/"):
            if not stored.key.endswith(_MANIFEST_SUFFIX):
                yield stored.key

    def fetch(self, manifest: Manifest, target: Path) -> None:
        """Download what the manifest speaks of, whole and verified by its SHA-256, or not at all; a folder as that.

        Raises:
            DamagedCheckpoint: if something else lies there, or a file that isn't whole.
            OSError: if the target can't be written.
        """
        with self._arriving(manifest.key, target) as (file, found):
            if (found.sha256, found.size) != (manifest.sha256, manifest.size):
                message = f"{self._storage.uri(manifest.key)} is not what its manifest says"
                raise DamagedCheckpoint(message)
            if manifest.folder:
                unpack(file, target)
            else:
                file.replace(target)

    def fetch_unvouched(self, key: str, folder: Path) -> Path:
        """Download what has no manifest, if it is whole, into the folder; a tar as what is in it. Returns its path.

        Raises:
            DamagedCheckpoint: if it isn't.
            OSError: if the target can't be written.
        """
        target = folder / Path(key).name
        with self._arriving(key, target) as (file, found):
            if not is_packed(file):
                return file.replace(target)
            target = folder / unpacked_name(key, found.sha256)
            unpack(file, target)
            return target

    @contextlib.contextmanager
    def _arriving(self, key: str, target: Path) -> Iterator[tuple[Path, WholeFile]]:
        """What lies under the key, as a file beside the target that goes with the block, and what it is."""
        file = target.with_name(f".{target.name}.{os.getpid()}")  # every rank of a job fetches for itself
        try:
            self._storage.get(key, file)
            yield file, examine(file, Path(key).suffix)
        finally:
            file.unlink(missing_ok=True)

    def store(self, source: Path, manifests: Sequence[Manifest], go_on: Callable[[], None]) -> None:
        """Store the file under each manifest's key: sent once at most, then copied within the storage.

        What is already as it should be is left alone, so that this may be repeated. `go_on` is called between steps
        and may raise to stop.

        Raises:
            OSError: if the source can't be read.
        """
        present = {manifest.key for manifest in manifests if self._has_content(manifest)}
        for manifest in manifests:
            if manifest.key in present and self.manifest(manifest.key) == manifest:
                continue
            go_on()
            if manifest.key not in present:
                self._replace(source, manifest, next(iter(present), None))
                present.add(manifest.key)
            self._storage.put_bytes(_pretty(manifest), manifest.key + _MANIFEST_SUFFIX)

    def _replace(self, source: Path, manifest: Manifest, twin: str | None) -> None:
        def withdraw() -> None:
            self._storage.delete(manifest.key + _MANIFEST_SUFFIX)

        if twin is None:
            self._storage.put(source, manifest.key, before_visible=withdraw)
        else:
            withdraw()
            self._storage.copy(twin, manifest.key)

    def _has_content(self, wanted: Manifest) -> bool:
        """Whether these very bytes are under the key, whatever else is said of them there.

        A hash in the object's own metadata could not tell: an upload that was taken up again keeps the metadata that
        it was begun with, perhaps for another file.
        """
        present = self.manifest(wanted.key)
        if present is None or present.sha256 != wanted.sha256:
            return False
        try:
            return self._storage.stat(wanted.key).size == wanted.size
        except ObjectMissing:
            return False


def _path_part(text: str, longest: int = _LONGEST_PART) -> str:
    """The text as one part of a key that is safe in every store; "." and ".." are none."""
    part = quote(text, safe="")
    if not part.strip("."):
        return part.replace(".", "%2E") or "%"
    if len(part) > longest:
        return f"{part[:longest]}~{hashlib.sha256(part.encode()).hexdigest()[:16]}"
    return part


def _pretty(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
