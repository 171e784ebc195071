"""Events as calls of predecessor B's v2 contract, by the table at the end; pure functions (docs/platform.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from trainer_hooks.destinations.platform import endings, logs, routes
from trainer_hooks.destinations.platform.calls import Call, Telling, present
from trainer_hooks.destinations.platform.figures import figures, finite, primary_metric
from trainer_hooks.errors import Rejected
from trainer_hooks.events import (
    TERMINAL,
    CheckpointStored,
    EpochEnded,
    Event,
    ExportCompleted,
    InferenceCompleted,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    ProgressResumed,
    ProgressStalled,
    RankFailed,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    StopRequested,
    TrackerLinked,
    Validated,
)

Translation: TypeAlias = Callable[[Telling, Any], Call | None]


def translate(telling: Telling) -> Call | None:
    """The call that tells the record; None where an earlier call of the same attempt has said it already.

    Raises:
        Rejected: if B has no call that would take it.
    """
    event = telling.record.event
    if isinstance(event, TERMINAL) and telling.attempt.ended is not None:
        return logs.ended_again(telling, event)
    return TRANSLATIONS[type(event)](telling, event)


def _started(telling: Telling, event: RunStarted) -> Call:
    if event.operation == "training":
        # B wants a number of epochs above 0: where it is not known, the least that it can be.
        total = event.total_epochs or event.total_iterations or 1
        done = event.epoch or event.iteration or 0
        percent = _percent(telling, event, done, total)
        return _progress(telling, done, total, percent, {"metrics": None, "checkpoint_path": None})
    if event.operation in routes.WITHOUT_JOB:
        return logs.evaluation_started(telling, event)
    payload = {
        "type": "started",
        "job_id": telling.job_id,
        "operation_type": event.operation,
        "timestamp": telling.timestamp,
    }
    return Call(routes.callback(event.operation, telling.job, "started"), payload)


def _epoch_ended(telling: Telling, event: EpochEnded) -> Call:
    if telling.attempt.operation != "training":
        return logs.epoch_ended(telling, event)
    known = event.total_epochs or telling.attempt.total_epochs
    details = {
        **_measured(telling, event.metrics),
        **present(epoch_duration_seconds=event.duration, estimated_time_remaining=event.time_left),
    }
    # Of an unknown number of epochs no share is done; 100 % of "as many as there were so far" would be a lie.
    percent = _percent(telling, event, event.epoch, known or 0)
    return _progress(telling, event.epoch, known or max(event.epoch, 1), percent, details)


def _metrics_logged(telling: Telling, event: MetricsLogged) -> Call:
    attempt = telling.attempt
    if attempt.operation != "training" or not attempt.counts_iterations or event.iteration is None:
        return logs.metrics_logged(telling, event)
    total = attempt.total_iterations or event.iteration
    percent = _percent(telling, event, event.iteration, total)
    return _progress(telling, event.iteration, max(total, 1), percent, _measured(telling, event.metrics))


def _measured(telling: Telling, metrics: Metrics) -> dict[str, Any]:
    best = present(best_checkpoint_path=telling.stored.get("best"))
    return {**best, "metrics": figures(metrics) if metrics else None}


def _progress_made(telling: Telling, event: ProgressMade) -> Call:
    if telling.attempt.operation != "training":
        return logs.progress_made(telling, event)
    epoch, total = telling.attempt.epoch, telling.attempt.total_epochs
    if total is None and event.category == "train":
        # Nobody has spoken of epochs: the units of training are the nearest thing.
        epoch, total = math.floor(event.current), math.ceil(event.total)
    extra = {"category": event.category, "current": event.current, "total": event.total}
    percent = _percent(telling, event, event.current, event.total)
    return _progress(telling, epoch, max(total or epoch, 1), percent, {"metrics": figures({}, extra)})


def _progress(telling: Telling, epoch: int, total: int, percent: float, details: dict[str, Any]) -> Call:
    payload = {
        "job_id": telling.job_id,
        "status": endings.status_now(telling.attempt),
        "current_epoch": epoch,
        "total_epochs": total,
        "progress_percent": percent,
        **details,
    }
    return Call(routes.progress(telling.job), payload)


def _percent(
    telling: Telling, event: RunStarted | ProgressMade | EpochEnded | MetricsLogged, done: float, total: float
) -> float:
    """Of the whole workflow, where the training is a step of one; else so much of `total`, which is 0 if unknown."""
    overall = telling.attempt.overall_after(event)
    if overall is not None:
        return 100.0 * overall
    return min(100.0, max(0.0, 100.0 * done / total)) if total > 0 else 0.0


def _validated(telling: Telling, event: Validated) -> Call:
    if telling.attempt.operation not in ("training", "validation"):
        return logs.validated(telling, event)
    primary = primary_metric(event.metrics, event.primary)
    if primary is None:
        raise Rejected("a validation without metrics: the platform needs one to judge it by")
    started = telling.attempt.started
    payload = {
        "type": "validation",
        "job_id": telling.job_id,
        # B keeps one result per epoch: where none are counted, iterations tell the results apart.
        "epoch": event.epoch if event.epoch is not None else event.iteration or 0,
        "task_type": event.task or (started.task if started else None) or "unknown",
        "primary_metric_name": primary[0],
        "primary_metric_value": primary[1],
        "metrics": finite(event.metrics),
        "is_best": event.is_best,
        "timestamp": telling.timestamp,
        **present(
            class_names=event.class_names or None,
            visualization_urls=_reachable(event.images) or None,
            per_class_metrics=event.per_class or None,
        ),
    }
    return Call(routes.validation(telling.job), payload)


def _reachable(images: dict[str, str]) -> dict[str, str]:
    """Only what the platform can open: a path on the training machine says nothing there."""
    return {name: uri for name, uri in images.items() if uri.startswith(("s3://", "http://", "https://"))}


def _inference_completed(telling: Telling, event: InferenceCompleted) -> Call:
    for place, result in enumerate(event.results):
        if not isinstance(result.get("image_path"), str):
            message = f"results[{place}] has no image_path (a text), which the platform needs in each"
            raise Rejected(message)
    payload = {
        "type": "inference_completed",
        "job_id": telling.job_id,
        "status": "completed",
        "total_images": event.total_images,
        "total_inference_time_ms": event.total_time_ms,
        "avg_inference_time_ms": event.total_time_ms / event.total_images if event.total_images else 0.0,
        "results": event.results,
        "timestamp": telling.timestamp,
        **present(result_urls=event.result_urls or None),
    }
    return Call(routes.callback("inference", telling.job, "completion"), payload)


def _export_completed(telling: Telling, event: ExportCompleted) -> Call:
    payload = {
        "type": "export_completed",
        "job_id": telling.job_id,
        "status": "completed",
        "export_format": event.export_format,
        "output_s3_uri": event.uri,
        "file_size_bytes": event.size,
        "metadata": event.metadata,
        "timestamp": telling.timestamp,
    }
    return Call(routes.callback("export", telling.job, "completion"), payload)


# Not here: SegmentOpened, which is the journal's own; CheckpointSaved and ImageSaved, which speak of local files.
TRANSLATIONS: dict[type[Event], Translation] = {
    RunStarted: _started,
    ProgressMade: _progress_made,
    EpochEnded: _epoch_ended,
    MetricsLogged: _metrics_logged,
    MetricsSkipped: logs.metrics_skipped,
    Validated: _validated,
    CheckpointStored: logs.checkpoint_stored,
    TrackerLinked: logs.tracker_linked,
    Logged: logs.logged,
    SignalReceived: logs.signal_received,
    StopRequested: logs.stop_requested,
    ProgressStalled: logs.progress_stalled,
    ProgressResumed: logs.progress_resumed,
    StepStarted: logs.of_a_step,
    StepFinished: logs.of_a_step,
    StepFailed: logs.of_a_step,
    StepRolledBack: logs.of_a_step,
    RankFailed: logs.rank_failed,
    RecordsDropped: logs.records_dropped,
    InferenceCompleted: _inference_completed,
    ExportCompleted: _export_completed,
    RunCompleted: endings.completed,
    RunFailed: endings.failed,
    RunInterrupted: endings.interrupted,
    RunLost: endings.lost,
}
