"""Images of runs: taken from couriers, and shown as what their content is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.images import LARGEST, NAME, NoImage, TooManyImages
from trainer_hooks.receiver.web.common import REFUSALS, Errors, Here, JobName, RunName, refusals

router = APIRouter(tags=["images"], responses=REFUSALS)
ImageName = Annotated[str, Path(pattern=f"^{NAME}$", examples=["0a1b2c3d-000001-results.png"])]
_SHOWN: Errors = {200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}
_REFUSED = refusals(
    {
        404: "The job has no such run.",
        409: "The run has as many images as one may have.",
        413: f"It has more than {LARGEST} bytes.",
        422: "It is no PNG, JPEG, GIF or WebP image.",
    }
)


@router.put(
    "/training/jobs/{job:path}/runs/{run}/images/{name}",
    status_code=201,
    responses=_REFUSED | {200: {"description": "An image of that name is here, and stays."}},
    openapi_extra={"requestBody": {"required": True, "content": {"image/png": {"example": "\x89PNG…"}}}},
)
async def put_image(job: JobName, run: RunName, name: ImageName, request: Request, backend: Here) -> Response:
    """Keep an image that the run has told of; `name` is how its `staged` ends."""
    is_new = await run_in_threadpool(_put, backend, job, run, name, await request.body())
    return Response(status_code=201 if is_new else 200)


@router.get(
    "/runs/{run:path}/images/{name}",
    response_class=Response,
    responses=_SHOWN | refusals({404: "There is no such image."}),
)
def get_image(run: RunName, name: ImageName, backend: Here) -> Response:
    """An image that was sent here, as of the kind that its content is of."""
    image = backend.images.get(run, name)
    return Response(image.content, media_type=image.kind)


def _put(backend: Backend, job: str, run: str, name: str, content: bytes) -> bool:
    if len(content) > LARGEST:
        raise HTTPException(413, f"the image has more than {LARGEST} bytes")
    if not backend.inbox.belongs(run, job):
        raise HTTPException(404, f"job {job!r} has told of no run {run!r}")
    try:
        return backend.images.put(run, name, content)
    except NoImage as error:
        raise HTTPException(422, str(error)) from error
    except TooManyImages as error:
        raise HTTPException(409, str(error)) from error
