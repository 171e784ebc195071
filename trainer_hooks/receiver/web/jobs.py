"""Jobs: how they stand, and the wish that one ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fastapi import APIRouter
from pydantic import BaseModel, Field

from trainer_hooks.receiver.jobs import CANCELLED, PENDING
from trainer_hooks.receiver.residents import ask_residents_to_stop
from trainer_hooks.receiver.shown import RunShown
from trainer_hooks.receiver.web.common import REFUSALS, Here, JobName

_ENDED = ("completed", "failed", "interrupted")
router = APIRouter(tags=["jobs"], responses=REFUSALS)


class Reason(BaseModel):
    """Why the job is to end."""

    reason: str = Field(default="", max_length=1000, examples=["the loss has diverged"])


@dataclass(frozen=True)
class JobShown:
    """A job: its status, since when somebody wants it to end (unix seconds) and why, and its runs, the newest first.

    `not_asked`: by run, why a training that writes here could not be asked just now.
    """

    job: str
    job_status: str
    runs: list[RunShown]
    cancelled_at: float | None = None
    reason: str | None = None
    not_asked: dict[str, str] = field(default_factory=dict)


@router.post("/jobs/{job:path}/cancel")
def cancel(job: JobName, backend: Here, body: Reason | None = None) -> JobShown:
    """Ask the job's training to stop: whoever tells of it is answered "cancelled", and it ends at its next epoch.

    A training that writes into the receiver's directory itself is asked there, if it can be; `not_asked` says why not.
    """
    reason = body.reason if body else ""
    backend.jobs.cancel(job, reason)
    ended = {run.run for run in backend.index.of_job(job) if run.status in _ENDED}
    why = f"job {job!r} was cancelled at the receiver" + (f": {reason}" if reason else "")
    refused = ask_residents_to_stop(backend.root, job, why, ended=ended)
    return replace(get_job(job, backend), not_asked=refused)


@router.get("/jobs/{job:path}")
def get_job(job: JobName, backend: Here) -> JobShown:
    """How a job stands; one that nobody has told of is pending."""
    runs = backend.index.of_job(job)
    wish = backend.jobs.cancelled(job)
    status = runs[0].status if runs else PENDING
    if wish is None or (runs and not runs[0].cancelled):
        return JobShown(job, status, runs)
    is_open = status in ("opened", "running", PENDING)
    return JobShown(job, CANCELLED if is_open else status, runs, wish.at, wish.reason or None)
