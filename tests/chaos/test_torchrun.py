"""Two ranks that torchrun launches, and launches again: real ones, which take some ten seconds each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_ranks import ROOT, told
from trainer_hooks.events import EpochEnded, RunCompleted, RunFailed
from trainer_hooks.history import read_history

pytestmark = pytest.mark.timeout(110)
# What a user's script does, in a process per rank.
LOOP = """
import torch.distributed as dist
import trainer_hooks
dist.init_process_group("gloo")
with trainer_hooks.start_run(run_id="job", total_epochs=2) as run:
    for epoch in (1, 2):
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
        dist.barrier()
dist.destroy_process_group()
"""
# One of the two ranks fails in the first launch, when both are at work; torchrun stops the other, and launches anew.
# Without a process group: torch 2.13 connects gloo's to the addresses of the launch before, and often fails.
RESTARTED = """
import os, sys, threading
from pathlib import Path
import trainer_hooks
rank, launch = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
with trainer_hooks.start_run(run_id="job", total_epochs=2) as run:
    run.log_metrics({"loss": 1.0}, epoch=1)
    Path(f"{launch}-{rank}").touch()
    while not all(Path(f"{launch}-{other}").exists() for other in (0, 1)):
        threading.Event().wait(0.01)
    if launch == "0" and rank == sys.argv[1]:
        raise ValueError(f"rank {rank} has had enough")
    if launch == "0":
        threading.Event().wait(60)
    run.log_metrics({"loss": 0.5}, epoch=2)
"""


def torchrun(folder: Path, script: str, *arguments: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """The script in two ranks, as a user launches them."""
    (folder / "loop.py").write_text(script)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "--max-restarts", str(restarts), "loop.py", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_of_a_launch_by_torchrun_one_rank_speaks(own_environment: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, LOOP)
    assert done.returncode == 0, done.stderr
    assert [event.epoch for event in told(own_environment, EpochEnded)] == [1, 2]
    assert len(told(own_environment, RunCompleted)) == 1
    assert done.stderr.count("trainer_hooks: run job completed") == 1


@pytest.mark.parametrize("culprit", [0, 1])
def test_an_elastic_restart_is_the_runs_next_attempt(own_environment: Path, tmp_path: Path, culprit: int) -> None:
    done = torchrun(tmp_path, RESTARTED, str(culprit), restarts=1)
    assert done.returncode == 0, done.stderr
    first, second = read_history(own_environment / "job").attempts
    assert (first.state.status, second.state.status) == ("failed", "completed")
    assert isinstance(first.state.ended, RunFailed)
    assert first.state.ended.message == f"rank {culprit} has had enough"
    assert first.state.ended.rank == (culprit or None)
    assert (first.state.epoch, second.state.epoch) == (1, 2)
