"""Uploads and downloads at signed addresses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.guard import BASE
from trainer_hooks.receiver.objects import EXPIRES_IN, Method
from trainer_hooks.receiver.payloads import UploadWanted
from trainer_hooks.receiver.web.common import REFUSALS, Here, JobName, refusals

PATH = "/objects"
_LARGEST = 64 << 30
_CHUNK_WITHIN = 30.0
addresses = APIRouter(tags=["objects"], responses=REFUSALS)
router = APIRouter(tags=["objects"], responses=REFUSALS | refusals({404: "There is no such object."}))

FileName = Annotated[str, Path(max_length=255)]
Expires = Annotated[int, Query(ge=0, le=2**62)]
Signature = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True)
class Upload:
    """Where to PUT the file within so many seconds, and the key that it will have."""

    upload_url: str
    object_key: str
    expires_in: int = EXPIRES_IN


@dataclass(frozen=True)
class Download:
    """Where the file, if it is there, can be fetched from within so many seconds."""

    download_url: str
    object_key: str
    expires_in: int = EXPIRES_IN


@addresses.post("/training/jobs/{job:path}/checkpoints/upload-url")
def upload_url(job: JobName, body: UploadWanted, backend: Here, request: Request) -> Upload:
    """Where a checkpoint may be put without any credential of the storage's."""
    name = body.checkpoint_filename
    return Upload(backend.objects.upload_address(_base(backend, request), job, name), backend.objects.key(job, name))


@addresses.get("/training/jobs/{job:path}/checkpoints/{name}/download-url")
def download_url(job: JobName, name: FileName, backend: Here, request: Request) -> Download:
    """Where an uploaded checkpoint may be fetched from without any credential of the storage's."""
    return Download(
        backend.objects.download_address(_base(backend, request), job, name), backend.objects.key(job, name)
    )


@router.put(PATH + "/{job:path}/{name}", status_code=201)
async def upload(
    job: JobName, name: FileName, expires: Expires, signature: Signature, request: Request, backend: Here
) -> Response:
    """Store the body under the signed key, whole or not at all."""
    _check(backend, "PUT", job, name, (expires, signature))
    if int(request.headers.get("content-length") or 0) > _LARGEST:
        raise HTTPException(413, f"more than {_LARGEST} bytes")
    size = 0
    chunks = aiter(request.stream())
    with backend.objects.writing(job, name) as file:
        while (chunk := await asyncio.wait_for(anext(chunks, None), _CHUNK_WITHIN)) is not None:
            size += len(chunk)
            if size > _LARGEST:
                raise HTTPException(413, f"more than {_LARGEST} bytes")
            await run_in_threadpool(file.write, chunk)
    return Response(status_code=201)


@router.get(PATH + "/{job:path}/{name}", response_class=FileResponse)
def download(job: JobName, name: FileName, expires: Expires, signature: Signature, backend: Here) -> FileResponse:
    """The object, as a file to keep: no browser is to show what somebody has uploaded."""
    _check(backend, "GET", job, name, (expires, signature))
    return FileResponse(backend.objects.file(job, name), media_type="application/octet-stream", filename=name)


def _base(backend: Backend, request: Request) -> str:
    return (backend.url or str(request.base_url).rstrip("/")) + BASE


def _check(backend: Here, method: Method, job: str, name: str, given: tuple[int, str]) -> None:
    if not backend.objects.is_signed(method, job, name, *given):
        raise HTTPException(403, "the address isn't signed, or has expired: ask for a new one")
