"""A time limit for one call, from within the same thread: what runs too long is broken off by an exception.

In the main thread a timer's signal (SIGALRM) raises it, elsewhere the interpreter does when it is asked to by another
thread. Either way it is raised between two steps of Python: native code that never returns can't be broken off. It is
no Exception, so that a broad `except` on the way doesn't swallow it.

The host's own SIGALRM timer goes on meanwhile: it is served at its time, by its own handler, and given back at the end.
That can't be done if the call itself sets a SIGALRM timer: the one that is set last is the only one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

from trainer_hooks.errors import StepTimedOut

T = TypeVar("T")
_AT_ONCE = 1e-6  # 0 would switch the timer off
_EARLY = 1e-3  # what a timer may come too early by; taken for a stranger's, our own signal could end the process


class _TimeIsUp(BaseException):
    """Raised within the call; doesn't get out of this file."""


class _Limit(Protocol):
    struck: bool

    def arm(self) -> None: ...

    def disarm(self) -> None:
        """Once this has returned, nothing is raised any more. May be called again."""
        ...


def within(seconds: float | None, what: str, function: Callable[[], T]) -> T:
    """The function's result, if it is there within so many seconds; without a limit, whenever it is there.

    Raises:
        StepTimedOut: if it isn't, whatever the function has made of being broken off.
    """
    if seconds is None:
        return function()
    limit = _Alarm(seconds) if _may_use_alarm() else _AsyncException(seconds)
    try:
        result = _limited(limit, function)
    except (Exception, _TimeIsUp) as error:
        limit.disarm()  # it may have struck in the midst of disarming
        if not limit.struck:
            raise
        raise _timed_out(what, seconds) from error
    if limit.struck:
        raise _timed_out(what, seconds)
    return result


def _limited(limit: _Limit, function: Callable[[], T]) -> T:
    try:
        limit.arm()
        return function()
    finally:
        limit.disarm()


def _timed_out(what: str, seconds: float) -> StepTimedOut:
    return StepTimedOut(f"{what} took longer than its timeout of {seconds:g} s")


def _may_use_alarm() -> bool:
    """A handler that isn't Python's (None) could not be put back."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(signal.SIGALRM) is not None


class _Alarm:
    """By the process's one timer, which the host may be using, too."""

    def __init__(self, seconds: float) -> None:
        self.struck = False
        self._found = signal.getsignal(signal.SIGALRM)
        now = time.monotonic()
        self._ours: float | None = now + seconds
        due, self._interval = signal.getitimer(signal.ITIMER_REAL)
        self._theirs = now + due if due else None
        self._armed = self._over = False

    def arm(self) -> None:
        self._armed = True
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._set_timer()

    def disarm(self) -> None:
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._over, self._ours = True, None
            signal.signal(signal.SIGALRM, self._found)
            self._armed = False
            self._set_timer()

    def _set_timer(self) -> None:
        times = [when for when in (self._ours, self._theirs) if when is not None]
        if times:
            interval = self._interval if self._ours is None else 0
            signal.setitimer(signal.ITIMER_REAL, max(min(times) - time.monotonic(), _AT_ONCE), interval)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        soon = time.monotonic() + _EARLY
        is_ours = self._ours is not None and soon >= self._ours
        if is_ours:
            self.struck, self._ours = True, None
        is_theirs = self._theirs is not None and soon >= self._theirs
        if is_theirs:
            self._theirs = soon + self._interval if self._interval else None
        self._set_timer()
        sent_by_hand = not (is_ours or is_theirs or self._over)
        if is_theirs or sent_by_hand:
            self._pass_on(number, frame)
        if is_ours:
            raise _TimeIsUp

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._found):
            self._found(number, frame)
        elif self._found is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _AsyncException:
    """By another thread, which waits for as long as this one may take."""

    def __init__(self, seconds: float) -> None:
        self.struck = False
        self._seconds = seconds
        self._thread = ctypes.c_ulong(threading.get_ident())
        # A bare lock, and not an Event: what strikes in the midst of an Event's own Python could leave it locked.
        self._over = threading.Lock()
        self._watch = threading.Thread(target=self._wait, name="trainer_hooks-deadline", daemon=True)

    def arm(self) -> None:
        self._over.acquire()
        self._watch.start()

    def disarm(self) -> None:
        if self._over.locked():
            self._over.release()
        if self._watch.ident is not None:
            self._watch.join()
        if self.struck:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)  # where it was not raised yet

    def _wait(self) -> None:
        if not self._over.acquire(timeout=self._seconds):
            self.struck = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(_TimeIsUp))
