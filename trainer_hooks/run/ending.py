"""How a run ends: by what its caller says, by what has left its block, or with its process; and once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trainer_hooks.attempts import Claim
from trainer_hooks.endings import endings
from trainer_hooks.errors import ErrorType
from trainer_hooks.events import (
    AnyEvent,
    ErrorKind,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    SignalReceived,
)
from trainer_hooks.failures import describe, is_pruning
from trainer_hooks.faults import stacks
from trainer_hooks.history import state_of
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.metrics import read_count
from trainer_hooks.run.open_runs import forget
from trainer_hooks.run.stopping import Stoppable
from trainer_hooks.settings import Settings
from trainer_hooks.shield import attempt, guard
from trainer_hooks.summary import print_delivery, print_summary

RANK = "rank "
"""Begins the names of those that tell a run beside the process that has opened it."""
# Kubernetes gives 30 s between SIGTERM and SIGKILL; the host needs some of them for itself.
_GRACE_ON_SIGTERM = 20.0
# A host that dies of a signal's making does so within this; what it survives is not to blame for what comes later.
_DIES_WITHIN = 60.0
_UNTOLD = "what was said of it could not be told"


class Endable(Stoppable):
    """The part of a `Run` that ends it."""

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        super().__init__(claimed, settings)
        self._hurried = False
        self._signal: str | None = None
        self._signalled = 0.0
        self._began = time.monotonic()

    def complete(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        checkpoints: Mapping[str, str] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """End the run: it has done what it should. Final metrics are those of the last epoch if none are given."""

        def tell() -> AnyEvent:
            attempt("hearing the others", self._hear_the_others)
            state = self.state
            if self._has_obeyed():
                return RunInterrupted(reason=self._redactor.text(self._stop or ""), **state.reached)
            return RunCompleted(
                epochs=state.epoch,
                metrics=state.metrics if metrics is None else self._numbers(metrics),
                iterations=state.iteration or None,
                best_epoch=state.best_epoch,
                best_iteration=state.best_iteration,
                best_metrics=state.best_metrics,
                duration=time.monotonic() - self._began,
                checkpoints=self._redactor.words_by_name(checkpoints),
                result=self._redactor.mapping(result),
            )

        self._end(tell, RunCompleted())

    def fail(
        self,
        error: BaseException | str,
        *,
        error_type: ErrorKind | None = None,
        traceback_text: str | None = None,
        exit_status: int | None = None,
    ) -> None:
        """End the run: it has failed. An exception is classified, and its traceback told."""

        def tell() -> AnyEvent:
            cause = attempt("hearing the others", self._hear_the_others)
            if cause is not None:
                return cause
            told = describe(error, self._redactor, error_type=error_type, traceback_text=traceback_text)
            return msgspec.structs.replace(told, **self.state.reached, exit_status=read_count(exit_status))

        self._end(tell, RunFailed(error=ErrorType.UNKNOWN_ERROR, message=_UNTOLD))

    def interrupt(self, reason: str) -> None:
        """End the run: someone or something has stopped it."""

        def tell() -> AnyEvent:
            cause = attempt("hearing the others", self._hear_the_others)
            if cause is not None:  # a launcher stops the others when one rank has failed
                return cause
            return RunInterrupted(reason=self._redactor.word(reason) or "", **self.state.reached)

        self._end(tell, RunInterrupted(reason=_UNTOLD))

    def end_with(self, error: BaseException) -> None:
        """End the run as what left it says: interrupted by signal, Ctrl-C, search or faultless exit; else failed."""
        asked_to_stop = isinstance(error, (KeyboardInterrupt, SystemExit))
        if self._signal and (asked_to_stop or time.monotonic() - self._signalled <= _DIES_WITHIN):
            self.interrupt(self._signal)
        elif isinstance(error, KeyboardInterrupt):
            self.interrupt("KeyboardInterrupt")
        elif isinstance(error, SystemExit) and not exit_status_of(error):
            self.interrupt("the script exited before the work was done")
        elif isinstance(error, SystemExit):
            self.fail(error, exit_status=exit_status_of(error))
        elif is_pruning(error):
            self.interrupt("pruned by the search")
        else:
            self.fail(error)

    def let_host_end_the_process(self) -> None:
        """Where the host's own handler of SIGTERM calls the one it has found, it is the host that ends the process.

        For a host that goes on after that signal until it has come to a good place to stop.
        """
        if self.is_heard:
            endings.leave_to_who_chained()

    def on_signal(self, name: str, *, fatal: bool, waited: float) -> None:
        """Part of `endings.Ending`."""
        self._signal, self._signalled = name, time.monotonic()
        self.emit(SignalReceived(signal=name))
        if fatal:
            self.interrupt(name)
            self._leave(_GRACE_ON_SIGTERM - waited)

    def on_uncaught(self, error: BaseException) -> None:
        """Part of `endings.Ending`."""
        self.end_with(error)

    def on_exit(self, waited: float) -> None:
        """Part of `endings.Ending`."""
        self.interrupt("the process exited while the run was open")
        self._leave(self.settings.flush_timeout - waited)

    def is_settled(self) -> bool:
        """Part of `endings.Ending`."""
        settled = self._ended and self.flush(timeout=0)
        if settled and self._delivery:
            self._delivery.close()
        return settled

    def _end(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        """End by what `tell` says; where that can't be had, or the journal refuses it, by the bare fact."""
        try:
            self._end_once(tell, bare)
        except BaseException as error:
            # Ctrl-C, or what a signal handler of the host's raises: torch's does for each worker that died.
            self._hurried = self._hurried or isinstance(error, KeyboardInterrupt)
            self._end_once(tell, bare)
            raise

    def _end_once(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        if self._claim is None or not self.is_heard:
            return
        told = attempt("telling the end", tell)
        with self._ending:
            ends_here = not self._ended
            for event in (told or bare, bare):
                self.emit(event)
        if ends_here:
            with guard("ending the run"):
                self._let_go(self._claim)

    def _let_go(self, claimed: Claim) -> None:
        if self._let_clearml_go:
            self._let_clearml_go()
        if self._logs:
            self._logs.stop()
        endings.forget(self)
        attempt("leaving crashes alone again", stacks.release, claimed.directory, claimed.attempt)
        forget(self)
        if claimed.journal.at_risk is None:  # else the disk may take it before the process's exit
            claimed.journal.close()
        print_summary(claimed, self.state, at_risk=claimed.journal.at_risk)

    def _hear_the_others(self) -> RunFailed | None:
        """Take in what other ranks have told of this run; returns the failure of the one that failed first."""
        if self._claim is None or not self._is_told_by_others(self._claim):
            return None
        self.state = state_of(read_records(self._claim.directory), self.attempt)
        return self.state.cause

    def _is_told_by_others(self, claimed: Claim) -> bool:
        headers = read_headers(claimed.directory).values()
        return any(header.attempt == self.attempt and header.writer.startswith(RANK) for header in headers)

    def _leave(self, timeout: float) -> None:
        """Wait for the courier, say what is pending, and let go."""
        if self._claim is None or self._delivery is None:
            return
        try:
            attempt("closing the journal", self._claim.journal.close)
            delivered = self.flush(timeout=0)
            if not delivered:
                attempt("starting the courier again", self._delivery.ensure)
                delivered = self.flush(0.0 if self._hurried else max(0.0, timeout))
        except KeyboardInterrupt:  # the user does not want to wait
            delivered = False
        print_delivery(self._claim, delivered=delivered)
        self._delivery.close()


def exit_status_of(error: SystemExit) -> int:
    """As Python turns it into the process's: no code is 0, and what is no number is 1."""
    if isinstance(error.code, int):
        return int(error.code)
    return 0 if error.code is None else 1
