"""In a process of its own on this machine, which `trainer-hooks run` watches over: no death of it goes untold.

It ends with the process that has submitted it, unless that has left it to itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from trainer_hooks.actions.executors import Status, named_settings
from trainer_hooks.actions.executors.records import Place, result_told
from trainer_hooks.actions.outcome import Opened, Outcome, decoded, opened_in, result_of
from trainer_hooks.actions.submitter import as_submitter, leave_to_itself
from trainer_hooks.deaths import signal_name
from trainer_hooks.errors import ActionError, RemoteFailure
from trainer_hooks.settings import Settings, environment

# A training has 20 s to end and to deliver (`run`), and some to come to its own end before that.
_PATIENCE = 30.0
_TAIL = 4096


class ProcessExecutor:
    """Starts a process for each action. `output` is where that writes, by default a file that `Handle.logs` reads.

    `variables` are set in its environment.
    """

    def __init__(self, output: IO[Any] | None = None, variables: Mapping[str, str] | None = None) -> None:
        self._output = output
        self._variables = variables or {}

    def submit(
        self,
        entrypoint: str,
        params: Mapping[str, Any],
        *,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> ProcessHandle:
        """As `Executor.submit`; the folder is the working directory of the process."""
        known = named_settings(settings)
        work = _Workplace()
        watched = ("--outcome", str(work.outcome), "--submitter", as_submitter())
        action = (sys.executable, "-m", "trainer_hooks.actions", entrypoint, "--params", "-", *watched)
        place = Place.of(known)
        with contextlib.ExitStack() as stack:
            # A file without a name: of what may be a credential nothing stays, whoever is killed.
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(msgspec.json.encode(params))
            given.seek(0)
            output = self._output or stack.enter_context(work.log.open("wb"))
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "trainer_hooks.cli", "run", "--", *action],
                    cwd=folder,
                    env={**environment(), **self._variables, **known.as_environment()},
                    stdin=given,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # it is stopped by `cancel`, and not by a terminal's Ctrl-C as well
                )
            except OSError as error:
                message = f"no process can be started for {entrypoint}: {error}"
                raise ActionError(message) from error
        return ProcessHandle(process, known, work, place)

    def close(self) -> None:
        """Nothing outlives its action."""


class ProcessHandle:
    """As `Handle`."""

    def __init__(self, process: subprocess.Popen[bytes], settings: Settings, work: _Workplace, place: Place) -> None:
        self._process = process
        self._run = settings.run_id or ""
        self._work = work
        self._place = place
        self._ended: dict[str, Any] | Exception | None = None

    @property
    def run(self) -> str:
        """The id of its run."""
        return self._run

    @property
    def pid(self) -> int:
        """The process that watches over the action."""
        return self._process.pid

    @property
    def status(self) -> Status:
        """How it stands."""
        if self._process.poll() is None:
            return "running" if self._work.opened() or self._place.attempt() else "pending"
        ended = self._how_it_ended()
        if isinstance(ended, RemoteFailure):
            return ended.ending  # type: ignore[return-value] # one of a status's
        return "completed" if isinstance(ended, dict) else "failed"

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """As `Handle.wait`."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            message = f"run {self._run} goes on"
            raise TimeoutError(message) from error
        ended = self._how_it_ended()
        if isinstance(ended, Exception):
            raise ended
        return ended

    def cancel(self) -> None:
        """SIGTERM, with time to end and to deliver; then SIGKILL for all that it has started."""
        try:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        finally:  # also where the wait is interrupted: a second Ctrl-C won't wait, and leaves nothing behind
            self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_PATIENCE)

    def logs(self) -> str:
        """What it has written to stdout and stderr; nothing where it writes elsewhere."""
        return self._work.log.read_text(errors="replace") if self._work.log.exists() else ""

    def detach(self) -> dict[str, str]:
        """Leave it to itself: a process, and the file that it writes to."""
        self._work.keep()
        return {"run": self._run, "process": str(self._process.pid), "log": str(self._work.log)}

    def _how_it_ended(self) -> dict[str, Any] | Exception:
        if self._ended is None:
            try:
                self._ended = self._result()
            except Exception as error:  # noqa: BLE001 - kept, to be raised by each `wait`
                self._ended = error
        return self._ended

    def _result(self) -> dict[str, Any]:
        outcome = self._work.told()
        if outcome is not None:
            return result_of(outcome)
        status = self._process.returncode
        how = f"died of {signal_name(-status)}" if status < 0 else f"exited with status {status}"
        opened = self._work.opened()
        if opened is None and self._place.attempt() is None:
            message = f"its process {how} before run {self._run} began{_quoted(self.logs())}"
            raise RemoteFailure(message, "failed", told=status >= 0)
        if opened is not None and opened.directory is None:
            message = f"its process {how} and without a word; no record of it is kept{_quoted(self.logs())}"
            raise RemoteFailure(message, "failed" if status >= 0 else "lost", told=False)
        return result_told(_place_of(opened) or self._place, f"its process {how}", status=status)


class _Workplace:
    """A folder for what comes back from the process; it is removed when nobody needs it any more."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="trainer_hooks-action-")
        self.outcome, self.log = (Path(folder, name) for name in ("outcome.json", "log"))
        self._removed = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def keep(self) -> None:
        """Leave it where it is, and the action to itself."""
        leave_to_itself(self.outcome)
        self._removed.detach()

    def told(self) -> Outcome | None:
        """How the action says that it ended; None where it has not."""
        try:
            return decoded(self.outcome.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None

    def opened(self) -> Opened | None:
        """The run that the action has opened and not told the end of; None where it says of none."""
        try:
            return opened_in(self.outcome.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None


def _place_of(opened: Opened | None) -> Place | None:
    """Where that attempt is kept: in another directory than the submitter's, if another process has the run's name."""
    return (
        None if opened is None or opened.directory is None else Place.of_attempt(Path(opened.directory), opened.attempt)
    )


def _quoted(log: str) -> str:
    tail = log[-_TAIL:].strip()
    return f":\n{tail}" if tail else ""
