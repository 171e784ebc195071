"""Looks at the storage, past the proxy, while others write to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.evidence import Mismatch, Sighting, StoredObject
from tests.servers.platform import Received
from tests.servers.s3 import BUCKET, S3Server

MANIFEST = ".manifest.json"
_LOOK_EVERY = 0.1


class Witness:
    """Sees what is there, and remembers what should not be."""

    def __init__(self, s3: S3Server, prefix: str) -> None:
        self._prefix = f"{prefix}/"
        # boto3's clients may be shared by threads; two, so that a slow look doesn't hold up the platform's.
        self._own, self._of_platform = s3.client(), s3.client()
        self.sightings: list[Sighting] = []
        self.mismatches: list[Mismatch] = []
        self.looks = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look at every manifest and its object, again and again, until the block ends."""
        enough = threading.Event()

        def look() -> None:
            while not enough.wait(_LOOK_EVERY):
                self.look()

        thread = threading.Thread(target=look, name="witness")
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def look(self) -> None:
        """A manifest that is the same before and after is true of the object between."""
        for key in self.keys():
            if not key.endswith(MANIFEST):
                continue
            before = self._read(self._own, key)
            found = self._digest(self._own, key.removesuffix(MANIFEST))
            if before is None or before != self._read(self._own, key):
                continue
            self.looks += 1
            manifest = _parsed(before)
            if manifest.get("sha256") != found:
                self.mismatches.append(Mismatch(key, manifest, found))

    def hear(self, request: Received) -> None:
        """The platform is told this just now: look at every checkpoint that it names."""
        for uri, told in _named(request.json):
            key = uri.removeprefix(f"s3://{BUCKET}/")
            self.sightings.append(Sighting(uri, told, self._digest(self._of_platform, key)))

    def keys(self) -> list[str]:
        """All keys there are."""
        found = self._own.list_objects_v2(Bucket=BUCKET, Prefix=self._prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def objects(self) -> list[StoredObject]:
        """All that is stored, each beside its manifest."""
        contents = {key: self._read(self._own, key) or b"" for key in self.keys()}
        return [
            StoredObject(key, content, _parsed(contents[key + MANIFEST]) if key + MANIFEST in contents else None)
            for key, content in contents.items()
            if not key.endswith(MANIFEST)
        ]

    def uploads(self) -> list[str]:
        """The keys of unfinished multipart uploads."""
        found = self._own.list_multipart_uploads(Bucket=BUCKET, Prefix=self._prefix)
        return [upload["Key"] for upload in found.get("Uploads", ())]

    def _digest(self, client: Any, key: str) -> str | None:
        content = self._read(client, key)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def _read(self, client: Any, key: str) -> bytes | None:
        try:
            content: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except (ClientError, BotoCoreError):
            return None
        return content


def _named(body: Any) -> Iterator[tuple[str, str | None]]:
    """Every checkpoint's address in the body, with the SHA-256 that stands beside it, if one does."""
    if isinstance(body, dict):
        told = body.get("sha256")
        for name, value in body.items():
            if isinstance(value, str) and value.startswith("s3://") and not value.endswith(MANIFEST):
                yield value, told if name in {"uri", "s3_uri"} else None
            else:
                yield from _named(value)
    elif isinstance(body, list):
        for item in body:
            yield from _named(item)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
