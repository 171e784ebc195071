"""The kernel's counts of processes that it killed for lack of memory, in control groups as systems lay them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer_hooks.memory_kills import MemoryKills

PID = 42
HYBRID = "9:name=systemd:/x\n5:cpu,cpuacct:/other\n4:memory:{group}\n0::/unified"
# What /proc/<pid>/cgroup says, and which file counts.
LAYOUTS = {
    "a container with a namespace": ("0::/", "memory.events"),
    "a container that sees the host's path": ("0::/kubepods/pod7/c0ffee", "memory.events"),
    "slurm": (
        "0::/slurmstepd.scope/job_7/step_0/user/task_0",
        "slurmstepd.scope/job_7/step_0/user/task_0/memory.events",
    ),
    "version 1": (HYBRID.format(group="/slurm/uid_0/job_7"), "memory/slurm/uid_0/job_7/memory.oom_control"),
    "version 1 in a container": (HYBRID.format(group="/docker/c0ffee"), "memory/memory.oom_control"),
    "a path outside of the namespace": ("0::/../neighbour", "memory.events"),
    "a colon in a name": ("0::/user.slice/app:7", "user.slice/app:7/memory.events"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def count(file: Path, kills: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"low 0\nhigh 7\nmax 3\noom 9\noom_kill {kills}\noom_group_kill 0\n")


def kills(tmp_path: Path, groups: str) -> MemoryKills:
    place = tmp_path / "proc" / str(PID)
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup").write_text(groups)
    return MemoryKills(PID, root=tmp_path / "cgroup", proc=tmp_path / "proc")


@pytest.mark.parametrize(("groups", "counter"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_kill_is_seen_where_it_is_counted(tmp_path: Path, root: Path, groups: str, counter: str) -> None:
    count(root / counter, 3)
    found = kills(tmp_path, groups)
    assert not found.have_risen
    count(root / counter, 4)
    assert found.have_risen


def test_a_kill_among_the_neighbours_is_not_ours(tmp_path: Path, root: Path) -> None:
    for place in ("job_7", ".", "job_7/inner"):
        count(root / place / "memory.events", 0)
    count(root / "job_7" / "memory.events.local", 0)
    found = kills(tmp_path, "0::/job_7")
    for place in (".", "job_7/inner"):
        count(root / place / "memory.events", 1)
    count(root / "job_7" / "memory.events", 1)
    assert not found.have_risen
    count(root / "job_7" / "memory.events.local", 1)
    assert found.have_risen


def test_a_group_that_is_gone_has_not_killed(tmp_path: Path, root: Path) -> None:
    count(root / "job" / "memory.events", 5)
    found = kills(tmp_path, "0::/job")
    (root / "job" / "memory.events").unlink()
    assert not found.have_risen


@pytest.mark.parametrize("groups", ["", "0::/", "4:memory:/x", "nonsense", "a:b\n"])
def test_where_nothing_is_counted_nothing_is_blamed(tmp_path: Path, groups: str) -> None:
    assert not kills(tmp_path, groups).have_risen


def test_a_count_that_is_no_number_is_none(tmp_path: Path, root: Path) -> None:
    root.mkdir()
    (root / "memory.events").write_text("oom_kill many\n")
    assert not kills(tmp_path, "0::/").have_risen


def test_this_machine_s_own_can_be_asked() -> None:
    assert not MemoryKills(os.getpid()).have_risen
    assert not MemoryKills(2**22 + 1).have_risen
