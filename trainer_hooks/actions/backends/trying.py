"""Trying again: with full jitter, doubling, as long as the other side asks for, and not for ever."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from trainer_hooks.errors import BackendError, RetryLater

_log = logging.getLogger("trainer_hooks.actions")
# Not the module's own functions: drawing from those would change the training's numbers.
_jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
_pause = threading.Event()
_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 10
_T = TypeVar("_T")


class Patience:
    """How long one piece of work is tried again: `within` seconds from its last success; `delay` before the first."""

    def __init__(self, within: float, delay: float) -> None:
        self._within = within
        self._delay = delay
        self.renew()

    def renew(self) -> None:
        """It has got on: what comes now has all the time again."""
        self._deadline = time.monotonic() + self._within
        self._tries = 0

    def wait(self, problem: RetryLater) -> None:
        """Wait before the next try.

        Raises:
            BackendError: if there is no time left for one.
        """
        ceiling = min(_LONGEST_PAUSE, self._delay * 2 ** min(self._tries, _MOST_DOUBLINGS))
        pause = _jitter.uniform(0.1, 1) * ceiling if problem.after is None else problem.after
        if time.monotonic() + pause > self._deadline:
            message = f"{problem}; given up after {self._tries + 1} tries, the next would come too late"
            raise BackendError(message) from problem
        if not self._tries:
            _log.warning("%s; trying again for up to %.0f s", problem, self._within)
        self._tries += 1
        _pause.wait(pause)


def tried(work: Callable[[], _T], patience: Patience, again: type[RetryLater] = RetryLater) -> _T:
    """What the work returns, done again after such trouble.

    Raises:
        BackendError: if it was not done in time.
        RetryLater: trouble that isn't `again`.
    """
    while True:
        outcome = _try(work, again)
        if not isinstance(outcome, RetryLater):
            return outcome
        patience.wait(outcome)


def _try(work: Callable[[], _T], again: type[RetryLater]) -> _T | RetryLater:
    try:
        return work()
    except again as problem:
        return problem
