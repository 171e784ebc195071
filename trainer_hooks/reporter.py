"""What a run is told by its integration or its loop: methods that turn values of any kind into events.

None of them raises for a value that can't be read, a file that can't be copied, or a delivery that fails.
"""

from __future__ import annotations

import abc
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    ExportCompleted,
    InferenceCompleted,
    Level,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    RunStarted,
    Validated,
)
from trainer_hooks.history import RunState
from trainer_hooks.metrics import read_metrics
from trainer_hooks.redact import Redactor
from trainer_hooks.shield import guard, harmless
from trainer_hooks.staging import Stager

_log = logging.getLogger("trainer_hooks")
_LEVELS: frozenset[str] = frozenset(get_args(Level))


class Reporter(abc.ABC):
    """The telling half of a `Run`: everything but its opening and its end."""

    def __init__(self, redactor: Redactor, stager: Stager | None) -> None:
        """`stager` makes the private copies of checkpoints; None where none are stored."""
        self.state = RunState()
        self._redactor = redactor
        self._stager = stager
        self._skipped: set[str] = set()
        self._epoch_began = time.monotonic()

    @property
    @abc.abstractmethod
    def is_heard(self) -> bool:
        """Whether what is told now goes anywhere."""

    @abc.abstractmethod
    def emit(self, event: AnyEvent) -> None:
        """Accept an event."""

    @harmless
    def started(self, **details: Any) -> None:
        """Tell that the work begins; `details` are the fields of `RunStarted`, of any type."""
        for name in ("params", "dataset"):
            details[name] = self._redactor.mapping(details.get(name) or {})
        details["class_names"] = [self._redactor.text(str(name)) for name in details.get("class_names") or ()]
        self.emit(RunStarted(**details))

    @harmless
    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        *,
        epoch: int | None = None,
        total_epochs: int | None = None,
        iteration: int | None = None,
        duration: float | None = None,
    ) -> None:
        """Tell metrics: of a finished epoch (counted from 1), of an iteration, or of the run as a whole.

        Values may be Python, numpy or torch numbers; what is no number is skipped, and named once with the reason.
        `duration` of the epoch in seconds; without it, the time since the epoch before.
        """
        numbers = self._numbers(metrics)
        if epoch is None:
            self.emit(MetricsLogged(metrics=numbers, iteration=None if iteration is None else int(iteration)))
            return
        epoch = int(epoch)  # hosts and loops count in numpy, too
        total = total_epochs or self.state.total_epochs
        took = float(duration) if duration is not None else time.monotonic() - self._epoch_began
        self._epoch_began = time.monotonic()
        left = max(0, total - epoch) * took if total else None
        self.emit(EpochEnded(epoch=epoch, total_epochs=total, metrics=numbers, duration=took, time_left=left))

    @harmless
    def log_validation(self, metrics: Mapping[str, Any], *, epoch: int, **details: Any) -> None:
        """Tell a validation's result after `epoch` finished epochs; `details` are the other fields of `Validated`."""
        details["per_class"] = {
            self._redactor.text(str(name)): self._numbers(values)
            for name, values in (details.get("per_class") or {}).items()
        }
        details["class_names"] = [self._redactor.text(str(name)) for name in details.get("class_names") or ()]
        self.emit(Validated(epoch=epoch, metrics=self._numbers(metrics), **details))

    @harmless
    def log_checkpoint(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] = ("last",),
        epoch: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> None:
        """Tell that a checkpoint has been written, whole, and have it stored under these names.

        Where storage is configured the file is copied before this returns: it may be rewritten or deleted right after.
        """
        if not self.is_heard:
            return
        source = Path(path).absolute()
        staged, size = None, source.stat().st_size
        if self._stager:
            with guard("copying a checkpoint"):
                staged, size = self._stager.stage(source, names)
        self.emit(
            CheckpointSaved(
                names=list(names),
                path=str(source),
                size=size,
                epoch=epoch,
                metrics=self._numbers(metrics or {}),
                final=final,
                staged=staged,
            )
        )

    @harmless
    def log(self, message: str, level: str = "INFO", *, source: str = "trainer", **data: Any) -> None:
        """Tell a log record; CRITICAL and unknown levels count as ERROR."""
        known = level.upper() if level.upper() in _LEVELS else "ERROR"
        text = self._redactor.text(str(message))
        self.emit(Logged(level=known, message=text, source=source, data=self._redactor.mapping(data)))  # type: ignore[arg-type]

    @harmless
    def progress(self, current: float, total: float, category: str = "train") -> None:
        """Tell that `current` of `total` units of `category` are done."""
        self.emit(ProgressMade(current=float(current), total=float(total), category=category))

    @harmless
    def report_inference_completed(
        self,
        *,
        total_images: int,
        total_inference_time_ms: float,
        results: Sequence[Mapping[str, Any]],
        result_urls: Mapping[str, str] | None = None,
    ) -> None:
        """Tell an inference job's results; each needs an `image_path`."""
        plain = [self._redactor.mapping(result) for result in results]
        self.emit(
            InferenceCompleted(
                total_images=total_images,
                total_time_ms=total_inference_time_ms,
                results=plain,
                result_urls=self._redactor.mapping(result_urls or {}),
            )
        )

    @harmless
    def report_export_completed(
        self, *, export_format: str, output_s3_uri: str, file_size_bytes: int, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Tell that an exported model is in storage, where `output_s3_uri` says."""
        self.emit(
            ExportCompleted(
                export_format=export_format,
                uri=output_s3_uri,
                size=file_size_bytes,
                metadata=self._redactor.mapping(metadata or {}),
            )
        )

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        numbers, skipped = read_metrics(metrics)
        new = {name: reason for name, reason in skipped.items() if name not in self._skipped}
        if new:
            self._skipped.update(new)
            new = {name: self._redactor.text(reason) for name, reason in new.items()}
            _log.warning("metrics skipped: %s", "; ".join(f"{name}: {reason}" for name, reason in new.items()))
            self.emit(MetricsSkipped(reasons=new))
        return numbers
