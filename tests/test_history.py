"""What a run's records add up to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer_hooks.events import (
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    MetricsLogged,
    ProgressMade,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    Validated,
)
from trainer_hooks.history import RunState, age, list_runs, read_history, read_measured, state_of
from trainer_hooks.journal import Journal, read_records, segments


def state_after(*events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def journal(directory: Path, attempt: int = 1, writer: str = "training") -> Journal:
    return Journal(directory, run="the run", attempt=attempt, writer=writer)


# A training in another process that tells what it is given, and dies without a word.
BRIEF = """
import sys
from pathlib import Path
from trainer_hooks.events import EpochEnded, RunStarted
from trainer_hooks.journal import Journal
journal = Journal(Path(sys.argv[1]), run="the run", attempt=int(sys.argv[2]), writer="training")
journal.append(RunStarted(total_epochs=9))
journal.append(EpochEnded(epoch=4))
"""


def dead_attempt(directory: Path, attempt: int) -> None:
    cwd = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", BRIEF, directory, str(attempt)], cwd=cwd, check=True, timeout=60)


def test_a_run_goes_from_opened_to_running_to_its_end():
    assert state_after().status == "opened"
    assert state_after(RunStarted(total_epochs=5)).status == "running"
    endings = {
        "completed": RunCompleted(),
        "failed": RunFailed(error="UnknownError", message="x"),
        "interrupted": RunInterrupted(reason="SIGTERM"),
        "lost": RunLost(reason="x"),
    }
    for status, event in endings.items():
        state = state_after(RunStarted(), event)
        assert (state.status, state.ended) == (status, event)


def test_the_epoch_never_goes_back_and_its_metrics_are_the_latest():
    state = state_after(
        RunStarted(total_epochs=5),
        EpochEnded(epoch=1, metrics={"loss": 3}),
        EpochEnded(epoch=2, metrics={"loss": 2}, total_epochs=4),
        EpochEnded(epoch=2, metrics={"loss": 1}),
        EpochEnded(epoch=1, metrics={"loss": 9}),
        ProgressMade(current=3, total=7),
    )
    assert (state.epoch, state.total_epochs, state.metrics) == (2, 4, {"loss": 9})
    assert state.progress == ProgressMade(current=3, total=7)


def test_the_best_is_what_was_last_said_to_be_the_best():
    state = state_after(
        Validated(epoch=1, metrics={"mAP": 0.1}, is_best=True, primary="mAP"),
        Validated(epoch=2, metrics={"mAP": 0.3}, is_best=True),
        Validated(epoch=3, metrics={"mAP": 0.2}),
        Validated(epoch=2, metrics={"mAP": 0.31}, final=True),
    )
    assert (state.best_epoch, state.best_metrics, state.primary) == (2, {"mAP": 0.3}, "mAP")


def test_a_checkpoint_called_best_says_which_epoch_was_the_best_but_a_final_one_does_not():
    last = CheckpointSaved(names=["last"], path="last.pt", size=1, epoch=4)
    best = CheckpointSaved(names=["last", "best"], path="last.pt", size=1, epoch=3, metrics={"mAP": 0.5})
    final = CheckpointSaved(names=["best"], path="best.pt", size=1, epoch=5, final=True)
    stored = CheckpointStored(name="best", uri="s3://b/best.pt", manifest_uri="s3://b/m", size=1, sha256="0")
    state = state_after(best, last, final, stored)
    assert (state.best_epoch, state.best_metrics) == (3, {"mAP": 0.5})
    assert state.saved == {"last": last, "best": final}
    assert state.stored == {"best": stored}


def test_attempts_are_told_apart_and_the_silent_dead_one_is_lost(tmp_path):
    dead_attempt(tmp_path, 1)
    dead_attempt(tmp_path, 2)
    alive = journal(tmp_path, attempt=3)
    alive.append(RunStarted())
    history = read_history(tmp_path)
    assert history.run == "the run"
    assert [attempt.number for attempt in history.attempts] == [1, 2, 3]
    assert [attempt.status for attempt in history.attempts] == ["lost", "lost", "running"]
    assert [attempt.is_over for attempt in history.attempts] == [True, True, False]
    assert history.attempts[0].state.epoch == 4
    assert history.latest.header.process.pid == os.getpid()
    assert 0 < history.latest.began <= history.latest.last <= time.time()


def test_what_others_write_for_an_attempt_belongs_to_it(tmp_path):
    journal(tmp_path, attempt=1).append(RunStarted())
    journal(tmp_path, attempt=1, writer="courier").append(RunLost(reason="gone"))
    (attempt,) = read_history(tmp_path).attempts
    assert attempt.header.writer == "training"
    assert attempt.state.ended == RunLost(reason="gone")


def test_a_run_whose_first_record_is_damaged_still_has_a_history(tmp_path):
    journal(tmp_path).append(RunCompleted(epochs=2))
    ((_, path),) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"segment_opened", b"segment_0pened"))
    history = read_history(tmp_path)
    assert history.run == tmp_path.name
    assert history.latest.status == "completed"


def test_a_directory_without_a_journal_has_no_attempts(tmp_path):
    history = read_history(tmp_path)
    assert (history.run, history.attempts) == (tmp_path.name, [])


def test_what_an_attempt_has_reached_is_its_own(tmp_path):
    first, second = journal(tmp_path, attempt=1), journal(tmp_path, attempt=2)
    for epoch in (1, 3, 2):
        first.append(EpochEnded(epoch=epoch))
    first.append(MetricsLogged(metrics={"loss": 1}, iteration=70))
    records = list(read_records(tmp_path))
    assert state_of(records, 1).reached == {"epoch": 3, "iteration": 70}
    assert state_of(records, 2).reached == {"epoch": 0, "iteration": None}
    second.append(EpochEnded(epoch=7))
    assert state_of(read_records(tmp_path), 2).reached == {"epoch": 7, "iteration": None}


def test_a_training_may_be_counted_in_iterations():
    best = Validated(metrics={"mIoU": 0.5}, iteration=20, is_best=True)
    state = state_after(
        RunStarted(total_iterations=40),
        MetricsLogged(metrics={"loss": 2}, iteration=20),
        best,
        MetricsLogged(metrics={}),
    )
    assert state.done == ("iterations", 20, 40)
    assert (state.best_at, state.best_metrics, state.metrics) == ("iteration 20", {"mIoU": 0.5}, {"loss": 2})
    epochs = state_after(
        RunStarted(total_epochs=2), MetricsLogged(metrics={"loss": 2}, iteration=20), EpochEnded(epoch=1)
    )
    assert (epochs.done, epochs.metrics) == (("epochs", 1, 2), {})


def test_the_rank_that_failed_first_is_the_cause():
    first = RankFailed(rank=1, error="DatasetError", message="no images", iteration=3)
    state = state_after(EpochEnded(epoch=2), first, RankFailed(rank=0, error="NetworkError", message="peer reset"))
    assert state.cause == RunFailed(rank=1, error="DatasetError", message="no images", epoch=2, iteration=3)
    assert state_after(EpochEnded(epoch=2)).cause is None


def test_what_was_measured_is_read_by_epoch_with_its_validation(tmp_path):
    told = journal(tmp_path)
    told.append(EpochEnded(epoch=1, metrics={"loss": 3}, duration=1.5))
    told.append(Validated(epoch=1, metrics={"map": 0.25}))
    told.append(MetricsLogged(metrics={"loss": 9}, iteration=7))
    told.append(EpochEnded(epoch=2, metrics={"loss": 2}))
    told.append(EpochEnded(epoch=2, metrics={"loss": 1}))  # the host has repeated it
    told.append(Validated(epoch=2, metrics={"map": 0.75}, final=True))  # of the finished model, not of the epoch
    found = [(point.attempt, point.epoch, point.duration, point.metrics) for point in read_measured(tmp_path)]
    assert found == [(1, 1, 1.5, {"loss": 3, "map": 0.25}), (1, 2, None, {"loss": 1})]


def test_what_was_measured_is_read_by_iteration_where_no_epochs_are_counted(tmp_path):
    told = journal(tmp_path)
    told.append(MetricsLogged(metrics={"loss": 3}, iteration=10))
    told.append(MetricsLogged(metrics={"loss": 2}, iteration=20))
    told.append(Validated(iteration=20, metrics={"mIoU": 0.5}))
    found = [(point.epoch, point.iteration, point.metrics) for point in read_measured(tmp_path)]
    assert found == [(None, 10, {"loss": 3}), (None, 20, {"loss": 2, "mIoU": 0.5})]


def test_runs_are_listed_the_newest_first(tmp_path):
    names = ["b", "a", "c"]
    for name in names:
        journal(tmp_path / name)
    (tmp_path / "no run").mkdir()
    (tmp_path / "a file").write_text("")
    assert [path.name for path in list_runs(tmp_path)] == names[::-1]
    journal(tmp_path / "b", attempt=2)
    assert [path.name for path in list_runs(tmp_path)] == ["b", "c", "a"]
    assert list(list_runs(tmp_path / "gone")) == []


def test_age_is_never_negative():
    assert age(time.time() + 100) == 0
    assert age(time.time() - 100) == pytest.approx(100, abs=10)
