"""Images that couriers send: kept in a store beside the runs, each once, a bounded number for a run."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.errors import ObjectMissing
from trainer_hooks.staging import IMAGES
from trainer_hooks.storage import GivesAddresses, Storage, open_storage

LARGEST = 8 << 20
MOST = 500
# What `staging.Stager` calls its copies; the dots of "." and ".." never stand alone in it.
NAME = r"[0-9A-Za-z_][0-9A-Za-z_.~%+-]{0,199}"
# By what their content begins with. No SVG: that is a document, with scripts in it.
_KINDS = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
}


class NoImage(ValueError):
    """The content is no image of a kind that is shown."""


class TooManyImages(ValueError):
    """The run has as many as one may have."""


@dataclass(frozen=True)
class Image:
    """An image as it was sent, and what it is by its content."""

    kind: str
    content: bytes


class Images:
    """The images of all runs. Safe to use from any thread."""

    def __init__(self, root: Path, directory: Path, store: Storage | None) -> None:
        """Keep them below that directory; or in `store`, if that is one which several receivers can share.

        `root` is where the runs are: those of this machine have their images in their own directories.
        """
        self._root = root
        is_shared = isinstance(store, GivesAddresses)
        self._store = store if store and is_shared else open_storage(directory.as_uri(), follow_links_out=False)
        self._lock = threading.Lock()

    def put(self, run: str, name: str, content: bytes) -> bool:
        """Keep the image; what was kept first under a name stays. Returns whether it is new.

        Raises:
            NoImage: if it is none.
            TooManyImages: if the run has `MOST`.
            StorageError: if it can't be kept.
        """
        kind_of(content)
        key = _key(run, name)
        with self._lock:
            known = {found.key for found in self._store.list(_key(run, ""))}
            if key in known:
                return False
            if len(known) >= MOST:
                message = f"run {run!r} has {MOST} images, the most that are kept"
                raise TooManyImages(message)
            self._store.put_bytes(content, key)
        return True

    def get(self, run: str, name: str) -> Image:
        """The image.

        Raises:
            ObjectMissing: if there is none of that name.
            StorageError: if it can't be read.
        """
        if not re.fullmatch(NAME, name):
            message = f"there is no image {name!r}"
            raise ObjectMissing(message)
        try:
            content = self._store.read(_key(run, name))
        except ObjectMissing:
            content = self._read_own(run, name)
        try:
            return Image(kind_of(content), content)
        except NoImage as error:  # a training on this machine may have copied anything
            message = f"{name!r} of run {run!r} can't be shown: {error}"
            raise ObjectMissing(message) from error

    def _read_own(self, run: str, name: str) -> bytes:
        """What a training on this machine has copied."""
        own = self._root / safe_name(run) / IMAGES / name
        if own.is_symlink() or not own.is_file() or own.stat().st_size > LARGEST:
            message = f"there is no image {name!r} of run {run!r}, or it has more than {LARGEST} bytes"
            raise ObjectMissing(message)
        return own.read_bytes()


def kind_of(content: bytes) -> str:
    """The media type of an image, by its first bytes.

    Raises:
        NoImage: if it is none that is shown.
    """
    for kind, beginning in _KINDS.items():
        if re.match(beginning, content, re.DOTALL):
            return kind
    raise NoImage("the content is no PNG, JPEG, GIF or WebP image")


def _key(run: str, name: str) -> str:
    return f"{IMAGES}/{safe_name(run)}/{name}"
