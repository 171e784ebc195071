"""Objects that are uploaded at addresses that are signed and good for a while: to this server itself, or to a store."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias
from urllib.parse import quote, urlencode

from trainer_hooks.attempts import safe_name
from trainer_hooks.errors import ObjectMissing, StorageRefused
from trainer_hooks.files import replacing, sync_file
from trainer_hooks.storage import GivesAddresses, Storage

Method: TypeAlias = Literal["GET", "PUT"]
EXPIRES_IN = 3600
_SIGNING_KEY = "signing.key"
_FOLDER = "objects"
_SIZE = 32


class Objects:
    """Files by key, `checkpoints/job-<job>/<file name>`. Each of the two parts is one name on the disk."""

    def __init__(self, directory: Path, store: Storage | None = None) -> None:
        """Keep them below that directory, with the secret that addresses are signed with.

        A `store` that gives addresses takes them in place of the directory.

        Raises:
            OSError: if it can't be written.
        """
        self._directory = directory / _FOLDER
        self._store = store if isinstance(store, GivesAddresses) else None
        self._secret = _load_secret(directory / _SIGNING_KEY)

    def key(self, job: str, name: str) -> str:
        """The key of a job's file.

        Raises:
            StorageRefused: if the name is none for a file.
        """
        if not name.strip(". ") or "/" in name or "\\" in name or not name.isprintable():
            message = f"{name[:200]!r} can't be a file's name: give it without folders and control characters"
            raise StorageRefused(message)
        return f"checkpoints/job-{job}/{name}"

    def upload_address(self, base: str, job: str, name: str) -> str:
        """Where a job's file may be PUT for `EXPIRES_IN` seconds; `base` is this server's API.

        Raises:
            StorageRefused: as `key`.
            StorageError: if the store can't sign.
        """
        if self._store is None:
            return base + self.sign("PUT", job, name)
        return self._store.upload_address(self.key(job, name), EXPIRES_IN)

    def download_address(self, base: str, job: str, name: str) -> str:
        """Where a job's file, if it is there, may be fetched from for `EXPIRES_IN` seconds.

        Raises:
            StorageRefused, StorageError: as `upload_address`.
        """
        if self._store is None:
            return base + self.sign("GET", job, name)
        return self._store.download_address(self.key(job, name), EXPIRES_IN)

    def sign(self, method: Method, job: str, name: str) -> str:
        """What follows the API's base in an address that may be used with that method for `EXPIRES_IN` seconds.

        Raises:
            StorageRefused: as `key`.
        """
        expires = int(time.time()) + EXPIRES_IN
        signature = self._signature(method, self.key(job, name), expires)
        path = f"/objects/{quote(job, safe='')}/{quote(name, safe='')}"
        return f"{path}?{urlencode({'expires': expires, 'signature': signature})}"

    def is_signed(self, method: Method, job: str, name: str, expires: int, signature: str) -> bool:
        """Whether such an address was given out, and still counts."""
        try:
            expected = self._signature(method, self.key(job, name), expires)
        except StorageRefused:
            return False
        is_right = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))
        return is_right and time.time() < expires

    @contextlib.contextmanager
    def writing(self, job: str, name: str) -> Iterator[BinaryIO]:
        """A file that takes the object's place when the block ends well, and on the disk.

        Raises:
            StorageRefused: as `key`.
            OSError: if it can't be written.
        """
        path = self.path(job, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            yield file
            file.flush()
            os.fdatasync(file.fileno())
        sync_file(path.parent)

    def name_of(self, job: str, key: str) -> str | None:
        """The name of the job's file that has this key; None for another key."""
        name = key.rpartition("/")[2]
        with contextlib.suppress(StorageRefused):
            return name if self.key(job, name) == key else None
        return None

    def file(self, job: str, name: str) -> Path:
        """The object's file; a link that somebody has put in its place is none.

        Raises:
            ObjectMissing: if there is none.
            StorageRefused: as `key`.
        """
        path = self.path(job, name)
        place = self._directory.resolve() / path.relative_to(self._directory)
        if not path.is_file() or path.resolve() != place:
            message = f"there is no {name!r} of job {job!r}"
            raise ObjectMissing(message)
        return path

    def path(self, job: str, name: str) -> Path:
        """Where the object is, or would be.

        Raises:
            StorageRefused: as `key`.
        """
        self.key(job, name)
        return self._directory / safe_name(job) / safe_name(name)

    def _signature(self, method: Method, key: str, expires: int) -> str:
        said = f"{method}\n{key}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()


def _load_secret(path: Path) -> bytes:
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SIZE))
            file.flush()
            os.fsync(file.fileno())
    secret = path.read_bytes()
    if len(secret) != _SIZE:  # a power loss has torn it: addresses that were given out are void
        path.unlink()
        return _load_secret(path)
    return secret
