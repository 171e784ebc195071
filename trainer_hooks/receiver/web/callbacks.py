"""Predecessor B's callbacks: the same paths, bodies and answers, kept as events under the job's run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel

from trainer_hooks.destinations.platform.routes import job_in_body
from trainer_hooks.events import AnyEvent, Operation
from trainer_hooks.receiver import callbacks
from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.clock import now
from trainer_hooks.receiver.payloads import (
    Completion,
    ExportEnded,
    InferenceEnded,
    Log,
    Progress,
    Started,
    TestEnded,
    Validation,
    moment,
)
from trainer_hooks.receiver.received import Call, Told
from trainer_hooks.receiver.web.common import REFUSALS, Here, JobName, refusals
from trainer_hooks.replay import Attempt

router = APIRouter(tags=["callbacks"], responses=REFUSALS | refusals({409: "The run belongs to another job."}))
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=1000, description="The same on every repeat.")]
Translation = Callable[[Attempt], Sequence[AnyEvent]]


@dataclass(frozen=True)
class Taken:
    """The call is kept. `job_status` "cancelled" asks the training to stop."""

    message: str
    job_status: str
    success: bool = True


@dataclass(frozen=True)
class ResultTaken:
    """A validation is kept, under that number."""

    status: str
    validation_result_id: int
    job_id: int | str
    epoch: int
    job_status: str


@dataclass(frozen=True)
class InferenceTaken:
    """The call is kept."""

    status: str
    job_id: int | str
    job_status: str


@dataclass(frozen=True)
class ExportTaken:
    """The call is kept; `status` is the export's."""

    message: str
    export_job_id: int | str
    status: str


@router.post("/training/jobs/{job:path}/callback/progress")
def progress(job: JobName, body: Progress, backend: Here, key: Key = None) -> Taken:
    """A training begins, or an epoch has ended. A repeated epoch replaces the earlier one; an ended job stays so."""
    told = _tell(backend, job, "training", body, partial(callbacks.progress, body), key)
    return Taken("progress is kept", backend.jobs.status(job, told.attempt))


@router.post("/training/jobs/{job:path}/callback/completion")
def completion(job: JobName, body: Completion, backend: Here, key: Key = None) -> Taken:
    """A training has ended; the exit code says how. The first end counts."""
    told = _tell(backend, job, "training", body, partial(callbacks.completion, body), key)
    return Taken("the end is kept", backend.jobs.status(job, told.attempt))


@router.post("/training/jobs/{job:path}/callback/logs")
def log(job: JobName, body: Log, backend: Here, key: Key = None) -> Taken:
    """A log record, kept whole: with its data, and as of when it was made."""
    told = _tell(backend, job, "training", body, partial(callbacks.log, body), key)
    return Taken("the record is kept", backend.jobs.status(job, told.attempt))


@router.post("/validation/jobs/{job:path}/results")
def validation(job: JobName, body: Validation, backend: Here, key: Key = None) -> ResultTaken:
    """A validation's result. A repeated epoch replaces the earlier one."""
    told = _tell(backend, job, "training", body, partial(callbacks.validation, body), key)
    return ResultTaken("success", told.number, job_in_body(job), body.epoch, backend.jobs.status(job, told.attempt))


@router.post("/test_inference/inference/jobs/{job:path}/callback/started")
def inference_started(job: JobName, body: Started, backend: Here, key: Key = None) -> InferenceTaken:
    """An inference begins."""
    told = _tell(backend, job, "inference", body, lambda attempt: callbacks.started(attempt, "inference"), key)
    return InferenceTaken("success", job_in_body(job), backend.jobs.status(job, told.attempt))


@router.post("/test_inference/inference/jobs/{job:path}/callback/completion")
def inference_ended(job: JobName, body: InferenceEnded, backend: Here, key: Key = None) -> InferenceTaken:
    """An inference has ended, with its results or by an error."""
    told = _tell(backend, job, "inference", body, partial(callbacks.inference, body), key)
    return InferenceTaken("success", job_in_body(job), backend.jobs.status(job, told.attempt))


@router.post("/export/jobs/{job:path}/callback/started")
def export_started(job: JobName, body: Started, backend: Here, key: Key = None) -> ExportTaken:
    """An export begins."""
    told = _tell(backend, job, "export", body, lambda attempt: callbacks.started(attempt, "export"), key)
    return ExportTaken("the start is kept", job_in_body(job), backend.jobs.status(job, told.attempt))


@router.post("/export/jobs/{job:path}/callback/completion")
def export_ended(job: JobName, body: ExportEnded, backend: Here, key: Key = None) -> ExportTaken:
    """An export has ended."""
    told = _tell(backend, job, "export", body, partial(callbacks.export, body), key)
    return ExportTaken("the end is kept", job_in_body(job), backend.jobs.status(job, told.attempt))


@router.post("/test_inference/test/{job:path}/results")
@router.post("/test/{job:path}/results", include_in_schema=False)  # what B's evaluate.py calls
def evaluated(job: JobName, body: TestEnded, backend: Here, key: Key = None) -> InferenceTaken:
    """A test by itself, whole: its beginning, its result and its end."""
    told = _tell(backend, job, "test", body, partial(callbacks.evaluation, body), key)
    return InferenceTaken("success", job_in_body(job), backend.jobs.status(job, told.attempt))


def _tell(
    backend: Backend,
    job: str,
    operation: Operation,
    body: BaseModel,
    events: Translation,
    key: str | None,
) -> Told:
    # B counts its inferences, exports and tests for themselves: job 7 of one kind is not that of another.
    run = job if operation == "training" else f"{operation}-{job}"
    said = f"{type(body).__name__} {body.model_dump_json()}"
    content = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
    begins = isinstance(body, Progress) and callbacks.is_beginning(body)
    return backend.inbox.tell(run, job, Call(key, content, events, moment(body, now()), begins))
