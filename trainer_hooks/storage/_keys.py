"""Which keys and metadata every store takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainer_hooks.errors import StorageRefused

_LONGEST_KEY = 1024
_LARGEST_METADATA = 2048
# Control characters: no XML listing can carry them, and no file name should.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_METADATA_NAME = re.compile(r"[a-z0-9-]+")
_METADATA_VALUE = re.compile(r"(?! )[\x20-\x7e]*(?<! )")


def check_key(key: str) -> str:
    """The key itself, if every store can keep an object under it.

    Raises:
        StorageRefused: naming the key and what is wrong with it.
    """
    wrong = _fault(key)
    if wrong:
        message = f"{key[:200]!r} can't be an object's key: {wrong}"
        raise StorageRefused(message)
    return key


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata itself, if every store can keep it or drop it.

    Raises:
        StorageRefused: naming the entry that can't be kept.
    """
    given = dict(metadata or {})
    for name, value in given.items():
        if not _METADATA_NAME.fullmatch(name) or not _METADATA_VALUE.fullmatch(value):
            message = f"metadata {name!r} can't be kept: names are a-z, 0-9 and -, values printable ASCII"
            raise StorageRefused(message)
    if sum(len(name) + len(value) for name, value in given.items()) > _LARGEST_METADATA:
        message = f"metadata {', '.join(given)} is over {_LARGEST_METADATA} bytes"
        raise StorageRefused(message)
    return given


def _fault(key: str) -> str | None:
    parts = key.split("/")
    faults = {
        "it is empty": not key,
        "it is absolute": key.startswith("/"),
        "it has a backslash, a control character or half a surrogate pair": _FORBIDDEN.search(key),
        "it has an empty part": "" in parts,
        "it has a part . or ..": "." in parts or ".." in parts,
        f"it is over {_LONGEST_KEY} bytes": len(key.encode(errors="surrogatepass")) > _LONGEST_KEY,
    }
    return next((fault for fault, found in faults.items() if found), None)
