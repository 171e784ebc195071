"""The bodies of predecessor B's calls (docs/platform.md). What B doesn't know is passed over, as B does."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

JobId = Annotated[int | str, Field(examples=[7], description="The job, as in the path, which is the one that counts.")]
Percent = Annotated[float, Field(ge=0, le=100, examples=[30.0])]
Count = Annotated[int, Field(ge=0, le=10**12)]
Values = dict[str, Any]


class Figures(BaseModel):
    """Metrics: three that have columns at B, and all of them."""

    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    extra_metrics: Values | None = Field(default=None, examples=[{"train/box_loss": 0.41, "metrics/mAP50-95(B)": 0.62}])


class Progress(BaseModel):
    """A training begins (epoch 0 without metrics), or an epoch of it has ended."""

    job_id: JobId
    status: str = Field(examples=["running"], description="Ends no job, and brings none back.")
    current_epoch: Count = Field(examples=[3])
    total_epochs: Count = Field(examples=[10])
    progress_percent: Percent
    metrics: Figures | None = None
    checkpoint_path: str | None = None
    best_checkpoint_path: str | None = Field(default=None, examples=["s3://checkpoints/7/best.pt"])
    epoch_duration_seconds: float | None = None
    estimated_time_remaining: float | None = None
    error_message: str | None = None
    traceback: str | None = None


class Completion(BaseModel):
    """A training has ended; the exit code says how."""

    job_id: JobId
    status: str = Field(examples=["completed"])
    total_epochs_completed: Count = Field(examples=[10])
    exit_code: int = Field(examples=[0])
    final_metrics: Figures | None = None
    best_metrics: Figures | None = None
    best_epoch: Count | None = None
    best_checkpoint_path: str | None = None
    last_checkpoint_path: str | None = None
    final_checkpoint_path: str | None = None
    model_artifacts_path: str | None = None
    mlflow_run_id: str | None = None
    total_duration_seconds: float | None = None
    error_message: str | None = Field(default=None, examples=["[ResourceError] CUDA out of memory"])
    traceback: str | None = None


class Log(BaseModel):
    """A log record of any kind of job."""

    job_id: JobId
    event_type: str = Field(max_length=500, examples=["trainer"])
    message: str = Field(examples=["epoch 3 is done"])
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(examples=["INFO"])
    timestamp: AwareDatetime | None = None
    data: Values | None = None


class Validation(BaseModel):
    """A validation's result."""

    job_id: JobId
    epoch: Count = Field(examples=[3])
    task_type: str = Field(examples=["detection"])
    primary_metric_name: str = Field(examples=["mAP50-95"])
    primary_metric_value: float = Field(examples=[0.62])
    metrics: Values = Field(examples=[{"mAP50-95": 0.62}])
    is_best: bool = False
    timestamp: AwareDatetime | None = None
    class_names: list[str] | None = None
    visualization_urls: dict[str, str] | None = None
    per_class_metrics: dict[str, dict[str, float]] | None = None
    overall_loss: float | None = None
    confusion_matrix: list[list[int]] | None = None
    pr_curves: Values | None = None
    sample_correct_images: list[Any] | None = None
    sample_incorrect_images: list[Any] | None = None
    image_results: list[Values] | None = None


class Started(BaseModel):
    """An inference or an export begins."""

    job_id: JobId
    type: Literal["started"] = "started"
    operation_type: str = Field(examples=["inference"])
    timestamp: AwareDatetime | None = None


class InferenceResult(BaseModel, extra="allow"):
    """One image of an inference, with its predictions."""

    image_path: str = Field(examples=["images/0001.jpg"])
    predictions: list[Values] = []


class InferenceEnded(BaseModel):
    """An inference has ended, with its results or with an error."""

    job_id: JobId
    status: Literal["completed", "failed"]
    total_images: Count | None = Field(default=None, examples=[1])
    total_inference_time_ms: float | None = Field(default=None, examples=[12.5])
    results: list[InferenceResult] = []
    result_urls: dict[str, str] | None = None
    timestamp: AwareDatetime | None = None
    error_message: str | None = None
    exit_code: int | None = None
    traceback: str | None = None


class ExportEnded(BaseModel):
    """An export has ended."""

    job_id: JobId | None = None
    status: str = Field(examples=["completed"])
    export_format: str | None = Field(default=None, examples=["onnx"])
    output_s3_uri: str | None = Field(default=None, examples=["s3://exports/7/model.onnx"])
    file_size_bytes: Count | None = Field(default=None, examples=[10_485_760])
    metadata: Values | None = None
    timestamp: AwareDatetime | None = None
    error_message: str | None = None
    exit_code: int | None = None
    traceback: str | None = None


class TestEnded(BaseModel):
    """A test by itself has ended; what B's `evaluate` sends is taken as it is."""

    __test__ = False  # no test of pytest's

    test_run_id: int | str = Field(examples=[7])
    status: str = Field(examples=["completed"])
    training_job_id: int | str | None = None
    task_type: str | None = None
    metrics: Values | None = None
    per_class_metrics: dict[str, Any] | list[Any] | None = None
    class_names: list[str] | None = None
    num_images: Count | None = None
    visualization_urls: dict[str, str] | None = None
    predictions_json_uri: str | None = None
    config: Values | None = None
    error_message: str | None = None
    traceback: str | None = None
    exit_code: int | None = None
    timestamp: AwareDatetime | None = None


class UploadWanted(BaseModel):
    """A file that is to be uploaded."""

    checkpoint_filename: str = Field(min_length=1, max_length=255, examples=["best.pt"])
    content_type: str = Field(default="application/octet-stream", max_length=255)


def moment(body: BaseModel, received: float) -> float:
    """When it happened, in unix seconds: as the body says, else when it arrived."""
    told = getattr(body, "timestamp", None)
    return told.timestamp() if isinstance(told, datetime) else received
