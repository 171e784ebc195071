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
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import msgspec

from trainer_hooks.attempts import Claim, claim, join, load_addresses
from trainer_hooks.courier.start import Delivery, start_delivery
from trainer_hooks.endings import endings
from trainer_hooks.errors import ErrorType, classify
from trainer_hooks.events import (
    TERMINAL,
    AnyEvent,
    EpochEnded,
    ErrorKind,
    Operation,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    SignalReceived,
)
from trainer_hooks.history import RunState
from trainer_hooks.journal import read_records
from trainer_hooks.logs import LogForwarder
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.reporter import Reporter
from trainer_hooks.settings import Settings, environment, main_process_rank
from trainer_hooks.shield import ask, guard
from trainer_hooks.staging import Stager
from trainer_hooks.storage import check_storage
from trainer_hooks.summary import print_delivery, print_summary

_log = logging.getLogger("trainer_hooks")
# Kubernetes gives 30 s between SIGTERM and SIGKILL; the host needs some of them for itself.
_GRACE_ON_SIGTERM = 20.0
_ERROR_KINDS = frozenset(get_args(ErrorKind))


class Run(Reporter):
    """One attempt at one run. Open it with `start_run` or let an integration do it; end it once.

    As a context manager it ends by itself: completed, or failed or interrupted by what leaves the block.
    A run without a claim is silent: everything may be called, nothing is told.
    """

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        self.settings = claimed.settings if claimed else settings
        redactor = Redactor(known_secrets(environment()))
        super().__init__(redactor, _stager(claimed) if claimed else None)
        self._claim = claimed
        self._pid = os.getpid()
        self._ending = threading.RLock()  # a signal handler may end the run while this very thread ends it
        self._ended = False
        self._handed_over = False
        self._signal: str | None = None
        self._began = time.monotonic()
        self._logs = LogForwarder(self.log, settings.log_level) if claimed and settings.log_level != "OFF" else None
        self._delivery = self._begin(claimed) if claimed else None

    def _begin(self, claimed: Claim) -> Delivery | None:
        delivery = start_delivery(claimed.directory, claimed.attempt, self.settings)
        endings.watch(self)
        self.forward_logs("")
        return delivery

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
    def is_heard(self) -> bool:
        """Whether what is told now goes anywhere: not in a silent run, after the end, or in a forked child."""
        return self._claim is not None and not self._ended and os.getpid() == self._pid

    def emit(self, event: AnyEvent) -> None:
        """Accept an event: when this returns, no death of the process can lose it. After the end, none is accepted."""
        with guard("emitting an event"):
            if self._claim is None or not self.is_heard:
                return
            if isinstance(event, TERMINAL):
                with self._ending:
                    if not self._ended:
                        self._claim.journal.append(event)
                        self._ended = True
            else:
                self._claim.journal.append(event)
            self.state.apply(event)
            if isinstance(event, EpochEnded) and self._delivery:
                self._delivery.ensure()

    def hand_over(self) -> tuple[str, int] | None:
        """From now on, another process of this job tells in this one's stead: what `join_run` needs there.

        This process still opens and ends the run: with what the other has told, and with its failure if it failed.
        None for a silent run.
        """
        if self._claim is None:
            return None
        self._handed_over = True
        return str(self._claim.directory), self._claim.attempt

    def forward_logs(self, logger_name: str) -> None:
        """Forward this logger's records, too; the root's are forwarded from the start (see `log_level`)."""
        if self._logs:
            self._logs.listen(logger_name)

    def complete(
        self, metrics: Mapping[str, Any] | None = None, *, checkpoints: Mapping[str, str] | None = None
    ) -> None:
        """End the run: it has done what it should. Final metrics are those of the last epoch if none are given."""
        with guard("completing the run"):
            self._hear_the_others()
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
            cause = self._hear_the_others()
            if cause is not None:
                self._end(cause)
                return
            exception = error if isinstance(error, BaseException) else None
            if exception is not None and traceback_text is None:
                traceback_text = "".join(
                    traceback.format_exception(type(exception), exception, exception.__traceback__)
                )
            self._end(
                RunFailed(
                    error=error_type if error_type and error_type in _ERROR_KINDS else _classified(exception),
                    message=self._redactor.text(_said(error)),
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
        if self._claim is None or not self.is_heard:
            return
        self.emit(event)
        if self._logs:
            self._logs.stop()
        endings.forget(self)
        _forget(self)
        print_summary(self._claim, self.state, at_risk=self._claim.journal.at_risk)

    def _hear_the_others(self) -> RunFailed | None:
        """Take in what others have told in this run's stead; returns the failure of the rank that failed first."""
        if self._claim is None or not self._handed_over:
            return None
        self.state = RunState()
        failures = []
        for record in read_records(self._claim.directory):
            if record.attempt == self.attempt:
                self.state.apply(record.event)
                if isinstance(record.event, RankFailed):
                    failures.append((record.time, record.event))
        if not failures:
            return None
        _, first = min(failures, key=lambda failure: failure[0])
        return RunFailed(**msgspec.structs.asdict(first))

    def _leave(self, timeout: float) -> None:
        """Wait for the courier, say what is pending, and let go."""
        if self._claim is None or self._delivery is None:
            return
        try:
            self._claim.journal.close()
            delivered = self.flush(timeout=0)
            if not delivered:
                self._delivery.ensure()
                delivered = self.flush(max(0.0, timeout))
        except KeyboardInterrupt:  # the user does not want to wait
            delivered = False
        print_delivery(self._claim, delivered=delivered)
        self._delivery.close()


class JoinedRun(Run):
    """A rank of a launch that another process of the job has begun: that one opens the run and ends it.

    Rank 0 tells epochs, checkpoints and logs; of any other rank nothing is heard but its failure.
    """

    def __init__(self, directory: Path, attempt: int, settings: Settings) -> None:
        self._place = (directory, attempt, settings)
        self._rank = main_process_rank()
        super().__init__(self._join() if self._rank == 0 else None, settings)

    def started(self, **_: Any) -> None:
        """The launching process has told it."""

    def complete(self, *_: Any, **__: Any) -> None:
        """The launching process will tell it."""
        self._close()

    def interrupt(self, reason: str) -> None:  # noqa: ARG002 - as `Run`'s
        """The launching process will tell it."""
        self._close()

    def _begin(self, claimed: Claim) -> Delivery | None:  # noqa: ARG002 - as `Run`'s
        self.forward_logs("")
        return None

    def _end(self, event: AnyEvent) -> None:
        with guard("telling a rank's failure"):
            if self._claim is None:
                self._claim = self._join()
            if isinstance(event, RunFailed):
                told = msgspec.structs.asdict(event)
                del told["exit_status"]
                self.emit(RankFailed(**{**told, "rank": self._rank}))
            self._close()

    def _join(self) -> Claim:
        directory, attempt, settings = self._place
        return join(directory, attempt, f"rank {self._rank}", settings)

    def _close(self) -> None:
        if self._logs:
            self._logs.stop()
        self._ended = True
        _forget(self)


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
    run = open_run(load_settings(**own))
    run.started(operation=operation, params=params, **details)
    return run


def load_settings(**arguments: Any) -> Settings:
    """The settings, and what can be told at once of whether they will do.

    Raises:
        InvalidSetting, MissingPackage: with the mend in the message.
    """
    settings = Settings.load(**arguments)
    if settings.storage_uri is not None and settings.mode != "disabled":
        check_storage(settings.storage_uri)
    return settings


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


def join_run(directory: str, attempt: int) -> Run:
    """In a process that a run's own process has launched: tell in that one's stead (see `Run.hand_over`).

    Where checkpoints go is known from the run's own record; credentials are the courier's business, not this process's.
    """
    place = Path(directory)
    addresses: dict[str, Any] = {k: v for k, v in load_addresses(place).items() if k.startswith("storage")}
    run = JoinedRun(place, attempt, Settings.load(**addresses))
    _open_runs.append(run)
    return run


def _stager(claimed: Claim) -> Stager | None:
    if claimed.settings.storage_uri is None:
        return None
    has_courier = claimed.settings.delivery != "none" and claimed.settings.mode == "online"
    return Stager(claimed.directory, keep_all=has_courier)


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


def _classified(error: BaseException | None) -> ErrorKind:
    kind = ask(lambda: classify(error)) if error is not None else None
    return kind if isinstance(kind, str) else ErrorType.UNKNOWN_ERROR


def _said(error: BaseException | str) -> str:
    """What the error says; an exception may be unable to."""
    text = ask(lambda: str(error))
    return text if isinstance(text, str) and text else type(error).__name__


def _qualified_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
