"""What actions call: data collections, models and jobs (docs/backend.md)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from trainer_hooks.receiver.models import NoSuchModel, WrongFile, WrongPiece
from trainer_hooks.receiver.records import Taken
from trainer_hooks.receiver.web.common import REFUSALS, Here, refusals

router = APIRouter(
    prefix="/trainer-hooks", tags=["actions"], responses=REFUSALS | refusals({404: "There is no such thing."})
)
_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-(?P<last>\d{1,18})/(?P<size>\d{1,18})")

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=10**9)]
Id = Annotated[str, Path(min_length=1, max_length=500, examples=["7"])]


Changes = Annotated[dict[str, Any], Body(examples=[{"status": "RUNNING"}])]


class NewModel(BaseModel, extra="allow"):
    """A model whose file is still to come. Other fields are kept as they are."""

    name: str = Field(min_length=1, max_length=500, examples=["yolo11n on shapes"])
    file: str = Field(
        min_length=1,
        max_length=255,
        pattern=r"^[^/\\\x00-\x1f]*[^/\\\x00-\x1f.][^/\\\x00-\x1f]*$",
        examples=["best.pt"],
        description="Its name, without a folder.",
    )
    size: int = Field(ge=1, le=10**15, examples=[5_432_100])
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$", examples=["0123456789abcdef" * 4])


class NewCollection(BaseModel, extra="allow"):
    """Where a dataset is. Other fields are kept as they are."""

    id: int | str | None = Field(default=None, examples=[7], description="By default the next number.")
    name: str = Field(min_length=1, max_length=500, examples=["shapes"])
    path: str | None = Field(
        default=None,
        max_length=2000,
        examples=["s3://datasets/shapes"],
        description="Where a training finds it: a path or an address. A relative one begins at the server's folder of "
        "data collections.",
    )


@dataclass(frozen=True)
class Records:
    """A part of a list, in the order of the ids; `total` is how many there are in all."""

    records: list[dict[str, Any]]
    total: int


@router.get("/data-collections")
def list_collections(backend: Here, limit: Limit = 50, offset: Offset = 0) -> Records:
    """All data collections."""
    return _page(backend.records.collections(), backend.records.collection, limit, offset)


@router.post("/data-collections", status_code=201, responses=refusals({409: "There is one of that id."}))
def add_collection(body: NewCollection, backend: Here) -> dict[str, Any]:
    """Make a data collection known; its files stay where they are."""
    try:
        return backend.records.add_collection(body.model_dump(mode="json"))
    except Taken as error:
        raise HTTPException(409, f"there is a data collection {error}") from error


@router.get("/data-collections/{name:path}")
def get_collection(name: Id, backend: Here) -> dict[str, Any]:
    """A data collection; `path` is where a training finds it."""
    return _found(backend.records.collection(name), f"there is no data collection {name}")


@router.post("/models", status_code=201, responses={200: {"description": "The model that the same key has made."}})
def create_model(
    body: NewModel,
    backend: Here,
    response: Response,
    key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=1000)] = None,
) -> dict[str, Any]:
    """Announce a model; its file follows in pieces."""
    model, is_new = backend.models.create(body.model_dump(mode="json"), key)
    response.status_code = 201 if is_new else 200
    return model


@router.get("/models")
def list_models(backend: Here, limit: Limit = 50, offset: Offset = 0) -> Records:
    """All models, those among them that are not complete."""
    return _page([str(number) for number in backend.models.ids()], backend.models.get, limit, offset)


@router.get("/models/{model}")
def get_model(model: Id, backend: Here) -> dict[str, Any]:
    """A model, complete or not."""
    try:
        return backend.models.get(model)
    except NoSuchModel as error:
        raise HTTPException(404, str(error)) from error


@router.put(
    "/models/{model}/file",
    responses=refusals({409: "Another piece is the next one.", 422: "The piece is not one of that file."}),
)
async def put_piece(
    model: Id, request: Request, backend: Here, content_range: Annotated[str, Header(max_length=100)]
) -> Any:
    """The next piece of a model's file: `Content-Range: bytes a-b/n`. The last one is answered when all is verified."""
    match = _RANGE.fullmatch(content_range)
    piece = await request.body()
    if match is None or int(match["last"]) - int(match["first"]) + 1 != len(piece):
        raise HTTPException(422, f"Content-Range {content_range!r} is not about {len(piece)} bytes")
    try:
        return await run_in_threadpool(backend.models.put, model, int(match["first"]), int(match["size"]), piece)
    except WrongPiece as error:
        return JSONResponse({"detail": str(error), "received": error.received}, 409)
    except WrongFile as error:
        raise HTTPException(422, str(error)) from error
    except NoSuchModel as error:
        raise HTTPException(404, str(error)) from error


@router.get("/models/{model}/file", response_class=FileResponse)
def get_file(model: Id, backend: Here) -> FileResponse:
    """The file of a complete model; `Range` and `If-Range` are heeded."""
    try:
        path, told = backend.models.file(model), backend.models.get(model)
    except NoSuchModel as error:
        raise HTTPException(404, str(error)) from error
    headers = {"ETag": f'"{told["sha256"].lower()}"'}
    return FileResponse(path, media_type="application/octet-stream", filename=told["file"], headers=headers)


@router.get("/jobs")
def list_jobs(backend: Here, limit: Limit = 50, offset: Offset = 0) -> Records:
    """All jobs that actions have told of."""
    return _page(backend.records.jobs(), backend.records.job, limit, offset)


@router.get("/jobs/{name:path}")
def get_job(name: Id, backend: Here) -> dict[str, Any]:
    """What actions have told of a job."""
    return _found(backend.records.job(name), f"there is no job {name}")


@router.patch("/jobs/{name:path}")
def update_job(name: Id, changes: Changes, backend: Here) -> dict[str, Any]:
    """Give a job's fields new values; a job that isn't known is made."""
    return backend.records.update_job(name, changes)


def _page(names: list[str], read: Callable[[str], dict[str, Any] | None], limit: int, offset: int) -> Records:
    found = [read(name) for name in names[offset : offset + limit]]
    return Records([record for record in found if record is not None], len(names))


def _found(record: dict[str, Any] | None, otherwise: str) -> dict[str, Any]:
    if record is None:
        raise HTTPException(404, otherwise)
    return record
