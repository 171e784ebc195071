"""How a process can end while a run is open, and what is done about it: always in addition to the host, never instead.

A SIGTERM handler and an excepthook are put in front of those that are there, for as long as a run is open, and call
them; at exit the process waits, for a bounded time, until the courier has delivered.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

from trainer_hooks.shield import attempt, guard


class Ending(Protocol):
    """What an open run does about the end of its process."""

    def on_signal(self, name: str, *, fatal: bool, waited: float) -> None:
        """A signal has come; `fatal` if the process dies of it as soon as all runs have been told.

        Other runs have already kept it waiting for so many seconds.
        """
        ...

    def on_uncaught(self, error: BaseException) -> None:
        """An exception leaves the script."""
        ...

    def on_exit(self, waited: float) -> None:
        """The interpreter ends; other runs have already kept it waiting for so many seconds."""
        ...

    def is_settled(self) -> bool:
        """Whether there is nothing left to do for it at the exit."""
        ...


class _Excepthook:
    """Ours, in front of the excepthook that was found; when not `active`, it only passes on.

    Others may have chained to it, so it can stay behind when the runs have ended: each has a predecessor of its own.
    """

    def __init__(self, tell: Callable[[BaseException], None]) -> None:
        self._tell = tell
        self._found = sys.excepthook
        self.active = True
        sys.excepthook = self.handle

    def handle(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Tell, then do what would have been done without us."""
        try:
            if self.active:
                self._tell(error)
        finally:
            self._found(kind, error, trace)

    def is_in_front(self) -> bool:
        """Whether nobody has put another in front of it."""
        return sys.excepthook == self.handle

    def take_away(self) -> None:
        """Tell nothing more; put back what was found, unless others have chained to this."""
        self.active = False
        if self.is_in_front():
            sys.excepthook = self._found


class _SigtermHandler:
    """Ours, in front of the handler that was found: as `_Excepthook`. To be made in the main thread."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._found = signal.getsignal(signal.SIGTERM)
        self.active = True
        self.leaves_to_who_chained = False
        signal.signal(signal.SIGTERM, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Tell, then do what would have been done without us."""
        is_left = self.leaves_to_who_chained and not self.is_in_front()
        try:
            if self.active:
                self._tell(number, fatal=not (callable(self._found) or is_left))
        finally:
            if not is_left or callable(self._found):
                self._pass_on(number, frame)

    def is_in_front(self) -> bool:
        """Whether nobody has put another in front of it."""
        return signal.getsignal(signal.SIGTERM) == self.handle

    def take_away(self) -> None:
        """Tell nothing more; put back what was found, unless others have chained to this or this is another thread."""
        self.active = False
        if self.is_in_front() and _is_main_thread():
            signal.signal(signal.SIGTERM, self._found)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._found):
            self._found(number, frame)
        else:
            # Die of the signal itself, so that the exit status is what it would have been.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _Endings:
    """Tells the runs of this process how it ends."""

    def __init__(self) -> None:
        self._open: list[Ending] = []
        self._leaving: list[Ending] = []
        self._pid = os.getpid()
        self._excepthook: _Excepthook | None = None
        self._sigterm: _SigtermHandler | None = None
        self._registered = False

    def watch(self, run: Ending) -> None:
        """From now on, tell this run."""
        self._forget_in_a_forked_child()
        self._put_in_front()
        self._open.append(run)
        # One that can't tell, since its directory is broken, is kept.
        pending = [one for one in self._leaving if not attempt("looking after an earlier run", one.is_settled)]
        self._leaving = [*pending, run]

    def forget(self, run: Ending) -> None:
        """The run has ended; it is still told of the exit."""
        if run in self._open:
            self._open.remove(run)
            if not self._open:
                self._take_away()

    def leave_to_who_chained(self) -> None:
        """A host's handler that calls ours does more with SIGTERM than to die of it: it decides whether to."""
        if self._sigterm:
            self._sigterm.leaves_to_who_chained = True

    def _put_in_front(self) -> None:
        if not self._registered:
            atexit.register(self._on_exit)
            self._registered = True
        if not (self._excepthook and _revived(self._excepthook)):
            self._excepthook = _Excepthook(self._on_uncaught)
        # An earlier run may have been opened in another thread, where no handler can be set.
        if _is_main_thread() and not (self._sigterm and _revived(self._sigterm)):
            # None: a handler that isn't Python's; SIG_IGN: the host will not die of it. Neither is ours to change.
            found = signal.getsignal(signal.SIGTERM)
            self._sigterm = None if found in (None, signal.SIG_IGN) else _SigtermHandler(self._on_sigterm)

    def _take_away(self) -> None:
        if self._excepthook:
            self._excepthook.take_away()
        if self._sigterm:
            self._sigterm.take_away()

    def _on_sigterm(self, number: int, *, fatal: bool) -> None:
        if os.getpid() != self._pid:
            return
        began = time.monotonic()
        for run in list(self._open):
            with guard("noting a signal"):
                run.on_signal(signal.Signals(number).name, fatal=fatal, waited=time.monotonic() - began)

    def _on_uncaught(self, error: BaseException) -> None:
        if os.getpid() != self._pid:
            return
        for run in list(self._open):
            with guard("noting an uncaught exception"):
                run.on_uncaught(error)

    def _on_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        interrupted = _ctrl_c_ended_the_script()
        began = time.monotonic()
        for run in self._leaving:
            if not _leaves(run, time.monotonic() - began):
                began = -math.inf
        self._leaving.clear()
        if interrupted:
            _remember_ctrl_c()

    def _forget_in_a_forked_child(self) -> None:
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._open.clear()
            self._leaving.clear()
            for inherited in (self._excepthook, self._sigterm):
                if inherited:
                    inherited.active = False


def _revived(ours: _Excepthook | _SigtermHandler) -> bool:
    """Make one that was left in place tell again, with the predecessor it has."""
    ours.active = ours.active or ours.is_in_front()
    return ours.active


def _leaves(run: Ending, waited: float) -> bool:
    """Tell the run of the exit; False if the user does not want to wait."""
    try:
        with guard("leaving"):
            run.on_exit(waited)
    except KeyboardInterrupt:
        with guard("leaving"):
            run.on_exit(math.inf)
        return False
    return True


def _ctrl_c_ended_the_script() -> bool:
    """Whether Python dies of SIGINT when all is done; at a prompt, an uncaught Ctrl-C ends nothing."""
    return issubclass(getattr(sys, "last_type", None) or object, KeyboardInterrupt) and not hasattr(sys, "ps1")


def _remember_ctrl_c() -> None:
    """Python forgets it as soon as it executes a text, and dataclasses are made so: an import is enough."""
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - a text that ends so makes it remember


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


endings = _Endings()
