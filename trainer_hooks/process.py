"""Who a process is, and whether it still lives: a pid alone is reused, so its start time goes with it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from trainer_hooks.events import Process

NOWHERE = Process(host="", boot="", namespace="", pid=0, started="")
"""A process of which nothing is known, least of all whether it lives."""
_STARTTIME = 22 - 4  # the 22nd field of proc(5)'s stat; the list begins with the 4th


def this_process() -> Process:
    """The identity of the calling process."""
    return _identity(os.getpid())


def parent_process() -> Process:
    """The identity of the process that the calling one is a child of."""
    return _identity(os.getppid())


def local_name(process: Process) -> str:
    """What tells it from all other processes of its container, in a word."""
    return f"{process.pid}:{process.started}"


def is_alive(process: Process) -> bool | None:
    """Whether that process still runs; None when it can't be seen from here (another host or container)."""
    if process.host != socket.gethostname():
        return None
    if process.boot != _boot():
        return False
    if process.namespace != _namespace():
        return None
    if not process.started:  # no /proc on this system
        return _responds(process.pid)
    return _start_time(process.pid) == process.started


def _identity(pid: int) -> Process:
    return Process(
        host=socket.gethostname(), boot=_boot(), namespace=_namespace(), pid=pid, started=_start_time(pid) or ""
    )


def _start_time(pid: int) -> str | None:
    """Clock ticks since boot at which the process began, from proc(5); None if it is gone, a zombie or unknown."""
    stat = _read(f"/proc/{pid}/stat")
    # The command's name, in parentheses, may itself hold blanks and parentheses: the fields begin after the last one.
    state, *fields = stat.rpartition(")")[2].split() or ["X"]
    return None if state in "ZX" else fields[_STARTTIME]


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _responds(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
