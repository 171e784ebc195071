"""The small process beside a command that `trainer-hooks run` waits for. It has two jobs.

It passes on, byte for byte and at once, what is written into the pipe that the command has in stderr's place, and keeps
the end of it. It goes on when the command has ended: others may still be writing, and nobody waits for them.

And it hears the signals that are sent to everybody: to the process group by a terminal or a `kill`, to each process by
SLURM or systemd. What it has heard the command has had, too, and must not get a second time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from trainer_hooks.cli.signals import ended_by_signals
from trainer_hooks.shield import ask

KEPT = 64 << 10
ANSWER = 0  # no signal's number
_CHUNK = 1 << 16
_DRAINED_AT_MOST = 1 << 20
_ANSWERS_WITHIN = 1.0
_TRY_AGAIN_AFTER = 0.5
_FAILED = 1
_NOBODY_READS = 3
_STREAMS = (0, 1, 2)


class Relay:
    """The process, as seen by the one that started it."""

    def __init__(self, source: int | None, signals: Iterable[int]) -> None:
        """Start it; `source` is the end to read from, where there is a pipe. It listens for these signals.

        Raises:
            OSError: if no process can be started.
        """
        self._source = source
        self._signals = list(signals)
        self._start()

    @property
    def heard(self) -> int:
        """A descriptor with the numbers of the signals that it has heard, a byte each, and ANSWERs; never blocks."""
        return self._heard

    @property
    def pid(self) -> int:
        """Its number, as long as it isn't started again."""
        return self._pid

    def ask(self) -> None:
        """Have it say ANSWER among the signals, behind all that it has had."""
        with contextlib.suppress(OSError):  # it is looked after
            self._control.send(b"?", socket.MSG_DONTWAIT)

    def tail(self) -> bytes:
        """The end of what it has passed on; all that was written before it was asked has been passed on then.

        Nothing where it can't answer: whoever reads there keeps it waiting. As process 1 of a container, whose end is
        the relay's, this one waits as the command would have, until somebody asks it to end.
        """
        self._control.settimeout(None if os.getpid() == 1 else _ANSWERS_WITHIN)
        answer = bytearray()
        with ended_by_signals(), contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
            while chunk := self._control.recv(_CHUNK):
                answer += chunk
        return bytes(answer)

    def look_after(self) -> None:
        """Start it again if somebody has killed it: without it the command could not write."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return
        self._let_go()
        ended = os.waitstatus_to_exitcode(status)
        if self._source is not None and ended == _NOBODY_READS:
            os.close(self._source)  # the command has to notice, as it would have without us
            self._source = None
        if ended == _FAILED:  # and the next one may well, too
            time.sleep(_TRY_AGAIN_AFTER)
        while isinstance(ask(self._start), OSError):  # no room for a process just now; there is when the command ends
            time.sleep(_TRY_AGAIN_AFTER)

    def end(self) -> None:
        """There is no command; wait for it."""
        self._let_go()
        os.waitpid(self._pid, 0)

    def _start(self) -> None:
        self._heard, speaks = os.pipe()
        self._control, control = socket.socketpair()
        # Blocked until it listens: what came earlier would be heard by this process twice, or kill that one.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _be_the_relay(self._source, control.detach(), speaks, self._signals)
        except OSError:
            self._let_go()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(speaks)
            control.close()
        os.set_blocking(self._heard, False)

    def _let_go(self) -> None:
        os.close(self._heard)
        self._control.close()


def _be_the_relay(source: int | None, control: int, speaks: int, signals: list[int]) -> None:
    """Never returns."""
    status = _FAILED
    try:
        target = os.dup(2)
        _let_go_of_all_but({source, control, speaks, target})
        os.set_blocking(speaks, False)
        signal.set_wakeup_fd(speaks, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        status = _Passing(source, target, control, speaks).work()
    finally:
        os._exit(status)


def _let_go_of_all_but(kept: set[int | None]) -> None:
    """Who waits for the end of another stream, or wants to unmount a disk, must not have to wait for the relay."""
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in _STREAMS:
        os.dup2(nothing, handle)
    stay = {*kept, *_STREAMS}
    try:
        handles = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    except OSError:  # there is no /proc: by number, which may take long where many are allowed
        numbers = sorted(handle for handle in stay if handle is not None)
        for before, after in zip(numbers, [*numbers[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(before + 1, after)
    else:
        for handle in handles - stay:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(handle)


class _Passing:
    """The work of the process."""

    def __init__(self, source: int | None, target: int, control: int, speaks: int) -> None:
        self._speaks = speaks
        self._source = source
        self._target = target
        self._control: int | None = control
        self._tail = bytearray()
        self._writable = select.poll()
        self._writable.register(target, select.POLLOUT)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        if source is not None:
            os.set_blocking(source, False)
            self._poll.register(source, select.POLLIN)

    def work(self) -> int:
        """Until nobody asks any more and nobody can write any more; returns the exit status."""
        try:
            while self._control is not None or self._source is not None:
                for handle, _ in self._poll.poll():
                    if handle == self._source:
                        self._pass_on()
                    elif handle == self._control and os.read(handle, 1):
                        self._say_that_all_was_heard()
                    elif handle == self._control:
                        self._hand_over()
        except OSError:
            return _NOBODY_READS
        return 0

    def _pass_on(self) -> bool:
        """What there is; False if there was nothing."""
        chunk = b""
        if self._source is not None:
            try:
                chunk = os.read(self._source, _CHUNK)
            except BlockingIOError:
                return False
            if not chunk:
                self._poll.unregister(self._source)
                os.close(self._source)
                self._source = None
        self._write(chunk)
        self._tail += chunk
        del self._tail[:-KEPT]
        return bool(chunk)

    def _write(self, chunk: bytes) -> None:
        while chunk:
            self._writable.poll()
            with contextlib.suppress(BlockingIOError):  # somebody has set it so
                chunk = chunk[os.write(self._target, chunk) :]

    def _say_that_all_was_heard(self) -> None:
        with contextlib.suppress(OSError):  # nobody asks any more
            os.write(self._speaks, bytes([ANSWER]))

    def _hand_over(self) -> None:
        """The command has ended: what it wrote is in the pipe; of what others write, no end has to come."""
        passed_on = 0
        while passed_on < _DRAINED_AT_MOST and self._pass_on():
            passed_on += _CHUNK
        if self._control is not None:
            self._poll.unregister(self._control)
            with socket.socket(fileno=self._control) as control, contextlib.suppress(OSError):
                control.sendall(self._tail)
            self._control = None
