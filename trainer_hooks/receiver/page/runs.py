"""The live list of runs."""

from __future__ import annotations

from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from trainer_hooks.receiver.index.lists import Order, Wanted
from trainer_hooks.receiver.page.rendering import render
from trainer_hooks.receiver.shown import Shown
from trainer_hooks.receiver.web.common import Here

router = APIRouter(include_in_schema=False)
_ON_A_PAGE = 50


@router.get("/")
def show_runs(
    request: Request,
    backend: Here,
    status: Annotated[list[Shown] | None, Query()] = None,
    search: Annotated[str, Query(max_length=500)] = "",
    order: Order = "began",
    page: Annotated[int, Query(ge=1, le=10**7)] = 1,
    part: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """The list; `part=list` is what of it changes while one looks."""
    wanted = Wanted(tuple(status or ()), search=search, order=order, limit=_ON_A_PAGE, offset=(page - 1) * _ON_A_PAGE)
    found = backend.index.runs(wanted)

    def address(**changes: object) -> str:
        """The list's address with other filters."""
        asked = {"status": status or [], "search": search, "order": order, **changes}
        given = {name: value for name, value in asked.items() if value and (name, value) != ("order", "began")}
        return "?" + urlencode(given, doseq=True)

    return render(
        request,
        "runs_part.html" if part else "runs.html",
        found=found,
        status=status or [],
        search=search,
        order=order,
        orders=get_args(Order),
        page=page,
        pages=max(1, -(-found.total // _ON_A_PAGE)),
        all_status=get_args(Shown),
        address=address,
    )
