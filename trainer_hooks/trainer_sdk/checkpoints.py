"""Checkpoints, by the call that B's trainers know; and the URI that one will have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from trainer_hooks.checkpoint_store import CheckpointStore
from trainer_hooks.shield import guard
from trainer_hooks.storage import Storage, open_storage
from trainer_hooks.trainer_sdk.logs import LogCalls


class CheckpointCalls(LogCalls):
    """What a trainer says of its checkpoints; where one can't be stored, this is said as a log record."""

    _uri_of: Callable[[str], str] | None
    _uploads: dict[str, str]
    """The name of each that was taken, by its URI."""

    def upload_checkpoint(
        self, local_path: str, checkpoint_type: str = "best", metrics: Mapping[str, Any] | None = None
    ) -> str:
        """Have a checkpoint file stored; returns the URI that it will have.

        The file is copied before this returns: it may be rewritten or deleted right after. Where it is missing, or no
        storage is set, this is said as a log record, and the URI is the file's own.
        """
        uri = str(local_path)
        with guard("upload_checkpoint"):
            path, name = Path(local_path).absolute(), str(checkpoint_type)
            uri = path.as_uri()
            if not path.is_file():
                self.log_error(f"checkpoint {name!r} can't be stored: there is no file {path}", source="checkpoint")
            else:
                self._run.log_checkpoint(path, names=[name], metrics=metrics)
                uri = self._planned(path, name) or uri
            self._uploads[uri] = name
        return uri

    def _known(self, checkpoints: Mapping[str, str]) -> dict[str, str]:
        """The checkpoints that may be claimed now: by their URI, or by the name that they will be stored under."""
        said = {str(name): self._uploads.get(str(uri), str(uri)) for name, uri in checkpoints.items() if uri}
        return {name: told for name, told in said.items() if told != name}

    def _planned(self, path: Path, name: str) -> str | None:
        if self._uri_of is None:
            self.log_warning(
                f"checkpoint {name!r} is not stored: set INTERNAL_STORAGE_ENDPOINT or TRAINER_HOOKS_STORAGE",
                source="checkpoint",
            )
            return None
        # No storage is needed for a key, and opening S3 here would import boto3 into the training.
        job = self._run.settings.job_id or self._run.id or ""
        keys = CheckpointStore(cast("Storage", None), job)
        return self._uri_of(keys.key(name, path.suffix))


def addressing(storage_uri: str | None) -> Callable[[str], str] | None:
    """What tells an object's URI by its key."""
    if storage_uri is None:
        return None
    if storage_uri.startswith("file:"):
        return open_storage(storage_uri).uri
    return lambda key: f"{storage_uri.rstrip('/')}/{key}"
