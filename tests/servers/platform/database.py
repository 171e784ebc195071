"""What predecessor B's backend stores for a job, and what it answers: the effect of each call, defects included."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import msgspec

from tests.servers.platform.payloads import (
    Completion,
    ExportEnded,
    ExportStarted,
    InferenceCompleted,
    InferenceFailed,
    InferenceStarted,
    Log,
    Progress,
    Validation,
)

Body: TypeAlias = dict[str, Any]

_LOG_ROWS = 2000
_LOG_ROWS_KEPT = 1900


@dataclass(slots=True)
class Job:
    """The rows of one job. Bodies are kept as they arrived."""

    id: str
    statuses: list[str] = field(default_factory=list)  # every status that was set, in order
    metrics: list[Body] = field(default_factory=list)  # one row per progress call with metrics, repeats included
    logs: list[Body] = field(default_factory=list)  # {"log_type", "content"}, all that B keeps of a record
    validations: dict[int, Body] = field(default_factory=dict)
    completion: Body | None = None
    best_checkpoint_path: str | None = None
    last_checkpoint_path: str | None = None
    error_message: str | None = None
    images: list[Body] = field(default_factory=list)  # one row per image of an inference, repeats included
    inference: Body | None = None
    export: Body | None = None

    @property
    def status(self) -> str:
        """The status that the platform shows now."""
        return self.statuses[-1] if self.statuses else "pending"

    def snapshot(self) -> Job:
        """A copy that later calls don't change."""
        return replace(
            self,
            statuses=list(self.statuses),
            metrics=list(self.metrics),
            logs=list(self.logs),
            validations=dict(self.validations),
            images=list(self.images),
        )

    def progress(self, payload: Progress, _body: Body) -> Body:
        """Set whatever status arrives, even after a terminal one, and insert a metric row."""
        self.statuses.append(payload.status)
        if payload.metrics is not None:
            self.metrics.append({"epoch": payload.current_epoch, **msgspec.to_builtins(payload.metrics)})
        self.best_checkpoint_path = payload.best_checkpoint_path or self.best_checkpoint_path
        return self._taken("Progress updated")

    def complete(self, payload: Completion, body: Body) -> Body:
        """End the training; the exit code wins over the status."""
        self.statuses.append("completed" if payload.exit_code == 0 else "failed")
        self.completion = body
        self.best_checkpoint_path = payload.best_checkpoint_path or self.best_checkpoint_path
        self.last_checkpoint_path = payload.last_checkpoint_path or self.last_checkpoint_path
        self.error_message = payload.error_message
        if payload.traceback:
            self.logs.append({"log_type": "stderr", "content": payload.traceback})
        return self._taken("Completion recorded")

    def log(self, payload: Log, _body: Body) -> Body:
        """Keep the level and the message; past 2000 rows B deletes the newest ones."""
        self.logs.append({"log_type": payload.event_type, "content": f"[{payload.level}] {payload.message}"})
        if len(self.logs) > _LOG_ROWS:
            del self.logs[_LOG_ROWS_KEPT:]
        return self._taken("Log received")

    def validate(self, payload: Validation, body: Body) -> Body:
        """Insert or replace the epoch's validation."""
        self.validations[payload.epoch] = body
        row = list(self.validations).index(payload.epoch) + 1
        return {"status": "success", "validation_result_id": row, "job_id": self._number(), "epoch": payload.epoch}

    def start_inference(self, _payload: InferenceStarted, _body: Body) -> Body:
        """Pending becomes running; any other status stays."""
        if self.status == "pending":
            self.statuses.append("running")
        return {"status": "success", "job_id": self._number()}

    def end_inference(self, payload: InferenceCompleted | InferenceFailed, body: Body) -> Body:
        """Insert one row per image, or note the error."""
        self.inference = body
        if isinstance(payload, InferenceCompleted):
            self.statuses.append("completed")
            self.images.extend(body["results"])
        else:
            self.statuses.append("failed")
            self.error_message = payload.error_message
        return {"status": "success", "job_id": self._number()}

    def start_export(self, _payload: ExportStarted, _body: Body) -> Body:
        """Set the job running."""
        self.statuses.append("running")
        return self._exported("Export started")

    def end_export(self, payload: ExportEnded, body: Body) -> Body:
        """Store the result; an unknown status only sets the error message."""
        self.export = body
        if payload.status in {"completed", "failed"}:
            self.statuses.append(payload.status)
        self.error_message = payload.error_message
        return self._exported("Export callback received")

    def _taken(self, message: str) -> Body:
        return {"success": True, "message": message, "job_status": self.status}

    def _exported(self, message: str) -> Body:
        return {"message": message, "export_job_id": self._number(), "status": self.status}

    def _number(self) -> int | str:
        return int(self.id) if self.id.isdecimal() else self.id
