"""A crash below Python (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) leaves the Python stack in a file of the run's.

By the standard library's `faulthandler`, which writes from within the signal and then lets the process die of it as it
would have. It has one place to write to: a host that has chosen one, before or later, keeps it. And it puts handlers in
place, and takes them away again: where the host has any of its own (a JVM, Julia), before or later, they stay.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import weakref
from pathlib import Path

_BEGINNING = "Fatal Python error: "
_FATAL = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
_DEFAULT = 0  # SIG_DFL
_ROOM_FOR_AN_ACTION = 64  # pointers: no C library's struct sigaction is as large


class _File:
    """Where faulthandler writes. It alone keeps this alive: once this is gone, faulthandler has another, or is off."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        # Not at the exit: there it has been closed, or is still to be written to.
        weakref.finalize(self, os.close, self._handle).atexit = False

    def fileno(self) -> int:
        """What faulthandler asks for."""
        return self._handle

    def flush(self) -> None:
        """What it asks for, too."""

    def silence(self) -> None:
        """Let nothing come into the file any more, though faulthandler goes on writing."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, self._handle, inheritable=False)
        os.close(nowhere)


class _Stacks:
    """At most one run of a process has the stacks: the first that is open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: weakref.ref[_File] | None = None
        self._handlers: tuple[int, ...] | None = None
        self._registered = False

    def keep_in(self, run_directory: Path, attempt: int) -> None:
        """From now on; nothing is done where faulthandler is enabled already, or a crash has another handler.

        Raises:
            OSError: if the file can't be made.
        """
        handlers = _handlers()
        if faulthandler.is_enabled() or handlers is None or any(handler != _DEFAULT for handler in handlers):
            return
        if not self._registered:
            os.register_at_fork(after_in_child=self._disable)  # a child's crash is not its parent's
            self._registered = True
        path = _path(run_directory, attempt)
        file = _File(path)
        faulthandler.enable(file)
        self._path, self._file, self._handlers = path, weakref.ref(file), _handlers()

    def release(self, run_directory: Path, attempt: int) -> None:
        """The run has ended; what the host has enabled since stays as it is."""
        if self._path == _path(run_directory, attempt):
            self._disable()
            forget_stack(run_directory, attempt)

    def _disable(self) -> None:
        file = None if self._file is None else self._file()
        if file is not None and _handlers() == self._handlers:
            faulthandler.disable()
        elif file is not None:  # to disable it would undo the handlers that the host has set since
            file.silence()
        self._path = self._file = self._handlers = None


stacks = _Stacks()


def read_stack(run_directory: Path, attempt: int, since: float = 0.0) -> str | None:
    """What the crash of an attempt's process has left; None if there is nothing, or nothing since that time."""
    path = _path(run_directory, attempt)
    try:
        if path.stat().st_mtime < since:
            return None
        text = path.read_text(errors="replace")
    except OSError:
        return None
    # The last one: a host may live on after a fault that its own handler mends.
    return text[text.rfind(_BEGINNING) :].strip() if _BEGINNING in text else None


def forget_stack(run_directory: Path, attempt: int) -> None:
    """Leave no file behind in which nothing stands."""
    path = _path(run_directory, attempt)
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def _handlers() -> tuple[int, ...] | None:
    """What is called for each fatal signal, as C sees it: `signal.getsignal` knows only what Python has set."""
    try:
        import ctypes  # not every Python has it

        sigaction = ctypes.CDLL(None).sigaction
    except (ImportError, OSError, AttributeError):
        return None
    found = []
    for number in _FATAL:
        action = (ctypes.c_void_p * _ROOM_FOR_AN_ACTION)()
        if sigaction(ctypes.c_int(number), None, action) != 0:
            return None
        found.append(action[0] or _DEFAULT)  # the handler is the first member
    return tuple(found)


def _path(run_directory: Path, attempt: int) -> Path:
    return run_directory / f"fault-{attempt}.log"
