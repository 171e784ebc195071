"""One large file to S3: parts in parallel, each verified, then made visible by one request; resumed after a failure.

The server's ETag of a part is the MD5 of what it has stored, and is compared with ours. Where it isn't (objects that
are encrypted with a key of one's own), parts carry Content-MD5, which the server checks; elsewhere that would only make
it hash everything twice.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from trainer_hooks.errors import StorageError
from trainer_hooks.storage.s3.calls import Calls, Interrupted, UploadGone, md5_of, server_time
from trainer_hooks.storage.s3.parts import PART_SIZE_NAME, Part, combined_md5, in_parallel, plan

_Sent = dict[int, str]  # part number to ETag


class Upload:
    """The upload of one open file. `run` it once."""

    def __init__(self, calls: Calls, key: str, file: BinaryIO, *, part_size: int, workers: int) -> None:
        self._calls = calls
        self._key = key
        self._handle = file.fileno()
        self._before = os.fstat(self._handle)
        self._parts = plan(self._before.st_size, part_size)
        self._workers = workers
        self._buffers = threading.local()
        self._digests: dict[int, str] = {}
        self._etags_are_md5 = True  # until one isn't

    def run(self, metadata: Mapping[str, str], before_visible: Callable[[], None] | None) -> dict[str, Any]:
        """Transfer, verify, call `before_visible`, make visible; returns what the server says of the new object.

        Raises:
            StorageError: nothing of ours is visible, or (from the last look at it) it has been removed again.
            OSError: as of reading the file.
        """
        with ThreadPoolExecutor(self._workers, thread_name_prefix="s3-upload") as pool:
            unfinished = self._unfinished()
            found, sent = self._adopted(pool, unfinished or [])
            upload = found or self._created(metadata)
            with self._aborting(upload, can_be_found_again=unfinished is not None):
                missing = [part for part in self._parts if part.number not in sent]
                sent |= dict(in_parallel(pool, lambda part: self._send(upload, part), missing))
                _check_unchanged(self._handle, self._before)
                if before_visible is not None:
                    before_visible()
                answer = self._complete(upload, sent)
        if self._etags_are_md5 and md5_of(answer) in self._expected():
            # That proves the whole. No HEAD then: some servers read the whole object again to answer one.
            size = self._before.st_size
            return {"ContentLength": size, "LastModified": server_time(answer), "Metadata": dict(metadata)}
        return self._checked(answer)

    def _unfinished(self) -> list[str] | None:
        """The ids of unfinished uploads of this key, newest first; None where the server doesn't tell."""
        try:
            uploads = [
                (str(found.get("Initiated", "")), found["UploadId"])
                for page in self._calls.pages("list_multipart_uploads", Prefix=self._key)
                for found in page.get("Uploads", ())
                if found["Key"] == self._key
            ]
        except Interrupted:
            raise
        except StorageError:
            return None
        return [upload for _, upload in sorted(uploads, reverse=True)]

    def _adopted(self, pool: ThreadPoolExecutor, unfinished: Iterable[str]) -> tuple[str | None, _Sent]:
        """The newest unfinished upload that holds parts of this very content, and them; the others are aborted."""
        adopted: tuple[str | None, _Sent] = (None, {})
        for upload in unfinished:
            there = self._there(upload) if adopted[0] is None else []
            if there and all(in_parallel(pool, self._is_ours, there)):
                adopted = (upload, {part["PartNumber"]: part["ETag"] for part in there})
            else:
                self._abort(upload)
        return adopted

    def _there(self, upload: str) -> list[dict[str, Any]]:
        pages = self._calls.pages("list_parts", Key=self._key, UploadId=upload)
        try:
            return [part for page in pages for part in page.get("Parts", ())]
        except UploadGone:
            return []

    def _is_ours(self, there: dict[str, Any]) -> bool:
        number = there["PartNumber"]
        if not 1 <= number <= len(self._parts) or there["Size"] != self._parts[number - 1].size:
            return False
        self._read(self._parts[number - 1])
        return md5_of(there) == self._digests[number]

    def _created(self, metadata: Mapping[str, str]) -> str:
        kept = {**metadata, PART_SIZE_NAME: str(self._parts[0].size)}
        return str(self._calls("create_multipart_upload", self._key, Metadata=kept)["UploadId"])

    def _read(self, part: Part) -> bytearray:
        """The part's bytes, good until this thread reads the next part."""
        buffer: bytearray | None = getattr(self._buffers, "buffer", None)
        if buffer is None or len(buffer) < part.size:
            buffer = self._buffers.buffer = bytearray(part.size)
        del buffer[part.size :]
        if os.preadv(self._handle, [buffer], part.offset) != part.size:
            message = f"{self._key}: the file became shorter while it was uploaded"
            raise StorageError(message)
        self._digests[part.number] = hashlib.md5(buffer, usedforsecurity=False).hexdigest()
        return buffer

    def _send(self, upload: str, part: Part) -> tuple[int, str]:
        body = self._read(part)
        ours = self._digests[part.number]
        check = {} if self._etags_are_md5 else {"ContentMD5": base64.b64encode(bytes.fromhex(ours)).decode()}
        answer = self._calls("upload_part", self._key, UploadId=upload, PartNumber=part.number, Body=body, **check)
        theirs = md5_of(answer)
        if theirs is None and not check:
            self._etags_are_md5 = False
            return self._send(upload, part)
        if theirs not in (None, ours):
            message = f"{self._key}: part {part.number} was stored with another content than was sent"
            raise StorageError(message)
        return part.number, str(answer.get("ETag", ""))

    def _complete(self, upload: str, sent: _Sent) -> dict[str, Any]:
        parts = [{"PartNumber": number, "ETag": sent[number]} for number in sorted(sent)]
        request = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
        try:
            return self._calls("complete_multipart_upload", self._key, **request)
        except (UploadGone, Interrupted):
            # Where no answer came, or somebody on the way has asked twice, the request may have done its work.
            if md5_of(self._calls.head(self._key)) not in self._expected():
                raise
            return {}

    def _expected(self) -> set[str]:
        """What the ETag of the whole can be, if ETags are MD5s here."""
        digests = [self._digests[part.number] for part in self._parts]
        return {combined_md5(digests), *(digests if len(digests) == 1 else ())}

    def _checked(self, completed: dict[str, Any]) -> dict[str, Any]:
        """The answer to a HEAD of what is visible now.

        Raises:
            StorageError: it isn't what was sent. It is removed again, unless another writer has put it there.
        """
        seen = self._calls.head(self._key)
        if seen["ContentLength"] == self._before.st_size and not self._is_wrong(completed) and not self._is_wrong(seen):
            return seen
        if "ETag" in seen and seen["ETag"] == completed.get("ETag"):
            self._calls("delete_object", self._key)
        message = f"{self._key}: the server shows another object than was sent to it ({seen['ContentLength']} bytes)"
        raise StorageError(message)

    def _is_wrong(self, answer: dict[str, Any]) -> bool:
        md5 = md5_of(answer)
        if md5 is None or not self._etags_are_md5:
            return False
        # Some servers show the MD5 of the whole, which nobody here has computed, for an object sent in parts.
        return ("-" in md5 or len(self._parts) == 1) and md5 not in self._expected()

    @contextlib.contextmanager
    def _aborting(self, upload: str, *, can_be_found_again: bool) -> Iterator[None]:
        """Abort the upload on a failure, unless it can be resumed: the server itself must not have objected."""
        try:
            yield
        except BaseException as error:
            objected = isinstance(error, StorageError) and not isinstance(error, Interrupted)
            if objected or not can_be_found_again:
                self._abort(upload)
            raise

    def _abort(self, upload: str) -> None:
        # Failing is no harm: the next upload of this key tries again, and the bucket's lifecycle rule after it.
        with contextlib.suppress(StorageError):
            self._calls("abort_multipart_upload", self._key, UploadId=upload)


def read_whole(file: BinaryIO) -> bytes:
    """The content of an open file that nobody changes meanwhile.

    Raises:
        StorageError: if somebody does.
    """
    before = os.fstat(file.fileno())
    content = file.read()
    _check_unchanged(file.fileno(), before)
    return content


def _check_unchanged(handle: int, before: os.stat_result) -> None:
    after = os.fstat(handle)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        message = "the file changed while it was uploaded"
        raise StorageError(message)
