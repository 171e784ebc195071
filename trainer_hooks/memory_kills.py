"""How many processes the kernel has killed for lack of memory, as the process's own control group counts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


class MemoryKills:
    """Compares the count now with the one when this was made.

    The group is that of `process`, wherever it lies: under SLURM and systemd a job's is nested deep below the root.
    Only the nearest group that counts is asked: the kernel counts each kill in the victim's own, and those above it
    count the neighbours' as well.
    """

    def __init__(self, process: int, *, root: Path = _ROOT, proc: Path = _PROC) -> None:
        self._counter = next((path for path in _counters(process, root, proc) if _count(path) is not None), None)
        self._before = self._now()

    @property
    def have_risen(self) -> bool:
        """Whether the kernel has killed since."""
        return self._now() > self._before

    def _now(self) -> int:
        return (_count(self._counter) if self._counter else None) or 0


def _counters(process: int, root: Path, proc: Path) -> Iterator[Path]:
    """The files that may hold the count, the nearest first; see cgroups(7) and the kernel's cgroup-v2.rst."""
    for controllers, group in _groups(process, proc):
        if "memory" in controllers.split(","):
            yield from (place / "memory.oom_control" for place in _upwards(root / "memory", group))
        elif not controllers:
            own, *above = _upwards(root, group)
            yield own / "memory.events.local"  # without what is in groups below it
            yield from (place / "memory.events" for place in (own, *above))


def _groups(process: int, proc: Path) -> list[tuple[str, str]]:
    """The process's control groups, with their controllers; version 2's has none. That of version 1 comes first."""
    try:
        lines = (proc / str(process) / "cgroup").read_text().splitlines()
    except OSError:
        return []
    fields = [line.split(":", 2) for line in lines]
    return sorted(((line[1], line[2]) for line in fields if len(line) == 3), reverse=True)  # noqa: PLR2004


def _upwards(root: Path, group: str) -> list[Path]:
    """The group's folder and all above it, up to the root: in a container, the root may be the group itself."""
    inside = Path(group.lstrip("/"))
    return [root / inside, *(root / part for part in inside.parents)] if inside.parts else [root]


def _count(path: Path) -> int | None:
    """The count in that file; None if there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(counts["oom_kill"]) if counts.get("oom_kill", "").isdecimal() else None
