"""Sees the training process die, whatever the cause."""

from __future__ import annotations

import os
import select
import time

from trainer_hooks.events import Process
from trainer_hooks.memory_kills import MemoryKills
from trainer_hooks.process import is_alive


class ProcessWatch:
    """Waits for a process to end.

    By pidfd where the kernel has it, else by pid and start time. Not by a pipe: a forked DataLoader worker holds the
    pipe's other end and outlives the training.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._kills = MemoryKills(process.pid)
        self._pidfd = _open_pidfd(process.pid)
        # Looked at after the pidfd was opened, so that the pid can't have been reused in between.
        self._gone = is_alive(process) is False
        self.gone_since = time.monotonic()
        """When it was seen to be gone, by the monotonic clock; the last look, while it is not."""
        if is_alive(process) is not True:
            self.close()

    def is_gone(self) -> bool:
        """Whether the process has ended, reaped or not; False for one that can't be seen from here."""
        if not self._gone:
            self._gone = _is_readable(self._pidfd) if self._pidfd is not None else is_alive(self._process) is False
            self.gone_since = time.monotonic()
        return self._gone

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel has killed for lack of memory since the watch began."""
        return self._kills.have_risen

    def close(self) -> None:
        """Let go of the process."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _is_readable(pidfd: int) -> bool:
    """Whether the process behind the pidfd has ended: pidfd_open(2) makes it readable then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
