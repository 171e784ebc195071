"""Models that actions upload, piece by piece: a model is complete when its file is here whole and verified.

`models/<number>/model.json` is what was posted, with how far it is; the file beside it is `file`.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.files import sync_file, write_whole
from trainer_hooks.receiver.clock import now

_FOLDER = "models"
_DESCRIPTION = "model.json"
_FILE = "file"
_CHUNK = 1 << 20
_NUMBER = r"[1-9]\d{0,17}"


class NoSuchModel(LookupError):
    """There is no model of that id."""


class WrongPiece(ValueError):
    """The piece isn't the next one; `received` is where that begins."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message)
        self.received = received


class WrongFile(ValueError):
    """The file isn't the one that was announced."""


class _Kept(msgspec.Struct):
    """A model on the disk. `key` is what a repeated request to create it is known by."""

    model: dict[str, Any]
    key: str | None = None


class Models:
    """The models of this server. Safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / _FOLDER
        self._lock = threading.Lock()
        self._keys: dict[str, int] = {}
        for number in self._numbers():
            key = self._load(number).key
            if key is not None:
                self._keys[key] = number

    def create(self, wanted: dict[str, Any], key: str | None) -> tuple[dict[str, Any], bool]:
        """A new model without its file, or the one that the same key has made; and whether it is new.

        Raises:
            OSError: if it can't be written.
        """
        with self._lock:
            if key in self._keys:
                return self._load(self._keys[key]).model, False
            number = max(self._numbers(), default=0) + 1
            (self._directory / str(number)).mkdir(parents=True)
            model = {**wanted, "id": number, "created": now(), "received": 0, "complete": False}
            self._save(number, _Kept(model, key))
            sync_file(self._directory)
            if key is not None:
                self._keys[key] = number
        return model, True

    def get(self, identity: str) -> dict[str, Any]:
        """The model.

        Raises:
            NoSuchModel: if there is none.
        """
        return self._load(_number(identity)).model

    def ids(self) -> list[int]:
        """The ids of all models, in their order."""
        return sorted(self._numbers())

    def file(self, identity: str) -> Path:
        """The file of a complete model.

        Raises:
            NoSuchModel: if there is none, or it isn't complete.
        """
        number = _number(identity)
        if not self._load(number).model["complete"]:
            message = f"model {number} is not complete"
            raise NoSuchModel(message)
        return self._directory / str(number) / _FILE

    def put(self, identity: str, start: int, size: int, piece: bytes) -> dict[str, Any]:
        """Keep the next piece of a file of so many bytes; with the last one, verify the file.

        Raises:
            NoSuchModel: if there is none.
            WrongPiece: if another piece is the next one.
            WrongFile: if this is not the file that was announced.
            OSError: if the disk doesn't take it; it is then as if the piece had not come.
        """
        number = _number(identity)
        with self._lock:
            kept = self._load(number)
            model = kept.model
            if model["complete"] or start != model["received"]:
                raise WrongPiece("this is not the next piece", model["received"])
            if size != model["size"] or start + len(piece) > size:
                message = f"the file was announced with {model['size']} bytes"
                raise WrongFile(message)
            path = self._directory / str(number) / _FILE
            _write_at(path, start, piece)
            is_whole = start + len(piece) == size
            is_right = is_whole and _sha256(path) == model["sha256"].lower()
            model["received"] = start + len(piece) if is_right or not is_whole else 0
            model["complete"] = is_right
            self._save(number, kept)
        if is_whole and not is_right:
            raise WrongFile("the file's SHA-256 is not the one that was announced: send it again")
        return model

    def _numbers(self) -> list[int]:
        if not self._directory.is_dir():
            return []
        found = (path for path in self._directory.iterdir() if re.fullmatch(_NUMBER, path.name, re.ASCII))
        return [int(path.name) for path in found if (path / _DESCRIPTION).exists()]

    def _load(self, number: int) -> _Kept:
        try:
            content = (self._directory / str(number) / _DESCRIPTION).read_bytes()
        except FileNotFoundError:
            message = f"there is no model {number}"
            raise NoSuchModel(message) from None
        return msgspec.json.decode(content, type=_Kept)

    def _save(self, number: int, kept: _Kept) -> None:
        folder = self._directory / str(number)
        write_whole(folder / _DESCRIPTION, msgspec.json.encode(kept))
        sync_file(folder)


def _number(identity: str) -> int:
    if not re.fullmatch(_NUMBER, identity, re.ASCII):
        message = f"there is no model {identity!r}"
        raise NoSuchModel(message)
    return int(identity)


def _write_at(path: Path, start: int, piece: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(handle, start)
        rest = memoryview(piece)
        while rest:
            written = os.pwrite(handle, rest, start)
            start, rest = start + written, rest[written:]
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
