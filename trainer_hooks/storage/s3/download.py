"""One object from S3 into a file: ranges in parallel, all of the same object, verified where the ETag allows.

The ETag can be compared where one request fetches all, and where the size of the parts that the object was uploaded
in is known, as it is for all that this package has put. Of other large ones only the size is checked, and that it
stayed the same object all along.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainer_hooks.errors import StorageError
from trainer_hooks.files import replacing
from trainer_hooks.storage.s3.calls import Calls, NoSuchRange, if_same, md5_of
from trainer_hooks.storage.s3.parts import Part, combined_md5, in_parallel, known_part_size, plan

# Larger ones are mapped anew by the allocator each time, which costs more than the copying.
_BLOCK = 256 << 10


class Download:
    """The download of one object. `run` it once."""

    def __init__(self, calls: Calls, key: str, *, part_size: int, workers: int) -> None:
        self._calls = calls
        self._key = key
        self._part_size = part_size
        self._workers = workers
        # One writer at a time: file systems lock the file, and threads that wait for that lock burn a core.
        self._writing = threading.Lock()

    def run(self, target: Path) -> dict[str, Any]:
        """Returns the answer to a GET, with the size of the whole as its ContentLength.

        Raises:
            StorageError: nothing has been put at `target`.
            OSError: as of writing the file.
        """
        first = self._first()
        with contextlib.closing(first["Body"]):
            size, parts = self._divided(first)
            with replacing(target) as temporary, temporary.open("r+b") as file:
                os.ftruncate(file.fileno(), size)
                self._fetch_all(file.fileno(), parts, first)
        return {**first, "ContentLength": size}

    def _first(self) -> dict[str, Any]:
        try:
            return self._calls("get_object", self._key, Range=f"bytes=0-{self._part_size - 1}")
        except NoSuchRange:  # an empty object has no first byte
            return self._calls("get_object", self._key)

    def _divided(self, first: dict[str, Any]) -> tuple[int, list[Part]]:
        if "ContentRange" not in first:  # empty, or from a server that doesn't know ranges
            size = int(first["ContentLength"])
            return size, [Part(1, 0, size)]
        size = int(first["ContentRange"].rpartition("/")[2])
        return size, plan(size, known_part_size(first) or self._part_size)

    def _fetch_all(self, handle: int, parts: Sequence[Part], first: dict[str, Any]) -> None:
        etag = md5_of(first) or ""
        same_parts = len(parts) == 1 or known_part_size(first) is not None
        comparable = bool(etag) and same_parts and (etag.partition("-")[2] or "1") == str(len(parts))

        def fetch(part: Part) -> str:
            answer = first if part.number == 1 and part.size == first["ContentLength"] else self._range(part, first)
            return self._write(handle, part, answer, hashing=comparable)

        if len(parts) == 1:
            digests = [fetch(parts[0])]
        else:
            with ThreadPoolExecutor(self._workers, thread_name_prefix="s3-download") as pool:
                digests = in_parallel(pool, fetch, parts)
        differs = comparable and etag != (combined_md5(digests) if "-" in etag else digests[0])
        if differs and not self._copied_in_other_parts(parts):
            message = f"{self._key}: another content came than the server's checksum tells of"
            raise StorageError(message)

    def _range(self, part: Part, first: dict[str, Any]) -> dict[str, Any]:
        request = {"Range": f"bytes={part.offset}-{part.last}", **if_same("IfMatch", first)}
        answer = self._calls("get_object", self._key, **request)
        # Not every server heeds If-Match.
        if _identity(answer) != _identity(first) or answer["ContentLength"] != part.size:
            answer["Body"].close()
            message = f"{self._key} was replaced while it was downloaded"
            raise StorageError(message)
        return answer

    def _copied_in_other_parts(self, parts: Sequence[Part]) -> bool:
        """Whether another tool has copied the object, metadata and all, in other parts; not every server tells."""
        if len(parts) == 1:
            return False
        first_part = self._calls("head_object", self._key, PartNumber=1)["ContentLength"]
        return first_part not in (parts[0].size, parts[-1].last + 1)

    def _write(self, handle: int, part: Part, answer: dict[str, Any], *, hashing: bool) -> str:
        md5 = hashlib.md5(usedforsecurity=False)
        offset = part.offset
        with contextlib.closing(answer["Body"]) as body:
            while block := self._read(body):
                if hashing:
                    md5.update(block)
                with self._writing:
                    os.pwrite(handle, block, offset)
                offset += len(block)
        if offset != part.offset + part.size:
            message = f"{self._key}: {offset - part.offset} bytes came instead of {part.size}"
            raise StorageError(message)
        return md5.hexdigest()

    def _read(self, body: Any) -> bytes:
        with self._calls.errors("get_object", self._key):
            block: bytes = body.read(_BLOCK)
            return block


def _identity(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer.get("ETag"), answer.get("LastModified")
