"""The run: what a training job tells, through this one object; and which process may speak at all.

Integrations and hand-written loops use the same `Run`. Nothing in it raises for a reason of delivery or of the disk,
and nothing in it waits, but for the bounded wait at the process's exit. Which process speaks is decided in `open_run`,
and nowhere else: in a distributed job only the main process gets a run that is heard.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from trainer_hooks.attempts import Claim, claim
from trainer_hooks.courier.start import Delivery, start_delivery
from trainer_hooks.endings import endings
from trainer_hooks.errors import classify
from trainer_hooks.events import (
    TERMINAL,
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    ErrorKind,
    ExportCompleted,
    InferenceCompleted,
    Level,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    Operation,
    ProgressMade,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    SignalReceived,
    Validated,
)
from trainer_hooks.history import RunState
from trainer_hooks.logs import LogForwarder
from trainer_hooks.metrics import read_metrics
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment, main_process_rank
from trainer_hooks.shield import guard, harmless
from trainer_hooks.staging import Stager
from trainer_hooks.summary import pending_line, print_summary

_log = logging.getLogger("trainer_hooks")
# Kubernetes gives 30 s between SIGTERM and SIGKILL; the host needs some of them for itself.
_GRACE_ON_SIGTERM = 20.0
_LEVELS: frozenset[str] = frozenset(get_args(Level))


class Run:
    """One attempt at one run. Open it with `start_run` or let an integration do it; end it once.

    As a context manager it ends by itself: completed, or failed or interrupted by what leaves the block.
    A run without a claim is silent: everything may be called, nothing is told.
    """

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        self.settings = claimed.settings if claimed else settings
        self.state = RunState()
        self._claim = claimed
        self._redactor = Redactor(known_secrets(environment()))
        self._ending = threading.Lock()
        self._ended = False
        self._skipped: set[str] = set()
        self._signal: str | None = None
        self._began = self._epoch_began = time.monotonic()
        self._delivery: Delivery | None = None
        self._logs = LogForwarder(self.log, settings.log_level) if claimed and settings.log_level != "OFF" else None
        if claimed:
            self._stager = Stager(claimed.directory, keep_all=self._has_courier)
            self._delivery = start_delivery(claimed.directory, claimed.attempt, self.settings)
            endings.watch(self)
            self.forward_logs("")

    @property
    def id(self) -> str | None:
        """The run's id; None for a silent run."""
        return self._claim.run if self._claim else None

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is, from 1."""
        return self._claim.attempt if self._claim else 1

    @property
    def directory(self) -> Path | None:
        """Where the run is kept; None for a silent run."""
        return self._claim.directory if self._claim else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self._ended

    @property
    def _has_courier(self) -> bool:
        return self.settings.delivery != "none" and self.settings.mode == "online"

    def emit(self, event: AnyEvent) -> None:
        """Accept an event: when this returns, no death of the process can lose it. After the end, none is accepted."""
        with guard("emitting an event"):
            if self._claim is None or self._ended:
                return
            if isinstance(event, TERMINAL):
                with self._ending:
                    if self._ended:
                        return
                    self._ended = True
            self.state.apply(event)
            self._claim.journal.append(event)

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
            self.emit(MetricsLogged(metrics=numbers, iteration=iteration))
            return
        total = total_epochs or self.state.total_epochs
        took = duration if duration is not None else time.monotonic() - self._epoch_began
        self._epoch_began = time.monotonic()
        left = max(0, total - epoch) * took if total else None
        self.emit(EpochEnded(epoch=epoch, total_epochs=total, metrics=numbers, duration=took, time_left=left))
        if self._delivery:
            self._delivery.ensure()

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
        if self._claim is None or self._ended:
            return
        source = Path(path).absolute()
        staged, size = None, source.stat().st_size
        if self.settings.storage_uri and self.settings.mode != "disabled":
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

    def forward_logs(self, logger_name: str) -> None:
        """Forward this logger's records, too; the root's are forwarded from the start (see `log_level`)."""
        if self._logs:
            self._logs.listen(logger_name)

    @harmless
    def progress(self, current: float, total: float, category: str = "train") -> None:
        """Tell that `current` of `total` units of `category` are done."""
        self.emit(ProgressMade(current=current, total=total, category=category))

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

    def complete(
        self, metrics: Mapping[str, Any] | None = None, *, checkpoints: Mapping[str, str] | None = None
    ) -> None:
        """End the run: it has done what it should. Final metrics are those of the last epoch if none are given."""
        with guard("completing the run"):
            state = self.state
            self._end(
                RunCompleted(
                    epochs=state.epoch,
                    metrics=state.metrics if metrics is None else self._numbers(metrics),
                    best_epoch=state.best_epoch,
                    best_metrics=state.best_metrics,
                    duration=time.monotonic() - self._began,
                    checkpoints=self._redactor.mapping(checkpoints or {}),
                )
            )

    def fail(
        self,
        error: BaseException | str,
        *,
        error_type: ErrorKind | None = None,
        traceback_text: str | None = None,
        exit_status: int | None = None,
    ) -> None:
        """End the run: it has failed. An exception is classified, and its traceback told."""
        with guard("telling the failure"):
            exception = error if isinstance(error, BaseException) else None
            if exception is not None and traceback_text is None:
                traceback_text = "".join(
                    traceback.format_exception(type(exception), exception, exception.__traceback__)
                )
            self._end(
                RunFailed(
                    error=error_type or (classify(exception) if exception else "UnknownError"),
                    message=self._redactor.text(str(error) or type(error).__name__),
                    exception=_qualified_name(exception) if exception else None,
                    traceback=self._redactor.text(traceback_text) if traceback_text else None,
                    epoch=self.state.epoch,
                    exit_status=exit_status,
                )
            )

    def interrupt(self, reason: str) -> None:
        """End the run: someone or something has stopped it."""
        with guard("telling the interruption"):
            self._end(RunInterrupted(reason=self._redactor.text(reason), epoch=self.state.epoch))

    def end_with(self, error: BaseException) -> None:
        """End the run as what left it says: interrupted by a signal, Ctrl-C or an exit without fault; else failed."""
        if self._signal:
            self.interrupt(self._signal)
        elif isinstance(error, KeyboardInterrupt):
            self.interrupt("KeyboardInterrupt")
        elif isinstance(error, SystemExit) and not error.code:
            self.interrupt("the script exited before the work was done")
        elif isinstance(error, SystemExit):
            self.fail(error, exit_status=error.code if isinstance(error.code, int) else 1)
        else:
            self.fail(error)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything told so far is delivered, for `timeout` seconds at most (default: the setting)."""
        if self._claim is None or self._delivery is None:
            return True
        limit = self.settings.flush_timeout if timeout is None else timeout
        return self._delivery.wait(self._claim.journal.position, limit)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.complete()
        else:
            self.end_with(error)

    def on_signal(self, name: str, *, fatal: bool) -> None:
        """Part of `endings.Ending`."""
        self._signal = name
        self.emit(SignalReceived(signal=name))
        if fatal:
            self.interrupt(name)
            self._leave(_GRACE_ON_SIGTERM)

    def on_uncaught(self, error: BaseException) -> None:
        """Part of `endings.Ending`."""
        self.end_with(error)

    def on_exit(self, waited: float) -> None:
        """Part of `endings.Ending`."""
        self.interrupt("the process exited while the run was open")
        self._leave(self.settings.flush_timeout - waited)

    def is_settled(self) -> bool:
        """Part of `endings.Ending`."""
        return self._ended and self.flush(timeout=0)

    def _end(self, event: AnyEvent) -> None:
        if self._claim is None or self._ended:
            return
        self.emit(event)
        if self._logs:
            self._logs.stop()
        endings.forget(self)
        _forget(self)
        print_summary(self._claim, self.state, at_risk=self._claim.journal.at_risk)

    def _leave(self, timeout: float) -> None:
        """Wait for the courier, say what is pending, and let go."""
        if self._claim is None or self._delivery is None:
            return
        try:
            self._claim.journal.close()
            delivered = self._delivery.wait(self._claim.journal.position, max(0.0, timeout))
        except KeyboardInterrupt:  # the user does not want to wait
            delivered = False
        if not delivered:
            pending_line(self._claim)
        self._delivery.close()

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        numbers, skipped = read_metrics(metrics)
        new = {name: reason for name, reason in skipped.items() if name not in self._skipped}
        if new:
            self._skipped.update(new)
            _log.warning("metrics skipped: %s", "; ".join(f"{name}: {reason}" for name, reason in new.items()))
            self.emit(MetricsSkipped(reasons=new))
        return numbers


_open_runs: list[Run] = []


def current_run() -> Run | None:
    """The run that was opened last in this process and has not ended; None if there is none."""
    return _open_runs[-1] if _open_runs else None


def start_run(*, params: Mapping[str, Any] | None = None, operation: Operation = "training", **details: Any) -> Run:
    """Open a run for a hand-written loop; use it in `with`, or end it by `complete`, `fail` or `interrupt`.

    `details` are settings by their names in `Settings` (`run_id`, `job_id`, `storage`, …) and fields of `RunStarted`
    (`framework`, `task`, `model`, `total_epochs`, `dataset`, `class_names`, `output_dir`).

    Raises:
        InvalidSetting: for a setting that can't be used.
    """
    own = {name: details.pop(name) for name in list(details) if name in Settings.__struct_fields__}
    run = open_run(Settings.load(**own))
    run.started(operation=operation, params=params, **details)
    return run


def open_run(settings: Settings, *, resumed: str | None = None) -> Run:
    """Open a run for this process, or a silent one where this process is not to speak.

    `resumed` is the id of an earlier run that is being continued. A directory that can't be written is replaced by one
    among the temporary files, with a warning: a training is never stopped for it.
    """
    if settings.mode == "disabled" or main_process_rank() != 0:
        return Run(None, settings)
    run = Run(_claim_somewhere(settings, resumed), settings)
    if run.id is not None:
        _open_runs.append(run)
    return run


def _claim_somewhere(settings: Settings, resumed: str | None) -> Claim | None:
    for root in (settings.root, Path(tempfile.gettempdir()) / f"trainer_runs-{os.getuid()}"):
        try:
            claimed = claim(root, settings, resumed)
        except OSError as error:
            _log.warning("runs can't be kept in %s: %s", root, error)
            continue
        if claimed.settings.job_id != settings.job_id:
            _log.warning(
                "job %s is another training's: this one is kept as run %s, and not told to the platform",
                settings.job_id,
                claimed.run,
            )
        return claimed
    _log.warning("no directory can be written: this run is not recorded")
    return None


def _forget(run: Run) -> None:
    if run in _open_runs:
        _open_runs.remove(run)


def _qualified_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
