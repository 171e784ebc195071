"""Predecessor B's calls as events: the inverse of `destinations/platform/contract.py`. Pure functions.

Each is given the attempt as it was before. What was told already gives no event: a state is set once, and an attempt
ends once; what comes behind its end is kept as a word about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from trainer_hooks.events import (
    AnyEvent,
    CheckpointStored,
    EpochEnded,
    ErrorKind,
    ExportCompleted,
    InferenceCompleted,
    Level,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    Operation,
    ProgressMade,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    Validated,
)
from trainer_hooks.metrics import read_metrics
from trainer_hooks.receiver.payloads import (
    Completion,
    ExportEnded,
    Figures,
    InferenceEnded,
    Log,
    Progress,
    TestEnded,
    Validation,
)
from trainer_hooks.replay import Attempt

_OURS = "trainer_hooks"
_PROGRESS = {"category", "current", "total"}
_FAILURE = re.compile(r"\[(?P<kind>\w+)\] (?P<message>.*)", re.DOTALL)
_RANK = re.compile(r"rank (?P<rank>\d{1,9}): (?P<message>.*)", re.DOTALL)
_STORED = ("name", "s3_uri", "sha256", "size")
# What B takes with a validation and `Validated` has no place for.
_MORE_OF_VALIDATION = (
    "overall_loss",
    "confusion_matrix",
    "pr_curves",
    "sample_correct_images",
    "sample_incorrect_images",
    "image_results",
)


def is_beginning(body: Progress) -> bool:
    """Whether this is what a training says first."""
    return body.current_epoch == 0 and body.metrics is None


def progress(body: Progress, attempt: Attempt) -> list[AnyEvent]:
    """A training's beginning, an epoch, or progress within one."""
    events: list[AnyEvent] = []
    if attempt.started is None and attempt.ended is None:
        events.append(RunStarted(total_epochs=body.total_epochs or None))
    metrics, skipped = _metrics(body.metrics)
    extra = body.metrics.extra_metrics if body.metrics else None
    if extra and extra.keys() >= _PROGRESS and isinstance(extra["category"], str):
        events += _units(extra)
    elif body.current_epoch:
        told = EpochEnded(
            epoch=body.current_epoch,
            total_epochs=body.total_epochs or None,
            metrics=metrics,
            duration=_finite(body.epoch_duration_seconds),
            time_left=_finite(body.estimated_time_remaining),
        )
        events += [told, *_skipped(skipped)]
    elif metrics or skipped:
        events += [MetricsLogged(metrics=metrics), *_skipped(skipped)]
    return events


def completion(body: Completion, attempt: Attempt) -> list[AnyEvent]:
    """A training's end; the exit code wins over the status."""
    if body.exit_code != 0:
        done = body.total_epochs_completed
        return _ended(attempt, _failure(body.error_message, body.traceback, body.exit_code, done))
    metrics, skipped = _metrics(body.final_metrics)
    best, _ = _metrics(body.best_metrics)
    paths = {"best": body.best_checkpoint_path, "last": body.last_checkpoint_path, "final": body.final_checkpoint_path}
    end = RunCompleted(
        epochs=body.total_epochs_completed,
        metrics=metrics,
        best_epoch=body.best_epoch,
        best_metrics=best,
        duration=_finite(body.total_duration_seconds),
        checkpoints={name: path for name, path in paths.items() if path},
    )
    return [*_skipped(skipped), *_ended(attempt, end)]


def log(body: Log, _attempt: Attempt) -> list[AnyEvent]:
    """A log record; that a checkpoint is stored, as that."""
    data = body.data or {}
    if body.event_type == "checkpoint" and all(data.get(name) for name in _STORED):
        stored = _stored(data)
        if stored is not None:
            return [stored]
    return [Logged(level=body.level, message=body.message, source=body.event_type, data=data)]


def validation(body: Validation, _attempt: Attempt) -> list[AnyEvent]:
    """A validation; what only B has a place for, as a log record beside it."""
    told = {body.primary_metric_name: body.primary_metric_value, **body.metrics}
    metrics, skipped = read_metrics(_with_non_finite(told))
    event = Validated(
        metrics=metrics,
        epoch=body.epoch,
        task=body.task_type,
        primary=body.primary_metric_name,
        is_best=body.is_best,
        class_names=body.class_names or [],
        per_class={name: read_metrics(values)[0] for name, values in (body.per_class_metrics or {}).items()},
        images=body.visualization_urls or {},
    )
    more = {name: value for name in _MORE_OF_VALIDATION if (value := getattr(body, name)) is not None}
    return [event, *_skipped(skipped), *_beside("validation", f"more of the validation of epoch {body.epoch}", more)]


def started(attempt: Attempt, operation: Operation) -> list[AnyEvent]:
    """An inference or an export begins; that the call came says it all."""
    return [] if attempt.started or attempt.ended else [RunStarted(operation=operation)]


def inference(body: InferenceEnded, attempt: Attempt) -> list[AnyEvent]:
    """An inference's end, with its results."""
    if body.status == "failed":
        return _ended(attempt, _failure(body.error_message, body.traceback, body.exit_code))
    results = InferenceCompleted(
        total_images=len(body.results) if body.total_images is None else body.total_images,
        total_time_ms=_finite(body.total_inference_time_ms) or 0.0,
        results=[result.model_dump(mode="json") for result in body.results],
        result_urls=body.result_urls or {},
    )
    return [*started(attempt, "inference"), results, *_completed(attempt)]


def export(body: ExportEnded, attempt: Attempt) -> list[AnyEvent]:
    """An export's end; one of no known status is a word about it."""
    if body.status == "failed":
        return _ended(attempt, _failure(body.error_message, body.traceback, body.exit_code))
    if body.status != "completed":
        return [_said("WARNING", f"export: {body.status}: {body.error_message or 'no further word'}")]
    exported = ExportCompleted(
        export_format=body.export_format or "unknown",
        uri=body.output_s3_uri or "",
        size=body.file_size_bytes or 0,
        metadata=body.metadata or {},
    )
    return [*started(attempt, "export"), exported, *_completed(attempt)]


def evaluation(body: TestEnded, attempt: Attempt) -> list[AnyEvent]:
    """A test by itself, from its beginning to its end: B has one call for all of it."""
    begin = RunStarted(
        operation="test",
        task=body.task_type,
        params=body.config or {},
        dataset={"images": body.num_images} if body.num_images is not None else {},
        class_names=body.class_names or [],
    )
    events: list[AnyEvent] = [] if attempt.started else [begin]
    if body.status != "completed":
        return [*events, *_ended(attempt, _failure(body.error_message, body.traceback, body.exit_code))]
    metrics, skipped = read_metrics(_with_non_finite(body.metrics or {}))
    per_class = body.per_class_metrics if isinstance(body.per_class_metrics, dict) else {}
    result = Validated(
        metrics=metrics,
        task=body.task_type,
        class_names=body.class_names or [],
        per_class={name: read_metrics(values)[0] for name, values in per_class.items() if isinstance(values, dict)},
        images=body.visualization_urls or {},
    )
    more = {
        "per_class_metrics": body.per_class_metrics if isinstance(body.per_class_metrics, list) else None,
        "predictions_json_uri": body.predictions_json_uri,
        "training_job_id": body.training_job_id,
    }
    told = {name: value for name, value in more.items() if value is not None}
    return [*events, result, *_skipped(skipped), *_beside("test", "more of the test", told), *_completed(attempt)]


def _ended(attempt: Attempt, end: RunCompleted | RunFailed | RunInterrupted | RunLost) -> list[AnyEvent]:
    if attempt.ended is None:
        return [end]
    said = getattr(end, "message", None) or getattr(end, "reason", None) or "no further word"
    return [_said("WARNING", f"after the end: {end.__struct_config__.tag}: {said}")]


def _completed(attempt: Attempt) -> list[AnyEvent]:
    return _ended(attempt, RunCompleted())


def _failure(
    text: str | None, traceback: str | None, exit_code: int | None, epoch: int | None = None
) -> RunFailed | RunInterrupted | RunLost:
    """An error message in B's form, `[<ErrorType>] <message>`, taken apart again."""
    match = _FAILURE.fullmatch(text or "")
    kind, message = (match["kind"], match["message"]) if match else ("UnknownError", text or "no further word")
    if message.startswith("interrupted: "):
        return RunInterrupted(reason=message.removeprefix("interrupted: "), epoch=epoch)
    if message.startswith("lost: "):
        return RunLost(reason=message.removeprefix("lost: "), epoch=epoch)
    rank = _RANK.fullmatch(message)
    known: ErrorKind = next((one for one in get_args(ErrorKind) if one == kind), "UnknownError")
    return RunFailed(
        error=known,
        message=rank["message"] if rank else message,
        traceback=traceback,
        epoch=epoch,
        exit_status=exit_code or None,
        rank=int(rank["rank"]) if rank else None,
    )


def _metrics(figures: Figures | None) -> tuple[Metrics, dict[str, str]]:
    """All that was measured, by the names that the training has; and what is no number, with the reason."""
    if figures is None:
        return {}, {}
    metrics, skipped = read_metrics(_with_non_finite(figures.extra_metrics or {}))
    # B's columns are copies of one of these; only a client that tells nothing else is known by them.
    if not metrics:
        columns = {"loss": figures.loss, "accuracy": figures.accuracy, "learning_rate": figures.learning_rate}
        metrics, _ = read_metrics({name: value for name, value in columns.items() if value is not None})
    return metrics, skipped


def _with_non_finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the numbers that JSON has no word for, where our own courier has named them beside; and without nulls."""
    named = values.get("non_finite")
    if isinstance(named, dict):
        values = {**values, **named}
        del values["non_finite"]
    return {name: _number(value) for name, value in values.items() if value is not None}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity") else value


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def _units(extra: Mapping[str, Any]) -> list[AnyEvent]:
    metrics, _ = read_metrics({name: extra[name] for name in ("current", "total")})
    current, total = metrics.get("current"), metrics.get("total")
    if isinstance(current, (int, float)) and isinstance(total, (int, float)):
        return [ProgressMade(current=current, total=total, category=extra["category"])]
    return []


def _stored(data: Mapping[str, Any]) -> CheckpointStored | None:
    texts = all(isinstance(data[name], str) for name in ("name", "s3_uri", "sha256"))
    if not texts or not isinstance(data["size"], int):
        return None
    metrics, _ = read_metrics(data["metrics"]) if isinstance(data.get("metrics"), dict) else ({}, {})
    places = {name: data[name] for name in ("epoch", "iteration") if isinstance(data.get(name), int)}
    # Where the manifest is, B's call doesn't say.
    told = {name: data[name] for name in ("name", "size", "sha256")}
    return CheckpointStored(uri=data["s3_uri"], manifest_uri="", metrics=metrics, **told, **places)


def _skipped(reasons: dict[str, str]) -> list[AnyEvent]:
    return [MetricsSkipped(reasons=reasons)] if reasons else []


def _beside(source: str, message: str, data: dict[str, Any]) -> list[AnyEvent]:
    return [Logged(level="DEBUG", message=message, source=source, data=data)] if data else []


def _said(level: Level, message: str) -> Logged:
    return Logged(level=level, message=message, source=_OURS)
