"""One trial as a process below `trainer-hooks run`, followed by its run's journal, and stopped by the file in there.

Whoever follows is asked for the next value of the metric, as often as it wants one. A trial that an earlier attempt at
the search has finished tells its values again, and starts no process.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.tuning.order import Order, Work
from trainer_hooks.actions.tuning.outcomes import Outcome, ended_outcome, read_outcome
from trainer_hooks.actions.tuning.telling import Point, Points
from trainer_hooks.attempts import safe_name
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_headers
from trainer_hooks.settings import environment
from trainer_hooks.stopping import ask_to_stop, asked_to_stop

_LOOK_EVERY = 0.1
_OBEYS_WITHIN = 30.0
_DIES_WITHIN = 20.0
_ENDS_WITHIN = 60.0  # what an earlier attempt at the search has left behind
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


class TrialProcess:
    """The trial of that number, with these hyper-parameters."""

    def __init__(self, order: Order, number: int, hyperparameters: Mapping[str, Any], mark: tuple[int, int]) -> None:
        self._order = order
        self._number = number
        self._hyperparameters = hyperparameters
        self._run = Path(order.settings.root, safe_name(order.run_id(number)))
        self._points = Points(self._run, order.metric, mark)
        self._values: deque[Point] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self.mark = mark
        """Up to where the values have been handed out."""

    @property
    def outcome(self) -> Outcome:
        """What its run tells by now."""
        return read_outcome(self._run, self._order.metric)

    def next_value(self) -> Point | None:
        """The next value of the metric, once there is one; None when the trial is over and there are no more."""
        while not self._values:
            is_over = self._process is None or self._process.poll() is not None
            self._values.extend(self._points.read())
            if not self._values and not self._goes_on(is_over=is_over):
                return None
        point = self._values.popleft()
        self.mark = point.mark
        return point

    def _goes_on(self, *, is_over: bool) -> bool:
        """Whether there may be another value, for which it has then been waited a little."""
        if self._process is None and not self._outcome_before().is_settled:
            self._process = self._start()
        elif is_over:
            return False
        self._wait(_LOOK_EVERY)
        return True

    def _outcome_before(self) -> Outcome:
        return ended_outcome(self._run, self._order.metric, within=_ENDS_WITHIN)

    def stop(self, reason: str) -> None:
        """Have it end: asked to at first, then by SIGTERM, then by SIGKILL."""
        if self._process is None:
            return
        if self._ask(reason) and self._wait(_OBEYS_WITHIN):
            return
        self._process.terminate()
        if not self._wait(_DIES_WITHIN):
            self._process.kill()
            self._process.wait()

    def _ask(self, reason: str) -> bool:
        """Whether there is a run at work to be asked."""
        if not read_headers(self._run):
            return False
        latest = read_history(self._run).latest
        if not latest.is_over and asked_to_stop(self._run, latest.number) is None:
            ask_to_stop(self._run, latest.number, reason)
        return True

    def _wait(self, seconds: float) -> bool:
        try:
            if self._process is not None:
                self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _start(self) -> subprocess.Popen[bytes]:
        order = self._order
        work = Work(
            parent=order.parent,
            entrypoint=order.entrypoint,
            sys_path=order.sys_path,
            params={**order.params, **self._hyperparameters},
        )
        settings = msgspec.structs.replace(
            order.settings,
            run_id=order.run_id(self._number),
            resume="auto" if self._run.exists() else order.settings.resume,
        )
        python = [sys.executable, "-m"]
        command = [*python, "trainer_hooks.cli", "run", "--", *python, "trainer_hooks.actions.tuning.trial"]
        with Path(order.folder, f"{self._number}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=order.directory,
                env={**environment(), **settings.as_environment()},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_the_parent,  # noqa: PLW1509 - one call into the kernel
            )
        if process.stdin is not None:
            with process.stdin as stdin:
                stdin.write(msgspec.json.encode(work))
        return process


def _end_with_the_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
