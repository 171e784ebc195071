"""Looking at processes from outside."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int, command: str) -> bool:
    """Whether that process exists, is no zombie, and has this in its command line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return command in line
