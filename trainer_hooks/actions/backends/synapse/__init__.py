"""Predecessor A's backend; docs/backend.md says which of its calls are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from trainer_hooks.actions.backends.asking import Asking, segment
from trainer_hooks.actions.backends.http import Http
from trainer_hooks.actions.backends.new_models import new_model, unique
from trainer_hooks.actions.backends.synapse.upload import ChunkedUpload
from trainer_hooks.destinations.synapse.address import synapse_server
from trainer_hooks.errors import BackendError, BackendRefused, NotInBackend, RetryLater
from trainer_hooks.settings import Settings, without_userinfo

_OF_A_MODEL = ("name", "plugin", "version", "checkpoint", "configuration", "description")
_OF_A_JOB = ("status", "progress_record", "metrics_record", "console_logs", "result", "meta")


def open_synapse(settings: Settings) -> SynapseBackend:
    """The backend that SYNAPSE_HOST names."""
    return SynapseBackend(Asking(Http(synapse_server(settings)), delay=settings.retry_delay))


class SynapseBackend:
    """`BackendClient` over Synapse's REST interface."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def get_data_collection(self, collection_id: int | str) -> dict[str, Any]:
        """As Synapse has it, which tells no path."""
        found = self._asking.get(f"data_collections/{segment(collection_id)}/")
        return {"data_collection": found.get("id", collection_id), **found}

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """As Synapse has it; `file` is the address of its file."""
        return self._asking.get(f"models/{segment(model_id)}/")

    def create_model(self, request: Mapping[str, Any], *, file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The file first, in chunks and verified; then the model that has it; no other has the digits in its name."""
        _check_fields(request, ("file", *_OF_A_MODEL), "model")
        named = {**request, "name": unique(request["name"])} if request.get("name") else request
        with new_model(named, file) as model:
            upload = ChunkedUpload(self._asking, model.packed).send()
            return self._create({**model.fields, "chunked_upload": upload})

    def fetch_model_file(self, model: Mapping[str, Any], folder: Path) -> Path:
        """Fetched from where the model says that it is; no checksum is told, so that its length has to do."""
        address = model.get("file")
        if not isinstance(address, str) or not address:
            message = f"model {model.get('id')!r} has no file"
            raise NotInBackend(message)
        target = folder / _name_in(address)
        self._asking.download(address, target)
        return target

    def get_job(self, job_id: int | str) -> dict[str, Any]:
        """As Synapse has it."""
        return self._asking.get(f"jobs/{segment(job_id)}/")

    def update_job(self, job_id: int | str, **fields: Any) -> dict[str, Any]:
        """Not sent twice, unless it can't have been done."""
        _check_fields(fields, _OF_A_JOB, "job")
        try:
            return self._asking.once("PATCH", f"jobs/{segment(job_id)}/", fields)
        except RetryLater as lost:
            message = f"job {job_id!r} may be changed or not: {lost}"
            raise BackendError(message) from lost

    def close(self) -> None:
        """Nothing is held."""

    def _create(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Tell of the model; again, if no answer comes, where asking shows that it isn't there."""
        patience = self._asking.patience()
        while True:
            try:
                return self._asking.once("POST", "models/", fields)
            except RetryLater as lost:
                message = (
                    f"model {fields['name']!r} may be created or not: {lost}; look for it before you create another"
                )
                problem = RetryLater(message, lost.after)
            except BackendRefused as refusal:
                # It is there since a try before, whose work was slower than our question.
                if refusal.status != HTTPStatus.BAD_REQUEST or not (found := self._found(fields)):
                    raise
                return found
            found = self._found(fields)
            if found:
                return found
            patience.wait(problem)

    def _found(self, ours: Mapping[str, Any]) -> dict[str, Any] | None:
        """Our model, if it is there: the name has digits that nobody else has drawn, and its file is the one sent."""
        answer = self._asking.get(f"models/?{urlencode({'search': ours['name']})}")
        for model in answer.get("results") or []:
            if isinstance(model, dict) and model.get("name") == ours["name"]:
                return model if model.get("chunked_upload") in {None, ours["chunked_upload"]} else None
        return None


def _name_in(address: str) -> str:
    try:
        path = unquote(urlsplit(address).path)
    except ValueError as error:
        message = f"a file can't be fetched from {without_userinfo(address)!r}: {error}"
        raise BackendError(message) from error
    return Path(path).name or "model"


def _check_fields(fields: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(fields) - set(known))
    if unknown:
        message = f"Synapse knows no {', '.join(unknown)} of a {what}; it takes {', '.join(known)}"
        raise BackendError(message)
