"""How a death without a word is told by others: what is known of it, as a terminal event."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trainer_hooks.errors import ErrorType
from trainer_hooks.events import AnyEvent, ErrorKind, RunFailed, RunInterrupted, RunLost
from trainer_hooks.faults import forget_stack, read_stack
from trainer_hooks.history import RunState
from trainer_hooks.journal import last_written
from trainer_hooks.redact import Redactor

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
_OF_A_SIGNAL = 128
_A_CRASH_TAKES = 1.0


@dataclass(frozen=True)
class Death:
    """What is known of how a process ended; all but `out_of_memory` may be unknown.

    `status` is its exit status, or the signal that it died of as a negative number. `stack` is what a crash has left,
    `output` the end of its stderr; both free of secrets.
    """

    status: int | None = None
    out_of_memory: bool = False
    stack: str | None = None
    output: str | None = None

    def as_event(self, state: RunState) -> AnyEvent:
        """The last word on an attempt in that state: the most that can be said, and nothing that isn't known."""
        if state.cause is not None:  # what a launcher does, and suffers, when one rank has failed follows from it
            return state.cause
        if state.signal:
            return RunInterrupted(reason=state.signal, **state.reached)
        if self.stack and self._may_have_crashed:
            return self._failure(state, ErrorType.FRAMEWORK_ERROR, self.stack.splitlines()[0], traceback=self.stack)
        if self.status is not None:
            return self._by_status(state, self.status)
        if self.out_of_memory:
            message = "the process ended without a word while the kernel killed processes for lack of memory"
            return self._failure(state, ErrorType.RESOURCE_ERROR, message)
        reason = "the process ended without a word: killed (SIGKILL), crashed, or the machine went down"
        return RunLost(reason=reason, **state.reached)

    @property
    def _may_have_crashed(self) -> bool:
        return self.status is None or -self.status in _CRASHES

    def _by_status(self, state: RunState, status: int) -> AnyEvent:
        name = signal_name(-status)
        if -status in _CRASHES:
            return self._failure(state, ErrorType.FRAMEWORK_ERROR, f"died of {name}")
        if -status == signal.SIGKILL and self.out_of_memory:
            message = "killed (SIGKILL) by the kernel for lack of memory"
            return self._failure(state, ErrorType.RESOURCE_ERROR, message)
        if -status == signal.SIGKILL:
            return RunLost(reason="killed (SIGKILL)", **state.reached)
        if status < 0:
            return RunInterrupted(reason=name, **state.reached)
        if status > 0:
            return self._failure(state, ErrorType.UNKNOWN_ERROR, f"exited with status {status} and without a word")
        return RunInterrupted(reason="the process exited while the run was open", **state.reached)

    def _failure(self, state: RunState, error: ErrorKind, message: str, *, traceback: str | None = None) -> RunFailed:
        event = RunFailed(error=error, message=message, traceback=traceback, output=self.output, **state.reached)
        status = None if self.status is None else as_in_a_shell(self.status)
        return msgspec.structs.replace(event, exit_status=status)


def learn(
    run_directory: Path,
    attempt: int,
    redactor: Redactor,
    *,
    status: int | None = None,
    out_of_memory: bool = False,
    output: str | None = None,
) -> Death:
    """What is known of the death of the attempt's process: this, and the stack that it may have left.

    Where no status tells of a crash, a stack counts only if the process has written nothing after it: else it has
    survived that fault.
    """
    since = last_written(run_directory, attempt) - _A_CRASH_TAKES if status is None else 0.0
    stack = redactor.word(read_stack(run_directory, attempt, since))
    forget_stack(run_directory, attempt)
    return Death(status=status, out_of_memory=out_of_memory, stack=stack, output=redactor.word(output))


def as_in_a_shell(status: int) -> int:
    """The exit status as a shell shows it."""
    return status if status >= 0 else _OF_A_SIGNAL - status


def signal_name(number: int) -> str:
    """Its name; a number for a real-time signal that has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
