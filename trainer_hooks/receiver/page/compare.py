"""Several runs beside each other: their curves overlaid, and where their parameters differ."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.index.index import NoSuchRun
from trainer_hooks.receiver.page.rendering import render
from trainer_hooks.receiver.shown import Value
from trainer_hooks.receiver.web.common import Here

router = APIRouter(include_in_schema=False)
_MOST = 12


@router.get("/compare")
def compare(
    request: Request, backend: Here, run: Annotated[list[str], Query(min_length=1, max_length=_MOST)]
) -> Response:
    """The comparison of `run=a&run=b`."""
    runs = list(dict.fromkeys(run))
    try:
        told = [backend.index.run(one) for one in runs]
        different = backend.index.diff(runs)
    except NoSuchRun as missing:
        return render(request, "missing.html", answer=404, run=str(missing))
    is_open = any(one.summary.status in {"opened", "running"} for one in told)
    return render(
        request,
        "compare.html",
        runs=[one.summary for one in told],
        values=_newest_values(backend, runs),
        different=different,
        is_open=is_open,
    )


def _newest_values(backend: Backend, runs: list[str]) -> dict[str, dict[str, Value]]:
    """Each metric's newest value in each run that has told of it."""
    values: dict[str, dict[str, Value]] = {}
    for run in runs:
        for metric in backend.index.metrics(run):
            values.setdefault(metric.name, {})[run] = metric.value
    return values
