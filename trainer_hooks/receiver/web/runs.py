"""What the page and other readers ask: runs, their curves, their logs, and where they differ."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, RedirectResponse

from trainer_hooks.events import Level, Operation
from trainer_hooks.ledger import read_ledger
from trainer_hooks.receiver.checkpoints import InStore
from trainer_hooks.receiver.diffs import Differences
from trainer_hooks.receiver.index.curves import Axis, Curve, MetricShown
from trainer_hooks.receiver.index.lists import Order, RunList, Wanted
from trainer_hooks.receiver.index.logs import LogPage, LogsWanted
from trainer_hooks.receiver.shown import RunTold, Shown
from trainer_hooks.receiver.web.common import NO_SUCH_RUN, REFUSALS, Ending, Here, RunName, refusals

router = APIRouter(tags=["runs"], responses=REFUSALS)
_LOOK_EVERY = 0.5
_LONGEST_WAIT = 25.0
_PLACE = Query(ge=-(2**62), le=2**62, description="A place on the axis, itself within.")

Points = Annotated[int, Query(ge=1, le=10_000, description="Of each curve, so many at most.")]
Place = Annotated[int | None, _PLACE]
LogId = Annotated[int | None, Query(ge=0, le=2**62, description="The id of a log record.")]
CheckpointName = Annotated[str, Path(min_length=1, max_length=500, examples=["best"])]
Text = Annotated[str, Query(max_length=500, description="A part of the message, in upper or lower case.")]


@router.get("/runs")
def list_runs(
    backend: Here,
    status: Annotated[list[Shown] | None, Query(description="Repeat it for several.")] = None,
    operation: Operation | None = None,
    job: Annotated[str | None, Query(max_length=500)] = None,
    search: Annotated[
        str, Query(max_length=500, description="Words of id, job, action, model, framework, task, host.")
    ] = "",
    order: Order = "began",
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> RunList:
    """Runs, the newest first; `counts` is by status, whichever of them the list is for."""
    return backend.index.runs(Wanted(tuple(status or ()), operation, job, search, order, limit, offset))


@router.get("/diff", responses=NO_SUCH_RUN)
def diff(backend: Here, run: Annotated[list[str], Query(min_length=2, max_length=20)]) -> Differences:
    """Where the parameters of several runs differ (`?run=a&run=b`)."""
    return backend.index.diff(run)


@router.get("/runs/{run:path}/metrics", responses=NO_SUCH_RUN)
def list_metrics(run: RunName, backend: Here) -> list[MetricShown]:
    """The run's metrics: on which axis, how many points, and the newest value."""
    return backend.index.metrics(run)


@router.get("/runs/{run:path}/series", responses=NO_SUCH_RUN)
def series(
    run: RunName,
    backend: Here,
    metric: Annotated[list[str], Query(min_length=1, max_length=50, description="Repeat it for several.")],
    axis: Annotated[Axis | None, Query(description="By default epochs, where the metric has them.")] = None,
    points: Points = 500,
    first: Place = None,
    last: Place = None,
) -> list[Curve]:
    """Curves, one for each metric and attempt; of more points than asked for, the lowest and highest of each bucket."""
    within = None if first is None and last is None else (first or 0, 2**62 if last is None else last)
    return backend.index.curves(run, metric, axis, points, within)


@router.get("/runs/{run:path}/logs", responses=NO_SUCH_RUN)
async def logs(
    run: RunName,
    backend: Here,
    request: Request,
    is_ending: Ending,
    level: Level = "DEBUG",
    search: Text = "",
    after: LogId = None,
    before: LogId = None,
    tail: Annotated[int, Query(ge=1, le=5000, description="So many at most.")] = 200,
    wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT, description="Seconds until there is something to tell.")] = 0,
) -> LogPage:
    """The newest log records; those `after` an id, for which one may `wait`; or the last `before` one."""
    wanted = LogsWanted(level, search, after, before, tail)
    until = time.monotonic() + wait
    while True:
        page = await run_in_threadpool(backend.index.logs, run, wanted)
        if page.records or time.monotonic() >= until or is_ending() or await request.is_disconnected():
            return page
        await asyncio.sleep(_LOOK_EVERY)


@router.get("/runs/{run:path}/ledger", responses=NO_SUCH_RUN)
def ledger(run: RunName, backend: Here) -> dict[str, Any]:
    """What became of the run's records: how many are here, which are damaged, and what was delivered on from here."""
    counted = read_ledger(backend.index.directory(run))
    told: dict[str, Any] = msgspec.to_builtins(counted)
    accounts = [
        {**account, "balanced": its.is_balanced(counted.accepted)}
        for account, its in zip(told.pop("accounts"), counted.accounts, strict=True)
    ]
    totals = {"pending": counted.pending, "rejected": counted.rejected, "balanced": counted.is_balanced}
    return {**told, **totals, "destinations": accounts}


@router.get(
    "/runs/{run:path}/checkpoints/{name}",
    response_class=FileResponse,
    responses=refusals({404: "There is no such run or checkpoint, or it can't be had from here; `detail` says why."})
    | {307: {"description": "It is in the store: at `Location`, for an hour."}},
)
def get_checkpoint(run: RunName, name: CheckpointName, backend: Here) -> Response:
    """The newest checkpoint of that name: its file, or where it is to be fetched from without any credential."""
    place = backend.checkpoints.find(backend.index.run(run), name)
    if isinstance(place, InStore):
        return RedirectResponse(place.address)
    headers = {"ETag": f'"{place.sha256}"'} if place.sha256 else {}
    return FileResponse(
        place.path, media_type="application/octet-stream", filename=f"{name}{place.path.suffix}", headers=headers
    )


@router.get("/runs/{run:path}", responses=NO_SUCH_RUN)
def get_run(run: RunName, backend: Here) -> RunTold:
    """One run with all its attempts: parameters, checkpoints, results, failure."""
    return backend.index.run(run)
