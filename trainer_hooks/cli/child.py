"""Runs a command as a child of this process that can't be told from the command itself.

Process group, session, terminal and input are the same. Signals that are sent to this process alone are passed on. It
ends as the command ends, of the same signal, too; and where it is killed, the command is.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import select
import signal
import subprocess
from pathlib import Path
from typing import NoReturn

from trainer_hooks.cli.relay import ANSWER, Relay
from trainer_hooks.cli.signals import Sifted, to_be_passed_on
from trainer_hooks.cli.stderr import Stderr
from trainer_hooks.deaths import as_in_a_shell

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
_CHUNK = 4096
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Child:
    """The command at work."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str], stderr: Stderr) -> None:
        """Start it.

        Raises:
            OSError, subprocess.SubprocessError: if it can't be started; then all is as it was before.
        """
        self._stderr = stderr
        self._sifted = Sifted()
        self._numbers = to_be_passed_on()
        self._found = {number: signal.getsignal(number) for number in (*self._numbers, signal.SIGCHLD)}
        self._libc = ctypes.CDLL(None)
        self._relay = Relay(stderr.source, self._numbers)
        # Blocked meanwhile: one that came between fork and exec would be lost in our handlers.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._found)
        self._catch()
        try:
            self._process = self._start(command, environ)
        except (OSError, subprocess.SubprocessError):
            self._leave_signals_as_they_were()
            stderr.has_been_given()
            self._relay.end()
            raise
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        # Whoever started us may have it blocked: the command's end would not be noticed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        stderr.has_been_given()
        for number in self._missed:
            self._send(number)

    def wait(self) -> int:
        """Wait for its end; returns its exit status, or the signal that it died of as a negative number."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while True:
            poll.register(self._relay.heard, select.POLLIN)
            wait = self._sifted.wait
            poll.poll(None if wait is None else math.ceil(wait * 1000))
            poll.unregister(self._relay.heard)
            alone = self._sift(_read(self._woken), _read(self._relay.heard))
            status = self._look()
            if status is not None:
                return status
            for number in alone:
                self._send(number)

    def tail(self) -> bytes:
        """The end of what was written to stderr; all that the command wrote has been passed on."""
        return self._stderr.tail(self._relay)

    def _sift(self, came: bytes, heard: bytes) -> list[int]:
        """Take in the signals that have come here, and what the relay has heard; returns those to be passed on now."""
        for number in came:
            if number == signal.SIGCHLD:
                self._relay.look_after()
                self._bury_orphans()
            elif number in self._missed:
                self._missed.remove(number)
                self._sifted.was_passed_on(number)
            else:
                self._sifted.came(number)
        alone = []
        for number in heard:
            if number == ANSWER:
                alone += self._sifted.answered()
            else:
                self._sifted.was_heard(number)
        if self._sifted.is_to_ask():
            self._relay.ask()
        return alone + self._sifted.unanswered()

    def _bury_orphans(self) -> None:
        """As process 1 of a container: nobody else waits for what was left behind there."""
        ours = {self._process.pid, self._relay.pid}
        while os.getpid() == 1:
            # None of ours: its end is for those to see that wait for it. What is behind it is seen after that.
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if dead is None or dead.si_pid in ours:
                return
            os.waitpid(dead.si_pid, 0)

    def _start(self, command: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def be_as_if_alone() -> None:
            self._leave_signals_as_they_were()
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

        streams = self._stderr.for_the_command()
        # What has come by now the command does not get from whoever sent it, though the relay may have heard it.
        self._missed = signal.sigpending() & set(self._numbers)
        return subprocess.Popen(
            command,
            env=environ,
            close_fds=False,
            preexec_fn=be_as_if_alone,  # noqa: PLW1509 - there are no threads here
            **streams,
        )

    def _send(self, number: int) -> None:
        with contextlib.suppress(OSError):  # it has become another user's
            os.kill(self._process.pid, number)

    def _catch(self) -> None:
        self._woken, wakes = os.pipe()
        for handle in (self._woken, wakes):
            os.set_blocking(handle, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in self._found:
            signal.signal(number, lambda *_: None)

    def _leave_signals_as_they_were(self) -> None:
        """With Python's own handlers taken back, for what is to be executed in this process."""
        for number, handler in self._found.items():
            signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _look(self) -> int | None:
        """How the command has ended; None as long as it has not. Where a terminal stops it, this process stops, too.

        In the foreground of a terminal, whatever stops it: the shell that waits for this process takes over. Elsewhere,
        who stops the command alone would continue the command alone.
        """
        pid, status = os.waitpid(self._process.pid, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            if os.WSTOPSIG(status) in _STOPS or _is_in_the_foreground():
                os.kill(os.getpid(), signal.SIGSTOP)
            return None
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode


def end_as(status: int) -> NoReturn:
    """End this process as a child with that status has ended."""
    if status < 0:
        # The core dump is the child's; where it goes to a program, the limit alone is not looked at.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    # Here, too, as process 1 of a container, which no signal of its own kills.
    os._exit(as_in_a_shell(status))


def _is_in_the_foreground() -> bool:
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is none
        return False


def _read(handle: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(handle, _CHUNK)
    return b""
