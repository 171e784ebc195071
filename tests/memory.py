"""How much memory a process has needed."""

from __future__ import annotations

import re
from pathlib import Path


def peak() -> int:
    """The most that this process has had in memory, in kB; unlike `ru_maxrss`, not what it was started from had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])
