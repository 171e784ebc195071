"""How a process can end while a run is open, and what is done about it: always in addition to the host, never instead.

A SIGTERM handler and an excepthook are put in front of those that are there, for as long as a run is open, and call
them; at exit the process waits, for a bounded time, until the courier has delivered.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Protocol

from trainer_hooks.shield import guard


class Ending(Protocol):
    """What an open run does about the end of its process."""

    def on_signal(self, name: str, *, fatal: bool) -> None:
        """A signal has come; `fatal` if the process dies of it as soon as this returns."""
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


class _Endings:
    """Tells the runs of this process how it ends."""

    def __init__(self) -> None:
        self._open: list[Ending] = []
        self._leaving: list[Ending] = []
        self._pid = os.getpid()
        self._found_hook: Any = None
        self._found_handler: Any = None
        self._registered = False

    def watch(self, run: Ending) -> None:
        """From now on, tell this run."""
        self._forget_in_a_forked_child()
        if not self._open:
            self._put_in_front()
        self._open.append(run)
        self._leaving = [earlier for earlier in self._leaving if not earlier.is_settled()] + [run]

    def forget(self, run: Ending) -> None:
        """The run has ended; it is still told of the exit."""
        if run in self._open:
            self._open.remove(run)
            if not self._open:
                self._take_away()

    def _put_in_front(self) -> None:
        if not self._registered:
            atexit.register(self._on_exit)
            self._registered = True
        self._found_hook = sys.excepthook
        sys.excepthook = self._on_uncaught
        if threading.current_thread() is threading.main_thread():
            found = signal.getsignal(signal.SIGTERM)
            # None: a handler that isn't Python's; SIG_IGN: the host will not die of it. Neither is ours to change. And
            # ours may still be there, if the last run ended in another thread than the main one.
            if found not in (None, signal.SIG_IGN, self._on_sigterm):
                self._found_handler = found
                signal.signal(signal.SIGTERM, self._on_sigterm)

    def _take_away(self) -> None:
        if sys.excepthook == self._on_uncaught:
            sys.excepthook = self._found_hook
        ours = self._found_handler is not None and signal.getsignal(signal.SIGTERM) == self._on_sigterm
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._found_handler)
            self._found_handler = None

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        handler = self._found_handler
        if os.getpid() == self._pid:
            for run in list(self._open):
                with guard("noting a signal"):
                    run.on_signal(signal.Signals(number).name, fatal=not callable(handler))
        if callable(handler):
            handler(number, frame)
        else:
            # Die of the signal itself, so that the exit status is what it would have been.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if os.getpid() == self._pid:
            for run in list(self._open):
                with guard("noting an uncaught exception"):
                    run.on_uncaught(error)
        self._found_hook(kind, error, trace)

    def _on_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        began = time.monotonic()
        for run in self._leaving:
            with guard("leaving"):
                run.on_exit(time.monotonic() - began)
        self._leaving.clear()

    def _forget_in_a_forked_child(self) -> None:
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._open.clear()
            self._leaving.clear()


endings = _Endings()
