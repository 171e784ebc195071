"""The protocol "trainer-hooks/1": what the courier speaks with this server (docs/platform.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from trainer_hooks.liveness import Liveness, save_liveness
from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.batches import MOST_BYTES, MOST_EVENTS, PROTOCOL, Malformed, TooMany, read_batch
from trainer_hooks.receiver.jobs import CANCELLED
from trainer_hooks.receiver.web.common import REFUSALS, Here, JobName

router = APIRouter(tags=["trainer-hooks/1"], responses=REFUSALS)

_EVENT = {
    "id": "7.5f3a2c01-1.12",
    "run": "7",
    "attempt": 1,
    "segment": 1,
    "seq": 12,
    "time": 1763803512.123456,
    "event": {"type": "epoch_ended", "epoch": 3, "metrics": {"loss": 0.41}},
}
_ENVELOPE = {
    "type": "object",
    "required": list(_EVENT),
    "properties": {
        "id": {"type": "string", "description": "<run>.<origin>-<segment>.<seq>: the idempotency key"},
        "run": {"type": "string", "minLength": 1, "maxLength": 500},
        "attempt": {"type": "integer", "minimum": 1},
        "segment": {"type": "integer", "minimum": 1},
        "seq": {"type": "integer", "minimum": 1},
        "time": {"type": "number", "minimum": 0},
        "event": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
    },
}
_BATCH = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "maxItems": MOST_EVENTS, "items": _ENVELOPE}},
}

_BEAT = {
    "time": 1763803512.1,
    "run": "7",
    "attempt": 1,
    "state": "progressing",
    "idle": 3.2,
    "usual": 41.0,
    "epoch": 3,
    "total_epochs": 100,
}
_LIVENESS = msgspec.json.schema(Liveness)["$defs"]["Liveness"]


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True)
class Offer:
    """What one request may hold, and that heartbeats and images are wanted."""

    protocol: str = PROTOCOL
    max_events: int = MOST_EVENTS
    max_bytes: int = MOST_BYTES
    heartbeats: bool = True
    images: bool = True


@dataclass(frozen=True)
class Acknowledgement:
    """Each event of the batch is in one of the two. `job_status` "cancelled" asks the training to stop."""

    stored: list[str]
    rejected: dict[str, str]
    job_status: str | None = None


@dataclass(frozen=True)
class Heard:
    """The answer to a heartbeat."""

    job_status: str | None = None


@router.get("/trainer-hooks")
def offer() -> Offer:
    """Which protocol this server speaks."""
    return Offer()


@router.post("/training/jobs/{job:path}/events", openapi_extra=_body(_BATCH, {"events": [_EVENT]}))
async def store_events(job: JobName, request: Request, backend: Here) -> Acknowledgement:
    """Store events; those that are here already stay as they are. What is acknowledged is on the disk."""
    return await run_in_threadpool(_store, backend, job, await request.body())


@router.post("/training/jobs/{job:path}/heartbeat", openapi_extra=_body(_LIVENESS, _BEAT))
async def hear(job: JobName, request: Request, backend: Here) -> Heard:
    """Note that the training lives. Where three of these have failed to come, it counts as lost."""
    return await run_in_threadpool(_hear, backend, job, await request.body())


def _store(backend: Backend, job: str, body: bytes) -> Acknowledgement:
    try:
        arrived, rejected = read_batch(body)
    except TooMany as error:
        raise HTTPException(413, str(error)) from error
    except Malformed as error:
        raise _unprocessable(str(error), *error.where) from error
    receipt = backend.inbox.take(job, arrived)
    return Acknowledgement(receipt.stored, {**rejected, **receipt.rejected}, _wish(backend, job))


def _hear(backend: Backend, job: str, body: bytes) -> Heard:
    try:
        beat = msgspec.json.decode(body, type=Liveness)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _unprocessable(str(error), "body") from error
    if backend.inbox.belongs(beat.run, job):
        save_liveness(backend.inbox.directory(beat.run), beat)
    return Heard(_wish(backend, job))


def _wish(backend: Backend, job: str) -> str | None:
    return CANCELLED if backend.jobs.cancelled(job) else None


def _unprocessable(message: str, *where: str | int) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": where, "msg": message, "input": None}])
