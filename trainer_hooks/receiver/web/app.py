"""The application: all routes behind the guard, and their description."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware import Middleware
from fastapi.security import HTTPBearer

from trainer_hooks import __version__
from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.guard import BASE, Guard
from trainer_hooks.receiver.web import actions, batches, callbacks, health, images, jobs, objects, runs, streams
from trainer_hooks.receiver.web.common import answer_failures

DESCRIPTION_PATH = "/openapi.json"
_PROTECTED = (
    batches.router,
    callbacks.router,
    objects.addresses,
    jobs.router,
    images.router,
    streams.router,
    runs.router,
    actions.router,
)


def create_app(
    backend: Backend, *pages: APIRouter, open_to_all: tuple[str, ...] = (), behind: Middleware | None = None
) -> FastAPI:
    """The server's application; `pages` are routes beside the API's, of which `open_to_all` need no token.

    What has passed the guard goes through `behind`, if there is one.
    """
    app = FastAPI(
        title="trainer_hooks receiver",
        version=__version__,
        summary="Takes what trainings tell, and shows it.",
        openapi_url=DESCRIPTION_PATH,
        docs_url=None,  # they would load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.backend = backend
    app.state.is_ending = lambda: False
    answer_failures(app)
    bearer = Depends(HTTPBearer(auto_error=False, description="The server's token, or the job's."))
    for router in _PROTECTED:
        # The guard has looked at the token already: this is for the description.
        app.include_router(router, prefix=BASE, dependencies=[bearer])
    app.include_router(objects.router, prefix=BASE)
    app.include_router(health.router)
    for router in pages:
        app.include_router(router)
    if behind is not None:
        app.add_middleware(behind.cls, *behind.args, **behind.kwargs)
    signed = (f"{BASE}{objects.PATH}/",)
    app.add_middleware(
        Guard,
        tokens=backend.tokens,
        signed=signed,
        open_to_all=(DESCRIPTION_PATH, health.PATH, *open_to_all),
        url=backend.url,
    )
    return app
