"""A receiver's API, as docs/backend.md has it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from trainer_hooks.actions.archives import Packed
from trainer_hooks.actions.backends.asking import Asking, read, segment
from trainer_hooks.actions.backends.http import Body, Http
from trainer_hooks.actions.backends.new_models import new_model
from trainer_hooks.actions.backends.pieces import content_range, piece_of
from trainer_hooks.errors import BackendError, BackendRefused, RetryLater
from trainer_hooks.settings import Settings
from trainer_hooks.wire.server import Server

_PIECE = 16 << 20


def open_receiver(settings: Settings) -> ReceiverBackend:
    """The receiver that TRAINER_HOOKS_BACKEND names, with its token."""

    def credentials() -> dict[str, str]:
        token = (settings.bearer_token() or "").strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    server = Server(
        url=f"{settings.backend.rstrip('/')}/trainer-hooks",
        credentials=credentials,
        address_setting="TRAINER_HOOKS_BACKEND",
        credentials_settings="TRAINER_HOOKS_TOKEN or the file that TRAINER_HOOKS_TOKEN_FILE names",
    )
    return ReceiverBackend(Asking(Http(server), delay=settings.retry_delay))


class ReceiverBackend:
    """`BackendClient` over our own receiver's API."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def get_data_collection(self, collection_id: int | str) -> dict[str, Any]:
        """As the receiver has it."""
        return self._asking.get(f"data-collections/{segment(collection_id)}")

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """As the receiver has it; also a model that isn't complete."""
        return self._asking.get(_model(model_id))

    def create_model(self, request: Mapping[str, Any], *, file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Told, then sent in pieces; the receiver verifies the checksum before it calls it complete."""
        with new_model(request, file) as model:
            packed = model.packed
            described = {**model.fields, "file": packed.name, "size": packed.size, "sha256": packed.sha256}
            made = self._asking.repeat("POST", "models", described, key=secrets.token_hex(16))
            return self._send(packed, made)

    def fetch_model_file(self, model: Mapping[str, Any], folder: Path) -> Path:
        """Fetched in as many tries as it takes, and verified."""
        target = folder / Path(str(model["file"])).name
        self._asking.download(f"{_model(model['id'])}/file", target, sha256=model["sha256"])
        return target

    def get_job(self, job_id: int | str) -> dict[str, Any]:
        """As the receiver has it."""
        return self._asking.get(f"jobs/{segment(job_id)}")

    def update_job(self, job_id: int | str, **fields: Any) -> dict[str, Any]:
        """Each field takes its value, so that a repetition changes nothing."""
        return self._asking.repeat("PATCH", f"jobs/{segment(job_id)}", fields)

    def close(self) -> None:
        """Nothing is held."""

    def _send(self, packed: Packed, model: dict[str, Any]) -> dict[str, Any]:
        patience = self._asking.patience()
        while not model.get("complete"):
            before = _received(model)
            try:
                model = self._send_piece(packed, model["id"], before)
            except RetryLater as problem:
                patience.wait(problem)
                model = self.get_model(model["id"])
            if _received(model) > before:
                patience.renew()
        if model.get("sha256") != packed.sha256:
            message = f"model {model['id']!r} is another one than was sent: its checksum is {model.get('sha256')}"
            raise BackendError(message)
        return model

    def _send_piece(self, packed: Packed, model_id: int | str, start: int) -> dict[str, Any]:
        end = min(start + _PIECE, packed.size)
        body = Body(piece_of(packed.file, start, end), end - start, "application/octet-stream")
        span = {"Content-Range": content_range(start, end, packed.size)}
        try:
            known = read(self._asking.http.exchange("PUT", f"{_model(model_id)}/file", body, span))
        except BackendRefused as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise
            # A piece has come twice, its first answer lost: where to go on from, the model says.
            raise RetryLater(str(refusal)) from refusal
        if _received(known) <= start:
            message = f"model {model_id!r} has taken none of the bytes from {start} on"
            raise RetryLater(message)
        return known


def _model(model_id: int | str) -> str:
    return f"models/{segment(model_id)}"


def _received(model: Mapping[str, Any]) -> int:
    received = model.get("received")
    if "id" not in model or not isinstance(received, int):
        message = "the receiver answers without the model's id, or how much of it has been received"
        raise BackendError(message)
    return received
