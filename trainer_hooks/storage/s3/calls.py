"""What the parts of the S3 store need of its client, without botocore: its calls, in our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from trainer_hooks.errors import StorageError


class Interrupted(StorageError):
    """No answer, or a server too busy to give one: what was sent so far still counts."""


class UploadGone(StorageError):
    """The server knows no such unfinished upload: it was completed, aborted or expired."""


class NoSuchRange(StorageError):
    """The object ends before the range that was asked for."""


class NothingDone(StorageError):
    """The server said that all is well, and nothing of what it did: it took the request for another."""


class Calls(Protocol):
    """An S3 client bound to one bucket. Operations have boto3's names, arguments and answers, and our errors."""

    def __call__(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        """One request, tried again a few times at once where that is safe."""
        ...

    def pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """All pages of a listing, fetched as they are asked for."""
        ...

    def head(self, key: str) -> dict[str, Any]:
        """`head_object`, with the reason of a refusal, which an answer to HEAD has no room for."""
        ...

    def presigned(self, operation: str, key: str, seconds: int) -> str:
        """An address for that request, good for so many seconds; nothing is sent."""
        ...

    def errors(self, operation: str, key: str) -> contextlib.AbstractContextManager[None]:
        """Inside, the client's exceptions become ours: for reading the body of an answer."""
        ...


def md5_of(answer: Mapping[str, Any]) -> str | None:
    """The MD5 of the content (or, with `-N`, of its N parts' MD5s) by the answer's ETag; None where it tells none.

    Encrypted with a key of one's own (KMS, SSE-C), the ETag looks just like an MD5 and isn't.
    """
    if answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer:
        return None
    etag = str(answer.get("ETag", "")).strip('"')
    digest, _, count = etag.partition("-")
    is_md5 = len(digest) == 32 and all(character in "0123456789abcdef" for character in digest)  # noqa: PLR2004
    return etag if is_md5 and (count.isdigit() or not count) else None


def server_time(answer: Mapping[str, Any]) -> datetime:
    """When the answer was given, by the server's clock; by ours where it doesn't say."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(timezone.utc)


def if_same(condition: str, answer: Mapping[str, Any]) -> dict[str, str]:
    """The argument of that name for a request that wants the very object the answer told of; none without an ETag."""
    return {condition: answer["ETag"]} if "ETag" in answer else {}
