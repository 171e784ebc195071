"""`Storage` in an S3 bucket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer_hooks.errors import InvalidSetting, ObjectMissing, StorageError, StorageRefused
from trainer_hooks.storage import StoredObject
from trainer_hooks.storage._keys import check_key, check_metadata
from trainer_hooks.storage.s3.calls import Calls, if_same, md5_of, server_time
from trainer_hooks.storage.s3.client import BucketCalls, connect
from trainer_hooks.storage.s3.copying import copy_in_parts
from trainer_hooks.storage.s3.download import Download
from trainer_hooks.storage.s3.parts import PART_SIZE_NAME, own_metadata
from trainer_hooks.storage.s3.upload import Upload, read_whole

# Together an upload's memory, of which the courier has little. Hashing is work for a core: with more workers than cores
# an upload got slower (docs/benchmarks.md).
_PART_SIZE = 8 << 20
_WORKERS = 2 if (os.cpu_count() or 1) <= 2 else 3  # noqa: PLR2004
# S3 itself allows 5 GB; but one request's answer must come within the read timeout.
_COPY_SIZE = 256 << 20


def open(  # noqa: A001 - the name that `open_storage` looks for
    uri: str,
    *,
    endpoint: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    part_size: int = _PART_SIZE,
    workers: int = _WORKERS,
) -> S3Storage:
    """The store under `s3://bucket/prefix`; without keys boto3's own chain (role, environment, profile) is asked.

    Raises:
        InvalidSetting: for a URI, an endpoint or a pair of keys that can't be used.
    """
    bucket, prefix = _bucket_and_prefix(uri)
    if (access_key is None) != (secret_key is None):
        message = (
            "S3 needs both keys or none: set INTERNAL_STORAGE_ACCESS_KEY and INTERNAL_STORAGE_SECRET_KEY (of datasets: "
            "EXTERNAL_STORAGE_ACCESS_KEY and EXTERNAL_STORAGE_SECRET_KEY)"
        )
        raise InvalidSetting(message)
    client = connect(endpoint, access_key, secret_key)
    return S3Storage(BucketCalls(client, bucket), bucket, prefix, part_size=part_size, workers=workers)


def _bucket_and_prefix(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.partition("://")[2].partition("/")
    prefix = prefix.strip("/")
    if not bucket or "@" in bucket or ":" in bucket:
        # Not shown: a user:password@ may stand in it.
        message = "the storage address must be s3://bucket or s3://bucket/prefix, without credentials or port"
        raise InvalidSetting(message)
    try:
        return bucket, f"{check_key(prefix)}/" if prefix else ""
    except StorageRefused as error:
        message = f"the prefix of the storage address can't be used: {error}"
        raise InvalidSetting(message) from error


class S3Storage:
    """`Storage` in a bucket, under a prefix. At most `part_size` * `workers` bytes in memory per transfer."""

    def __init__(self, calls: Calls, bucket: str, prefix: str, *, part_size: int, workers: int) -> None:
        self._calls = calls
        self._bucket = bucket
        self._prefix = prefix
        self._part_size = part_size
        self._workers = workers
        self._writing: set[str] = set()
        self._written = threading.Condition()

    def put(
        self,
        source: Path,
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        before_visible: Callable[[], None] | None = None,
    ) -> StoredObject:
        """Small files by one request, others in parts; with `before_visible` always in parts.

        So only the request that completes the upload lies between `before_visible` and the visible object.
        """
        full, kept = self._full(key), check_metadata(metadata)
        with self._alone(full), source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._part_size or (size and before_visible):
                upload = Upload(self._calls, full, file, part_size=self._part_size, workers=self._workers)
                return _stored(key, upload.run(kept, before_visible))
            content = read_whole(file)
            if before_visible is not None:  # an upload in parts can't be empty
                before_visible()
            return self._put_at_once(content, key, kept)

    def put_bytes(self, content: bytes, key: str) -> StoredObject:
        """By one request, with its MD5."""
        with self._alone(self._full(key)):
            return self._put_at_once(content, key, {})

    def copy(self, key: str, new_key: str) -> StoredObject:
        """By the server; large objects in parts, where the server can."""
        full, new = self._full(key), self._full(new_key)
        head = self._calls.head(full)
        if full == new:
            return _stored(key, head)
        source = {"Bucket": self._bucket, "Key": full}
        sizes = {"part_size": _COPY_SIZE, "workers": self._workers}
        with self._alone(new):
            if head["ContentLength"] <= _COPY_SIZE or not copy_in_parts(self._calls, source, head, new, **sizes):
                self._calls("copy_object", new, CopySource=source, **if_same("CopySourceIfMatch", head))
            copied = self._calls.head(new)
        if copied["ContentLength"] != head["ContentLength"]:
            message = f"{self.uri(new_key)}: the copy has {copied['ContentLength']} bytes, not {head['ContentLength']}"
            raise StorageError(message)
        return _stored(new_key, copied)

    def get(self, key: str, target: Path) -> StoredObject:
        """Ranges of one and the same object, in parallel."""
        download = Download(self._calls, self._full(key), part_size=self._part_size, workers=self._workers)
        return _stored(key, download.run(target))

    def read(self, key: str) -> bytes:
        """By one request."""
        full = self._full(key)
        answer = self._calls("get_object", full)
        with self._calls.errors("get_object", full), contextlib.closing(answer["Body"]) as body:
            content: bytes = body.read()
        md5 = md5_of(answer)
        if md5 and "-" not in md5 and md5 != hashlib.md5(content, usedforsecurity=False).hexdigest():
            message = f"{self.uri(key)}: another content came than the server's checksum tells of"
            raise StorageError(message)
        return content

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """1,000 objects a request; without metadata."""
        for page in self._calls.pages("list_objects_v2", Prefix=self._prefix + prefix):
            for found in page.get("Contents", ()):
                key, modified = found["Key"].removeprefix(self._prefix), found["LastModified"].timestamp()
                yield StoredObject(key=key, size=found["Size"], modified=modified)

    def stat(self, key: str) -> StoredObject:
        """By one HEAD."""
        return _stored(key, self._calls.head(self._full(key)))

    def delete(self, key: str) -> None:
        """By one request."""
        with contextlib.suppress(ObjectMissing):
            self._calls("delete_object", self._full(key))

    def uri(self, key: str) -> str:
        """`s3://bucket/prefix/key`, as it is, without percent-encoding."""
        return f"s3://{self._bucket}/{self._full(key)}"

    def upload_address(self, key: str, seconds: int) -> str:
        """A presigned one."""
        return self._calls.presigned("put_object", self._full(key), seconds)

    def download_address(self, key: str, seconds: int) -> str:
        """A presigned one."""
        return self._calls.presigned("get_object", self._full(key), seconds)

    def _full(self, key: str) -> str:
        return check_key(self._prefix + check_key(key))

    def _put_at_once(self, content: bytes, key: str, metadata: dict[str, str]) -> StoredObject:
        full = self._full(key)
        md5 = hashlib.md5(content, usedforsecurity=False)
        check = b64encode(md5.digest()).decode()
        answer = self._calls("put_object", full, Body=content, ContentMD5=check, Metadata=metadata)
        stored = md5_of(answer)
        if stored == md5.hexdigest():
            return StoredObject(key=key, size=len(content), modified=server_time(answer).timestamp(), metadata=metadata)
        if stored is None:  # the ETag tells nothing; the server has checked the MD5 that came with the request
            found = self.stat(key)
            if found.size == len(content):
                return found
        self._calls("delete_object", full)
        message = f"{self.uri(key)} was stored with another content than was sent, and has been removed again"
        raise StorageError(message)

    @contextlib.contextmanager
    def _alone(self, full: str) -> Iterator[None]:
        """Two threads' uploads of one key go one after the other: each would abort the other's."""
        with self._written:
            self._written.wait_for(lambda: full not in self._writing)
            self._writing.add(full)
        try:
            yield
        finally:
            with self._written:
                self._writing.discard(full)
                self._written.notify_all()


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    metadata = {name: value for name, value in own_metadata(answer).items() if name != PART_SIZE_NAME}
    modified = answer["LastModified"].timestamp()
    return StoredObject(key=key, size=answer["ContentLength"], modified=modified, metadata=metadata)
