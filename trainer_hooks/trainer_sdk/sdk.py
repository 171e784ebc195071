"""The job's reports: its start, what it has reached, its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, cast, get_args

import msgspec

from trainer_hooks import errors
from trainer_hooks.events import ErrorKind, Operation
from trainer_hooks.metrics import read_metrics
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.run import open_run
from trainer_hooks.settings import environment
from trainer_hooks.settings.jobs import JobConfig
from trainer_hooks.shield import attempt, guard
from trainer_hooks.trainer_sdk.checkpoints import CheckpointCalls, addressing
from trainer_hooks.trainer_sdk.datasets import DatasetCalls
from trainer_hooks.trainer_sdk.job import JobCalls
from trainer_hooks.trainer_sdk.opening import load_settings, open_run_of

_log = logging.getLogger("trainer_hooks")


class ErrorType(errors.ErrorType):
    """The platform's eight classes of failure.

    B's documents also use TRAINING_ERROR, which B never had: there it raised AttributeError in the trainer's error
    handler, and the failure went untold. Here it is the class that claims nothing.
    """

    TRAINING_ERROR: ErrorKind = errors.ErrorType.UNKNOWN_ERROR


class TrainerSDK(JobCalls, CheckpointCalls, DatasetCalls):
    """One job of the platform, as the environment describes it; use it in `with`, or report its end.

    Raises (on construction, and never later):
        InvalidSetting: where CALLBACK_URL or JOB_ID is missing, or a variable has a value that can't be used.
    """

    def __init__(self) -> None:
        self._config = JobConfig.load()
        settings = load_settings()
        joined = open_run_of(settings.job_id)
        self._settings = joined.settings if joined else settings
        self._uri_of = addressing(self._settings.storage_uri)
        self._redactor = Redactor([*known_secrets(environment()), *self._settings.secrets()])
        self._operation: Operation | None = None
        self._uploads: dict[str, str] = {}
        # B let a process start its job again after an end; as a resumed one, the run takes that for its next attempt.
        self._run = joined or open_run(settings, resumed=settings.job_id)

    def report_started(self, operation_type: str = "training", total_epochs: int | None = None) -> None:
        """Tell that the work begins; said again, it changes nothing."""
        with guard("report_started"):
            if self._operation is not None:
                return
            if operation_type not in get_args(Operation):
                _log.warning("operation %r is unknown: the job is told as a training", operation_type)
                operation_type = "training"
            self._operation = cast("Operation", operation_type)
            epochs = total_epochs or self._config.basic.epochs
            dataset = {name: getattr(self, name) for name in ("dataset_id", "snapshot_id", "dataset_version_hash")}
            self._run.started(
                operation=self._operation,
                framework=self.framework or None,
                task=self.task_type,
                model=self.model_name or None,
                total_epochs=int(epochs) if self._operation == "training" else None,
                params={**self.get_basic_config(), **self.get_advanced_config()},
                dataset={name: value for name, value in dataset.items() if value},
            )

    def report_progress(
        self,
        epoch: int,
        total_epochs: int | None,
        metrics: Mapping[str, Any],
        extra_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell a finished epoch, counted from 1; a repeated number replaces the earlier one."""
        with guard("report_progress"):
            known = self._join(metrics, extra_data, f"epoch {epoch}")
            total = int(total_epochs) if total_epochs else None
            self._run.log_metrics(known, epoch=int(epoch), total_epochs=total)

    def report_validation(  # noqa: PLR0917 - B's own
        self,
        epoch: int,
        task_type: str | None = None,
        primary_metric: tuple[str, Any] | None = None,
        all_metrics: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        visualization_urls: Mapping[str, str] | None = None,
        per_class_metrics: Mapping[str, Mapping[str, Any]] | None = None,
        is_best: bool = False,
    ) -> None:
        """Tell a validation's result; `primary_metric` is a name with its value."""
        with guard("report_validation"):
            name, value = primary_metric or (None, None)
            self._run.log_validation(
                {**(all_metrics or {}), **({} if name is None else {name: value})},
                epoch=int(epoch),
                task=task_type or self.task_type,
                primary=None if name is None else str(name),
                is_best=bool(is_best),
                class_names=class_names,
                per_class=per_class_metrics,
                images={str(title): str(uri) for title, uri in (visualization_urls or {}).items()},
            )

    def report_completed(
        self,
        final_metrics: Mapping[str, Any] | None = None,
        checkpoints: Mapping[str, str] | None = None,
        total_epochs: int | None = None,
        extra_data: Mapping[str, Any] | None = None,
    ) -> None:
        """End the job: it has done what it should. The first end that is reported stands.

        A checkpoint that `upload_checkpoint` has taken is told to the platform once it is stored; any other URI as it
        is given.
        """
        with guard("report_completed"):
            metrics = None
            if final_metrics or extra_data:
                metrics = self._join(final_metrics or {}, extra_data, "the end")
            self._set_epochs(total_epochs)
            self._run.complete(metrics, checkpoints=attempt("reading checkpoints", self._known, checkpoints or {}))

    def report_failed(
        self,
        error_type: str,
        message: str,
        traceback: str | None = None,
        epochs_completed: int = 0,
    ) -> None:
        """End the job: it has failed. The first end that is reported stands."""
        with guard("report_failed"):
            known = error_type in get_args(ErrorKind)
            self._set_epochs(epochs_completed)
            self._run.fail(
                str(message) if known else f"{error_type}: {message}",
                error_type=cast("ErrorKind", error_type) if known else ErrorType.UNKNOWN_ERROR,
                traceback_text=str(traceback) if traceback else None,
            )

    def report_inference_completed(
        self,
        total_images: int,
        total_time_ms: float,
        results: Sequence[Mapping[str, Any]],
        result_urls: Mapping[str, str] | None = None,
    ) -> None:
        """Tell an inference's results, and with them its end. Each result needs an `image_path`."""
        with guard("report_inference_completed"):
            self._start_unsaid("inference")
            self._run.report_inference_completed(
                total_images=int(total_images),
                total_inference_time_ms=float(total_time_ms),
                results=results,
                result_urls=result_urls,
            )
            self._end("inference")

    def report_export_completed(
        self,
        export_format: str,
        output_s3_uri: str,
        file_size_bytes: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell that an exported model is in storage, and with it the export's end."""
        with guard("report_export_completed"):
            self._start_unsaid("export")
            self._run.report_export_completed(
                export_format=str(export_format),
                output_s3_uri=str(output_s3_uri),
                file_size_bytes=int(file_size_bytes),
                metadata=metadata,
            )
            self._end("export")

    @staticmethod
    def create_export_metadata(  # noqa: PLR0917 - B's own
        framework: str,
        model_name: str,
        export_format: str,
        task_type: str,
        input_shape: Sequence[int],
        output_shape: Sequence[Sequence[int]],
        class_names: Sequence[str] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        postprocessing: Mapping[str, Any] | None = None,
        export_config: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> dict[str, Any]:
        """The metadata of an export in the platform's form; `input_shape` is height, width, channels."""
        named = {"class_names": class_names, "num_classes": len(class_names)} if class_names else {}
        given = {"preprocessing": preprocessing, "postprocessing": postprocessing, "export_config": export_config}
        return {
            "framework": framework,
            "model_name": model_name,
            "export_format": export_format,
            "task_type": task_type,
            "input_shape": input_shape,
            "input_dtype": "float32",
            "output_shape": output_shape,
            "created_at": datetime.now(timezone.utc).isoformat(),
            **named,
            **{name: value for name, value in given.items() if value},
            **extra,
        }

    def close(self) -> None:
        """Nothing is left to do: the process's exit waits, for a bounded time, until all is delivered.

        An end that was not reported is told then: failed by the exception that ends the process, else interrupted.
        """

    def __enter__(self) -> TrainerSDK:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self._run.end_with(error)

    def _join(self, metrics: Mapping[str, Any] | None, extra: Mapping[str, Any] | None, when: str) -> dict[str, Any]:
        """The metrics, and the numbers among the extra data; the platform drops the rest, so a log record tells it."""
        joined: dict[str, Any] = attempt("reading metrics", dict, metrics or {}) or {}
        with guard("reading extra data"):
            flat = dict(_flat(extra or {}))
            numbers, _ = read_metrics({name: value for name, value in flat.items() if name not in joined})
            rest = self._redactor.mapping({name: value for name, value in flat.items() if name not in numbers})
            if rest:
                text = msgspec.json.encode(rest).decode()
                self._tell(f"extra data of {when}: {text}", "INFO", "extra_data", rest)
            joined.update(numbers)
        return joined

    def _set_epochs(self, epochs: int | None) -> None:
        if epochs:
            self._run.state.epoch = attempt("reading a number of epochs", int, epochs) or self._run.state.epoch

    def _start_unsaid(self, operation: Operation) -> None:
        if self._operation is None:
            self.report_started(operation)

    def _end(self, operation: Operation) -> None:
        # A training may report an inference of its own; its end is still to come.
        if self._operation == operation:
            self._run.complete()


def _flat(values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The items by name, those of a mapping among them as "name/item"; deeper ones stay as they are."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", item) for inner, item in value.items())
        else:
            yield str(name), value
