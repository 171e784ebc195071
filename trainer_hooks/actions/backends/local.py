"""A backend that is a directory: works with no server.

data_collections/7/          a dataset's folder, put there by the user
data_collections/8.json      or where it is: {"name": …, "path": …}
models/1/model.json          what was said of it, and in files/ its file: models/1/files/best.pt
jobs/3.json
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.archives import sha256_of
from trainer_hooks.actions.backends.as_json import as_json
from trainer_hooks.actions.backends.new_models import NewModel, new_model
from trainer_hooks.actions.new_folders import new_folder
from trainer_hooks.errors import BackendError, NotInBackend
from trainer_hooks.files import copy_file, locked, replacing, sync_file, write_whole

_MODEL = "model.json"
_FILES = "files"  # a model's file may well be called model.json
_ID = re.compile(r"[^./\\\x00-\x1f\ud800-\udfff][^/\\\x00-\x1f\ud800-\udfff]{0,199}")
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_LOCK_WITHIN = 10.0


class LocalBackend:
    """`BackendClient` in a directory, which is made with the first model; several processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._models = root / "models"
        self._jobs = root / "jobs"

    def get_data_collection(self, collection_id: int | str) -> dict[str, Any]:
        """A folder: its `data.yaml`, or the folder itself; or what a JSON file says."""
        folder = self._root / "data_collections" / _segment(collection_id)
        described = folder.with_name(f"{folder.name}.json")
        known = {"id": collection_id, "name": folder.name, "data_collection": collection_id}
        if folder.is_dir():
            yaml = folder / "data.yaml"
            return {**known, "path": str(yaml if yaml.is_file() else folder)}
        if described.is_file():
            return {**known, **_with_path(_read(described), described)}
        message = (
            f"there is no data collection {collection_id!r}: put its folder at {folder}, "
            f'or {{"path": "where it is"}} into {described}'
        )
        raise NotInBackend(message)

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """What `model.json` says."""
        path = self._models / _segment(model_id) / _MODEL
        if not path.is_file():
            message = f"there is no model {model_id!r} in {self._models}"
            raise NotInBackend(message)
        return _read(path)

    def create_model(self, request: Mapping[str, Any], *, file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Copied beside its place, onto the disk, then renamed to the next number."""
        with new_model(request, file) as model, new_folder(self._models) as folder:
            stored = folder / _FILES / model.packed.name
            stored.parent.mkdir()
            _copy_unchanged(model.packed.file, stored)
            return self._place(model, folder, sha256_of(stored))

    def fetch_model_file(self, model: Mapping[str, Any], folder: Path) -> Path:
        """Copied beside its place, verified, then renamed."""
        name = str(model["file"])
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            message = f"model {model['id']!r} names {name!r}, which can't be a file's name"
            raise NotInBackend(message)
        source = self._models / _segment(model["id"]) / _FILES / name
        with replacing(folder / name) as temporary:
            try:
                copy_file(source, temporary)
            except FileNotFoundError as error:
                message = f"model {model['id']!r} has lost its file {source}"
                raise NotInBackend(message) from error
            if sha256_of(temporary) != model["sha256"]:
                message = f"{source} is not what it was when model {model['id']!r} was created: its checksum is wrong"
                raise BackendError(message)
        return folder / name

    def get_job(self, job_id: int | str) -> dict[str, Any]:
        """What was told of it."""
        path = self._jobs / f"{_segment(job_id)}.json"
        if not path.is_file():
            message = f"nothing was told of a job {job_id!r} in {self._jobs}"
            raise NotInBackend(message)
        return _read(path)

    def update_job(self, job_id: int | str, **fields: Any) -> dict[str, Any]:
        """The file is made with the first update."""
        path = self._jobs / f"{_segment(job_id)}.json"
        with locked(path.with_name(f".{path.name}.lock"), _LOCK_WITHIN):
            known = _read(path) if path.is_file() else {"id": job_id}
            job = {**known, **fields}
            write_whole(path, _json(job))
        return job

    def close(self) -> None:
        """Nothing is held."""

    def _place(self, model: NewModel, folder: Path, sha256: str) -> dict[str, Any]:
        """Rename the folder to the next number; where another process has taken it meanwhile, to the one after."""
        packed = model.packed
        known = {"file": packed.name, "size": packed.size, "sha256": sha256, "created": time.time()}
        number = max((int(path.name) for path in self._models.iterdir() if path.name.isdecimal()), default=0)
        while True:
            number += 1
            made = {**model.fields, "id": number, **known}
            write_whole(folder / _MODEL, _json(made))
            try:
                folder.rename(self._models / str(number))
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            else:
                sync_file(self._models)
                return made


def _copy_unchanged(source: Path, target: Path) -> None:
    before = source.stat()
    size = copy_file(source, target)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns, size) != (after.st_size, after.st_mtime_ns, after.st_size):
        message = f"{source} changed while it was stored"
        raise BackendError(message)
    sync_file(target)


def _segment(name: int | str) -> str:
    """An id as one name in a directory, and never a way out of it."""
    text = str(name)
    if not _ID.fullmatch(text):
        message = f"{text!r} can't be an id here: an id is a number, or a name without / that begins with no point"
        raise NotInBackend(message)
    return text


def _with_path(described: dict[str, Any], file: Path) -> dict[str, Any]:
    if not isinstance(described.get("path"), str):
        message = f'{file} has no "path": write where the data collection is'
        raise BackendError(message)
    path = file.parent / Path(described["path"]).expanduser()
    if not path.exists():
        message = f"{file} says that its data collection is at {path}, where nothing is"
        raise NotInBackend(message)
    return {**described, "path": str(path)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        message = f"{path} is no JSON object: {error}"
        raise BackendError(message) from error


def _json(fields: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(as_json(fields), indent=2)
