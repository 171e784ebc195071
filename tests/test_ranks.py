"""Which rank of a distributed launch speaks, and how another rank's failure is heard: real processes, one per rank."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from trainer_hooks.events import EpochEnded, RankFailed, RunCompleted, RunFailed, RunInterrupted
from trainer_hooks.history import list_runs
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.stopping import ask_to_stop

ROOT = Path(__file__).parent.parent
# A rank: opens its run, says so, and goes on as it is told to, line by line.
RANK = """
import sys
import trainer_hooks
with trainer_hooks.start_run(total_epochs=2) as run:
    run.log_metrics({"loss": 1.0}, epoch=1)
    print("open", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        raise ValueError(line.strip())
"""
LAUNCH = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "TORCHELASTIC_RUN_ID": "a-launch"}


@contextmanager
def rank(number: int, script: str = RANK, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A rank that has opened its run."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **(environment or {**LAUNCH, "RANK": str(number)})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def told(root: Path, kind: type) -> list:
    (run,) = list_runs(root)
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def test_one_rank_speaks(own_environment: Path) -> None:
    with rank(0) as main, rank(1) as other:
        other.communicate("end\n", timeout=30)
        main.communicate("end\n", timeout=30)
    assert (main.returncode, other.returncode) == (0, 0)
    assert len(told(own_environment, EpochEnded)) == len(told(own_environment, RunCompleted)) == 1
    (run,) = list_runs(own_environment)
    assert {header.writer for header in read_headers(run).values()} == {"training"}


LOOP = """
import sys
import trainer_hooks
with trainer_hooks.start_run() as run:
    print("open", flush=True)
    for epoch in run.epochs(50):
        run.log_metrics({"loss": 1.0}, epoch=epoch)
        print(epoch, flush=True)
        sys.stdin.readline()
    print("left", flush=True)
"""


def test_loops_of_epochs_are_left_together(own_environment: Path) -> None:
    two = {**LAUNCH, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    with rank(0, LOOP, **two, RANK="0") as main, rank(1, LOOP, **two, RANK="1") as other:
        heard: dict[int, list[str]] = {0: [], 1: []}
        for epoch in range(1, 51):
            for number, process in enumerate((main, other)):  # they go on in step, as ranks do
                heard[number].append(process.stdout.readline().strip())
            if "left" in (heard[0][-1], heard[1][-1]):
                break
            if epoch == 2:
                (run,) = list_runs(own_environment)
                ask_to_stop(run, 1, "cancelled")
            for process in (main, other):
                process.stdin.write("\n")
                process.stdin.flush()
    assert heard[0] == heard[1]
    assert heard[0][-1] == "left"
    assert len(heard[0]) < 10


LAUNCHERS = {
    "torchrun": ("RANK", LAUNCH),
    "srun": ("SLURM_PROCID", {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}),
    "mpirun": ("OMPI_COMM_WORLD_RANK", {"OMPI_MCA_ess_base_jobid": "4711"}),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_failure_of_another_rank_is_told_with_its_rank_and_is_the_runs(
    own_environment: Path, launcher: str
) -> None:
    name, launch = LAUNCHERS[launcher]
    with rank(0, **launch, **{name: "0"}) as main, rank(1, **launch, **{name: "1"}) as other:
        _, said = other.communicate("the culprit\n", timeout=30)
        assert "ValueError: the culprit" in said
        main.communicate("what follows from it\n", timeout=30)
    assert (main.returncode, other.returncode) == (1, 1)
    (failed_rank,) = told(own_environment, RankFailed)
    assert (failed_rank.rank, failed_rank.message) == (1, "the culprit")
    (failed,) = told(own_environment, RunFailed)
    assert (failed.rank, failed.exception, failed.message, failed.epoch) == (1, "ValueError", "the culprit", 1)
    assert failed.traceback.startswith("Traceback")


def test_a_launcher_that_stops_the_main_rank_for_it_makes_no_interruption(own_environment: Path) -> None:
    with rank(0) as main, rank(1) as other:
        other.communicate("the culprit\n", timeout=30)
        main.terminate()
        main.wait(30)
    assert told(own_environment, RunInterrupted) == []
    assert [failed.rank for failed in told(own_environment, RunFailed)] == [1]


def test_a_main_rank_that_is_killed_for_it_leaves_the_cause_to_the_courier(own_environment: Path) -> None:
    with rank(0) as main, rank(1) as other:
        other.communicate("the culprit\n", timeout=30)
        main.kill()
        main.wait(30)
        wait_until(lambda: told(own_environment, RunFailed), what="the courier's last word")
    assert [(failed.rank, failed.message) for failed in told(own_environment, RunFailed)] == [(1, "the culprit")]


def test_a_rank_of_another_launch_is_not_heard_in_this_one(own_environment: Path) -> None:
    with rank(0) as main, rank(1, **{**LAUNCH, "MASTER_PORT": "29512", "RANK": "1"}) as stranger:
        _, said = stranger.communicate("not ours\n", timeout=30)
        assert "let all machines of a job share one TRAINER_HOOKS_DIR" in said
        main.communicate("end\n", timeout=30)
    assert told(own_environment, RankFailed) == []
    assert len(told(own_environment, RunCompleted)) == 1


def test_a_rank_outside_of_any_launch_is_silent(own_environment: Path) -> None:
    with rank(3, RANK="3") as lonely:
        lonely.communicate("nobody hears it\n", timeout=30)
    assert lonely.returncode == 1
    assert list(list_runs(own_environment)) == []
