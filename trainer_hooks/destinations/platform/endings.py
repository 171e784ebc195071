"""How an attempt ended, in predecessor B's words: it knows completed and failed."""

from __future__ import annotations

from typing import Any

from trainer_hooks.destinations.platform import logs, routes
from trainer_hooks.destinations.platform.calls import Call, Telling, present
from trainer_hooks.destinations.platform.figures import figures
from trainer_hooks.errors import ErrorType, Rejected
from trainer_hooks.events import RunCompleted, RunFailed, RunInterrupted, RunLost
from trainer_hooks.replay import Attempt

_FAILED = 1
"""The exit code where none is known: for B the exit code wins over the status, and 0 would mean completed."""


def status_now(attempt: Attempt) -> str:
    """The status for a progress call: B takes whatever arrives, even "running" for a job that has ended."""
    if attempt.ended is None:
        return "running"
    return "completed" if isinstance(attempt.ended, RunCompleted) else "failed"


def completed(telling: Telling, event: RunCompleted) -> Call | None:
    """The end of a training; that of anything else was said with its results."""
    attempt = telling.attempt
    if attempt.operation != "training":
        if attempt.reported or attempt.operation in routes.WITHOUT_JOB:
            return None
        message = f"the platform takes the end of an {attempt.operation} only with its results, and there were none"
        raise Rejected(message)
    best = figures(event.best_metrics) if event.best_metrics else None
    payload = {
        "job_id": telling.job_id,
        "status": "completed",
        "total_epochs_completed": (event.iterations or 0) if attempt.counts_iterations else event.epochs,
        "final_metrics": figures(event.metrics),
        "exit_code": 0,
        **_checkpoint_paths(telling, event.checkpoints),
        **present(
            best_epoch=event.best_epoch if event.best_iteration is None else event.best_iteration,
            best_metrics=best,
            total_duration_seconds=event.duration,
        ),
    }
    return Call(routes.callback("training", telling.job, "completion"), payload)


def failed(telling: Telling, event: RunFailed) -> Call:
    """The end by an error."""
    message = event.message if event.rank is None else f"rank {event.rank}: {event.message}"
    details = present(traceback=event.traceback or event.output)
    return _failure(telling, event, f"[{event.error}] {message}", event.exit_status or _FAILED, details)


def interrupted(telling: Telling, event: RunInterrupted) -> Call:
    """The end by a signal or a cancel: failed, for B has no other word; the message says it."""
    return _failure(telling, event, f"[{ErrorType.UNKNOWN_ERROR}] interrupted: {event.reason}")


def lost(telling: Telling, event: RunLost) -> Call:
    """The end without a word: failed, as above."""
    return _failure(telling, event, f"[{ErrorType.UNKNOWN_ERROR}] lost: {event.reason}")


def _failure(
    telling: Telling,
    event: RunFailed | RunInterrupted | RunLost,
    message: str,
    exit_code: int = _FAILED,
    details: dict[str, Any] | None = None,
) -> Call:
    attempt = telling.attempt
    if attempt.operation in routes.WITHOUT_JOB:
        return logs.evaluation_ended(telling, event)
    done, before = event.epoch, attempt.epoch
    if attempt.counts_iterations:
        done, before = event.iteration, attempt.iteration
    payload = {
        "job_id": telling.job_id,
        "status": "failed",
        "total_epochs_completed": before if done is None else done,
        "error_message": message,
        "exit_code": exit_code,
        **(_checkpoint_paths(telling, {}) if attempt.operation == "training" else {}),
        **(details or {}),
    }
    return Call(routes.callback(attempt.operation, telling.job, "completion"), payload)


def _checkpoint_paths(telling: Telling, told: dict[str, str]) -> dict[str, Any]:
    """Only what is in storage: a path on the training machine says nothing to the platform."""
    uris = {name: uri for name, uri in told.items() if "://" in uri}
    known = {**uris, **telling.stored}
    return present(best_checkpoint_path=known.get("best"), last_checkpoint_path=known.get("last"))
