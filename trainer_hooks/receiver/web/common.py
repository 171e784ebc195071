"""What the routes share: the backend, the job in a path, and answers to what can't be done."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from trainer_hooks.errors import ObjectMissing, SetupError, StorageError, StorageRefused
from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.batches import Refused
from trainer_hooks.receiver.checkpoints import NotToBeHad
from trainer_hooks.receiver.index.index import NoSuchRun

_log = logging.getLogger("trainer_hooks")
_RETRY_AFTER = "30"

JobName = Annotated[str, Path(min_length=1, max_length=500, examples=["7"], description="The platform's job.")]
RunName = Annotated[str, Path(min_length=1, max_length=500, examples=["7"], description="The run's id.")]

Errors = dict[int | str, dict[str, Any]]
_DETAIL = {"application/json": {"schema": {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}}}


def refusals(reasons: dict[int, str]) -> Errors:
    """How a description tells of answers that refuse, by status."""
    return {status: {"description": reason, "content": _DETAIL} for status, reason in reasons.items()}


REFUSALS = refusals(
    {
        400: "The request can't be what was meant.",
        401: "The token is missing, or may not do this.",
        403: "A page of another origin asks.",
        408: "The body took too long.",
        413: "The body is too large.",
        415: "The body doesn't say that it is JSON.",
        421: "Without a token, only localhost is answered.",
        503: "The disk doesn't take it now; see Retry-After.",
    }
)
NO_SUCH_RUN = refusals({404: "There is no such run."})


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


Here = Annotated[Backend, Depends(_backend)]


def _is_ending(request: Request) -> Callable[[], bool]:
    asked: Callable[[], bool] = request.app.state.is_ending
    return asked


Ending = Annotated[Callable[[], bool], Depends(_is_ending)]
"""Whether the server has been asked to end: answers that go on for long are to end, too."""


def answer_failures(app: FastAPI) -> None:
    """Have what the backend raises answered by a status and a reason."""

    @app.exception_handler(RequestValidationError)
    def _malformed(_request: Request, error: RequestValidationError) -> Response:
        # Without what was sent: it may be of any size, and hold what no JSON can (NaN, half characters).
        told = [{name: found[name] for name in ("type", "loc", "msg")} for found in error.errors()]
        return Response(json.dumps({"detail": told}), 422, media_type="application/json")

    @app.exception_handler(OSError)
    def _disk(_request: Request, error: OSError) -> JSONResponse:
        _log.warning("the disk refused: %s", error)
        detail = f"it can't be stored now: {error.strerror or 'the disk refuses'}"
        return JSONResponse({"detail": detail}, 503, {"Retry-After": _RETRY_AFTER})

    @app.exception_handler(ObjectMissing)
    @app.exception_handler(NotToBeHad)
    def _not_there(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    @app.exception_handler(NoSuchRun)
    def _missing(_request: Request, error: NoSuchRun) -> JSONResponse:
        return JSONResponse({"detail": f"there is no run {error}"}, 404)

    @app.exception_handler(Refused)
    def _refused(_request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @app.exception_handler(StorageError)
    def _store(_request: Request, error: StorageError) -> JSONResponse:
        _log.warning("the store refused: %s", error)
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": _RETRY_AFTER})

    @app.exception_handler(StorageRefused)
    @app.exception_handler(SetupError)
    def _wrong(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)
