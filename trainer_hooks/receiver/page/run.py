"""One run: how it stands, its curves, checkpoints, logs, parameters, steps, and what became of its records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from trainer_hooks.delivery import load_rejected
from trainer_hooks.ledger import COUNTED_AT_MOST, read_accounts
from trainer_hooks.receiver.diffs import flatten
from trainer_hooks.receiver.index.index import NoSuchRun
from trainer_hooks.receiver.index.logs import LogsWanted
from trainer_hooks.receiver.page.rendering import render
from trainer_hooks.receiver.shown import RunTold
from trainer_hooks.receiver.web.common import Here, RunName

router = APIRouter(include_in_schema=False)
_OPEN = ("opened", "running")
_LAST_WORDS = 12
_REFUSED = 20


@router.get("/run/{run:path}")
def show_run(
    request: Request, run: RunName, backend: Here, part: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """The run's page; `part` is `top` or `rest`, which change while one looks."""
    try:
        told = backend.index.run(run)
    except NoSuchRun:
        return render(request, "missing.html", answer=404, run=run)
    newest = told.attempts[-1]
    directory = backend.index.directory(run)
    accounts = read_accounts(directory) if part != "top" else []
    template = {"top": "run_top.html", "rest": "run_rest.html"}.get(part, "run.html")
    return render(
        request,
        template,
        run=run,
        told=told,
        summary=told.summary,
        newest=newest,
        is_open=told.summary.status in _OPEN,
        best=_best_checkpoint(told),
        params=sorted(flatten(newest.params)),
        dataset=sorted(flatten(newest.dataset)),
        result=list(flatten(newest.result)),
        metrics=backend.index.metrics(run) if part != "top" else [],
        last_words=backend.index.logs(run, LogsWanted(limit=_LAST_WORDS)).records if newest.failure else [],
        accounts=accounts,
        counted_at_most=COUNTED_AT_MOST,
        dropped=sum(attempt.dropped for attempt in told.attempts),
        rejected={one.destination: load_rejected(directory, one.destination)[:_REFUSED] for one in accounts},
    )


def _best_checkpoint(told: RunTold) -> str | None:
    """The name of the checkpoint that the run's best value belongs to, if there is one of that name."""
    names = [checkpoint.name for checkpoint in told.attempts[-1].checkpoints]
    return next((name for name in names if name == "best" or name.startswith("best_")), None)
