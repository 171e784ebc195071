"""What each of predecessor B's calls carries: the table that bodies are checked against.

A field without a default is required, else the answer is 422. Fields that B's schema does not have (`extra_data` among
them) are ignored, as pydantic does, and can be asked for with `unknown_fields`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

JobId: TypeAlias = int | str  # whether a string will do is the server's `integer_jobs`
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all bodies and of their parts."""


class Metrics(Payload, frozen=True):
    """The metrics of a progress or completion call."""

    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    extra_metrics: dict[str, Any] | None = None


class Progress(Payload, frozen=True):
    """`training/jobs/{job}/callback/progress`; the started call of a training has this form too."""

    job_id: JobId
    status: str
    current_epoch: int
    total_epochs: int
    progress_percent: Percent
    metrics: Metrics | None = None
    checkpoint_path: str | None = None
    # accepted; B's own SDK never sends them
    best_checkpoint_path: str | None = None
    epoch_duration_seconds: float | None = None
    estimated_time_remaining: float | None = None
    logs: Any = None
    error_message: str | None = None
    traceback: str | None = None


class Completion(Payload, frozen=True):
    """`training/jobs/{job}/callback/completion`, of a training completed or failed."""

    job_id: JobId
    status: str
    total_epochs_completed: int
    exit_code: int
    final_metrics: Metrics | None = None
    best_checkpoint_path: str | None = None
    last_checkpoint_path: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    # accepted; B's own SDK never sends them
    best_metrics: Metrics | None = None
    best_epoch: int | None = None
    final_checkpoint_path: str | None = None
    model_artifacts_path: str | None = None
    mlflow_run_id: str | None = None
    total_duration_seconds: float | None = None


class Log(Payload, frozen=True):
    """`training/jobs/{job}/callback/logs`, of every kind of job."""

    job_id: JobId
    event_type: str
    message: str
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    timestamp: Timestamp
    data: dict[str, Any] | None = None
    type: str | None = None


class ImageResult(Payload, frozen=True):
    """One image of a validation."""

    is_correct: bool
    image_name: str | None = None
    image_index: int | None = None
    true_label: str | None = None
    true_label_id: int | None = None
    predicted_label: str | None = None
    predicted_label_id: int | None = None
    confidence: float | None = None
    top5_predictions: list[Any] | None = None
    true_boxes: list[Any] | None = None
    predicted_boxes: list[Any] | None = None
    iou: float | None = None
    extra_data: dict[str, Any] | None = None


class Validation(Payload, frozen=True):
    """`validation/jobs/{job}/results`."""

    job_id: JobId
    epoch: int
    task_type: str
    primary_metric_name: str
    primary_metric_value: float
    metrics: dict[str, Any]
    class_names: list[str] | None = None
    visualization_urls: dict[str, str] | None = None
    per_class_metrics: dict[str, dict[str, float]] | None = None
    # part of the call, ignored by the backend
    type: str | None = None
    is_best: bool | None = None
    timestamp: Timestamp | None = None
    # accepted; B's own SDK never sends them
    overall_loss: float | None = None
    confusion_matrix: list[list[int]] | None = None
    pr_curves: dict[str, Any] | None = None
    sample_correct_images: list[Any] | None = None
    sample_incorrect_images: list[Any] | None = None
    image_results: list[ImageResult] | None = None


class InferenceStarted(Payload, frozen=True):
    """`test_inference/inference/jobs/{job}/callback/started`."""

    type: Literal["started"]
    job_id: JobId
    operation_type: str
    timestamp: Timestamp


class Prediction(Payload, frozen=True):
    """One object that an inference found; `bbox` is x1, y1, x2, y2."""

    class_id: int
    class_name: str
    confidence: float
    bbox: tuple[float, float, float, float]


class InferenceResult(Payload, frozen=True):
    """One image of an inference."""

    image_path: str
    predictions: list[Prediction]
    image_name: str | None = None
    inference_time_ms: float | None = None
    num_detections: int | None = None  # ignored by the backend


class InferenceCompleted(Payload, frozen=True, tag_field="status", tag="completed"):
    """`test_inference/inference/jobs/{job}/callback/completion`, status "completed"."""

    type: str
    job_id: JobId
    total_images: int
    total_inference_time_ms: float
    avg_inference_time_ms: float
    results: list[InferenceResult]
    timestamp: Timestamp
    result_urls: dict[str, str] | None = None  # ignored by the backend


class InferenceFailed(Payload, frozen=True, tag_field="status", tag="failed"):
    """`test_inference/inference/jobs/{job}/callback/completion`, status "failed"."""

    job_id: JobId
    total_epochs_completed: int
    error_message: str
    exit_code: int
    traceback: str | None = None


class ExportStarted(Payload, frozen=True):
    """`export/jobs/{job}/callback/started`; the backend takes any object, so nothing is required or typed."""

    type: Any = None
    job_id: Any = None
    operation_type: Any = None
    timestamp: Any = None


class ExportEnded(Payload, frozen=True):
    """`export/jobs/{job}/callback/completion`, completed or failed; any object, as above."""

    type: Any = None
    job_id: Any = None
    status: Any = None
    export_format: Any = None
    output_s3_uri: Any = None
    file_size_bytes: Any = None
    metadata: Any = None
    timestamp: Any = None
    total_epochs_completed: Any = None
    error_message: Any = None
    exit_code: Any = None
    traceback: Any = None


class Envelope(Payload, frozen=True):
    """One event of a batch, in our own protocol."""

    id: str
    run: str
    attempt: int
    segment: int
    seq: int
    time: float
    event: dict[str, Any]


class Named(Payload, frozen=True):
    """What an event must have at least, to be named in the answer."""

    id: str


class Batch(Payload, frozen=True):
    """`training/jobs/{job}/events`, in our own protocol; each event is then an `Envelope`, or rejected."""

    events: list[Named]


class Heartbeat(Payload, frozen=True):
    """`training/jobs/{job}/heartbeat`, in our own protocol."""

    time: float
    run: str
    attempt: int
    state: Literal["starting", "progressing", "stalled"]
    idle: float
    usual: float | None
    epoch: int | None
    total_epochs: int | None
    iteration: int | None


def unknown_fields(payload: Payload, body: dict[str, Any], name: str = "") -> Iterator[str]:
    """The fields of the body, and of its parts, that its table doesn't have: "Progress.metrics.mAP"."""
    name = name or type(payload).__name__
    known = {*payload.__struct_fields__, payload.__struct_config__.tag_field}
    yield from (f"{name}.{field}" for field in body if field not in known)
    for field in payload.__struct_fields__:
        part = getattr(payload, field)
        parts = part if isinstance(part, list) else [part]
        bodies = body[field] if isinstance(part, list) else [body.get(field)]
        for one, its_body in zip(parts, bodies, strict=True):
            if isinstance(one, Payload):
                yield from unknown_fields(one, its_body, f"{name}.{field}")
