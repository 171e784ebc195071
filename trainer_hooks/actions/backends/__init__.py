"""Where data collections come from and models go to: the protocol, and how the configured one is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from trainer_hooks.settings import Settings


class BackendClient(Protocol):
    """A backend, as actions use it. Ids are opaque: numbers or texts.

    Raises (all methods):
        NotInBackend: it has nothing under that id.
        BackendRefused: it said no; asking again won't help.
        BackendError: anything else that went wrong on its side or on the way to it.
        OSError: the caller's own file can't be read or written.
    """

    def get_data_collection(self, collection_id: int | str) -> dict[str, Any]:
        """What is known of a data collection; `path` is where it can be read, if it is on this machine."""
        ...

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """What is known of a model: id, name, category, file, and sha256 where the backend knows it."""
        ...

    def create_model(self, request: Mapping[str, Any], *, file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Upload a model; `file` is a file or a directory, and may stand in the request instead. Returns what it is.

        When this returns, it is there whole and verified. Without a `name`, it is called after its file.
        """
        ...

    def fetch_model_file(self, model: Mapping[str, Any], folder: Path) -> Path:
        """Put the model's file, whole and verified, into that folder; `model` is what `get_model` has returned."""
        ...

    def get_job(self, job_id: int | str) -> dict[str, Any]:
        """What is known of a job."""
        ...

    def update_job(self, job_id: int | str, **fields: Any) -> dict[str, Any]:
        """Change these fields of a job, and no others; returns what is then known of it."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


def open_backend(settings: Settings) -> BackendClient:
    """The backend that the settings name: Synapse, a receiver's API, or a directory.

    Raises:
        InvalidSetting: if the address is none.
    """
    if settings.synapse_host:
        from trainer_hooks.actions.backends.synapse import open_synapse

        return open_synapse(settings)
    if "://" in settings.backend:
        from trainer_hooks.actions.backends.receiver import open_receiver

        return open_receiver(settings)
    from trainer_hooks.actions.backends.local import LocalBackend

    return LocalBackend(Path(settings.backend).expanduser().absolute())
