"""What actions ask and tell beside models: data collections, and jobs. A JSON file each."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from trainer_hooks.attempts import safe_name
from trainer_hooks.destinations.platform.routes import job_in_body
from trainer_hooks.files import write_whole

_COLLECTIONS = "data_collections"
_JOBS = "action_jobs"
_DATA_YAML = "data.yaml"


class Taken(ValueError):
    """There is a record of that id already."""


class Records:
    """Files below one directory. Safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        self._collections = directory / _COLLECTIONS
        self._jobs = directory / _JOBS
        self._lock = threading.Lock()

    def collection(self, name: str) -> dict[str, Any] | None:
        """A data collection: what its `<id>.json` says, or where its folder `<id>` is; None if there is neither."""
        folder = self._collections / safe_name(name)
        told = _read(folder.with_name(f"{folder.name}.json"))
        if told is None and not folder.is_dir():
            return None
        own: dict[str, Any] = {"id": job_in_body(name), "name": name, "data_collection": job_in_body(name)}
        if told is None:
            data = folder / _DATA_YAML
            return {**own, "path": str(data if data.exists() else folder)}
        path = told.get("path")
        if isinstance(path, str) and "://" not in path:
            told = {**told, "path": str(self._collections / path)}
        return {**own, **told}

    def add_collection(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Keep what is said of a data collection; `id` is the next free number, where it says none.

        Raises:
            Taken: if there is one of that id.
            OSError: if it can't be written.
        """
        with self._lock:
            name = str(wanted.get("id") or self._next_number())
            if self.collection(name) is not None:
                raise Taken(name)
            self._collections.mkdir(exist_ok=True)
            told = {key: value for key, value in wanted.items() if value is not None}
            write_whole(
                self._collections / f"{safe_name(name)}.json", msgspec.json.encode({**told, "id": job_in_body(name)})
            )
            return self.collection(name) or told

    def collections(self) -> list[str]:
        """The ids of all data collections, in their order."""
        return _names(self._collections, with_folders=True)

    def jobs(self) -> list[str]:
        """The ids of all jobs that actions have told of."""
        return _names(self._jobs)

    def _next_number(self) -> int:
        return 1 + max((int(name) for name in self.collections() if name.isdecimal()), default=0)

    def job(self, name: str) -> dict[str, Any] | None:
        """What was told of an action's job; None if nothing was."""
        return _read(self._job_file(name))

    def update_job(self, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Give the job's fields these values; returns all of them.

        Raises:
            OSError: if it can't be written.
        """
        with self._lock:
            job = {**(self.job(name) or {}), **changes, "id": job_in_body(name)}
            self._jobs.mkdir(exist_ok=True)
            write_whole(self._job_file(name), msgspec.json.encode(job))
        return job

    def _job_file(self, name: str) -> Path:
        return self._jobs / f"{safe_name(name)}.json"


def _names(folder: Path, *, with_folders: bool = False) -> list[str]:
    """Numbers first, by size."""
    found = folder.iterdir() if folder.is_dir() else ()
    names = {
        unquote(path.name.removesuffix(".json"))
        for path in found
        if path.suffix == ".json" or (with_folders and path.is_dir())
    }
    return sorted(names, key=lambda name: (not name.isdecimal(), name.rjust(20)))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return content
