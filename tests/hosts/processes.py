"""Looking at processes from outside."""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_running(pid: int, command: str) -> bool:
    """Whether that process exists, is no zombie, and has this in its command line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return command in line


def with_variable(name: str, value: str) -> list[int]:
    """The processes that were started with this in their environment, their descendants among them."""
    variable = f"{name}={value}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it is another user's, or gone
            if variable in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
