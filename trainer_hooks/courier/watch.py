"""Sees the training process die, whatever the cause, and finds words for a death that left none."""

from __future__ import annotations

import os
import select
from pathlib import Path

from trainer_hooks.events import Process
from trainer_hooks.process import is_alive

_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class ProcessWatch:
    """Waits for a process to end.

    By pidfd where the kernel has it, else by pid and start time. Not by a pipe: a forked DataLoader worker holds the
    pipe's other end and outlives the training.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._oom_kills = oom_kills()
        self._pidfd = _open_pidfd(process.pid)
        # Looked at after the pidfd was opened, so that the pid can't have been reused in between.
        self._gone = is_alive(process) is False
        if is_alive(process) is not True:
            self.close()

    def is_gone(self) -> bool:
        """Whether the process has ended, reaped or not; False for one that can't be seen from here."""
        if not self._gone:
            self._gone = _is_readable(self._pidfd) if self._pidfd is not None else is_alive(self._process) is False
        return self._gone

    def explain(self) -> str:
        """Why it may have ended, as far as that can be told from outside."""
        if oom_kills() > self._oom_kills:
            return "the process ended without a word while the kernel killed processes for lack of memory"
        return "the process ended without a word: killed (SIGKILL), crashed, or the machine went down"

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel has killed for lack of memory since the watch began."""
        return oom_kills() > self._oom_kills

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


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for lack of memory; 0 where that isn't counted."""
    for path in _OOM_COUNTERS:
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
        return int(counts.get("oom_kill", "0"))
    return 0


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
