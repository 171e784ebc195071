"""Signing in: whoever has the server's token gets a cookie, which the guard takes in its place."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from trainer_hooks.receiver.guard import SESSION, SIGN_IN
from trainer_hooks.receiver.page.rendering import render
from trainer_hooks.receiver.web.common import Here

router = APIRouter(include_in_schema=False)
_GOOD_FOR = 30 * 86400
_SEE_OTHER = 303


@router.get(SIGN_IN)
def ask(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:  # noqa: A002 - in the address
    """The form."""
    return render(request, "sign_in.html", wrong=False, next=_within(next))


@router.post(SIGN_IN)
async def sign_in(request: Request, backend: Here) -> Response:
    """Give the cookie, and go where one wanted to go."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    wanted = _within(form.get("next", ["/"])[0])
    until = int(time.time()) + _GOOD_FOR
    session = backend.tokens.session(form.get("token", [""])[0].strip(), until)
    if session is None:
        return render(request, "sign_in.html", answer=401, wrong=True, next=wanted)
    answer = RedirectResponse(request.scope.get("root_path", "") + wanted, _SEE_OTHER)
    is_secure = (backend.url or "").startswith("https:")
    answer.set_cookie(SESSION, session, max_age=_GOOD_FOR, httponly=True, samesite="strict", secure=is_secure)
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Take the cookie away."""
    answer = RedirectResponse(request.scope.get("root_path", "") + SIGN_IN, _SEE_OTHER)
    answer.delete_cookie(SESSION, httponly=True, samesite="strict")
    return answer


def _within(wanted: str) -> str:
    """A path of this server's, and of no other's."""
    parts = urlsplit(wanted)
    # More than one slash in front is another server's to a browser, however many there are.
    is_one_slash = wanted.startswith("/") and not wanted.startswith("//")
    is_own = is_one_slash and not parts.scheme and not parts.netloc and "\\" not in wanted
    return wanted if is_own else "/"
