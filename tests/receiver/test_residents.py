"""Trainings that write into the receiver's directory themselves, and know of no server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.parts import write_run
from tests.receiver.serving import Receiver
from trainer_hooks import start_run
from trainer_hooks.events import RunCompleted, RunInterrupted, RunStarted
from trainer_hooks.journal import read_records
from trainer_hooks.receiver.residents import ask_residents_to_stop
from trainer_hooks.stopping import ask_to_stop, asked_to_stop


def test_one_stops_where_somebody_has_asked_for_it(start: Callable[..., Receiver], tmp_path: Path) -> None:
    receiver = start(tmp_path / "runs")
    with start_run(run_id="a/1", directory=str(tmp_path / "runs"), delivery="none") as run:
        for epoch in run.epochs(10):
            run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
            if epoch == 2:
                assert receiver.run("a%2F1")["summary"]["cancelled"] is False
                asked = receiver.post("/jobs/a%2F1/cancel", {"reason": "enough"}).json()
                assert asked["job_status"] == "cancelled"
                assert receiver.run("a%2F1")["summary"]["cancelled"] is True
                assert receiver.get("/runs")["runs"][0]["cancelled"] is True
    (directory,) = (tmp_path / "runs").glob("a*")
    (interrupted,) = (one.event for one in read_records(directory) if isinstance(one.event, RunInterrupted))
    assert (interrupted.reason, interrupted.epoch) == ("job 'a/1' was cancelled at the receiver: enough", 2)


def test_the_next_attempt_is_not_stopped_by_that(start: Callable[..., Receiver], tmp_path: Path) -> None:
    receiver = start(tmp_path / "runs")
    for attempt in (1, 2):
        directory = write_run(tmp_path / "runs", "a", [RunStarted()], attempt=attempt)
        assert receiver.run("a")["summary"]["cancelled"] is False
        assert receiver.get("/jobs/a")["job_status"] == "running"
        told = receiver.post("/jobs/a/cancel", {"reason": f"number {attempt}"}).json()
        assert (told["job_status"], told["not_asked"]) == ("cancelled", {})
        assert receiver.run("a")["summary"]["cancelled"] is True
        assert asked_to_stop(directory, attempt) == f"job 'a' was cancelled at the receiver: number {attempt}"


def test_what_somebody_else_has_asked_for_stays(start: Callable[..., Receiver], tmp_path: Path) -> None:
    directory = write_run(tmp_path / "runs", "a", [RunStarted()])
    ask_to_stop(directory, 1, "stopped by the search")
    start(tmp_path / "runs").post("/jobs/a/cancel", {})
    assert asked_to_stop(directory, 1) == "stopped by the search"


def test_a_run_that_has_ended_or_is_of_another_job_is_left_alone(
    start: Callable[..., Receiver], tmp_path: Path
) -> None:
    ended = write_run(tmp_path / "runs", "a", [RunStarted(), RunCompleted()], job="7")
    other = write_run(tmp_path / "runs", "b", [RunStarted()], job="8")
    open_ = write_run(tmp_path / "runs", "c", [RunStarted()], job="7")
    start(tmp_path / "runs").post("/jobs/7/cancel", {})
    assert [asked_to_stop(run, 1) is not None for run in (ended, other, open_)] == [False, False, True]


def test_one_that_cannot_be_asked_is_named_and_the_others_are_asked(
    start: Callable[..., Receiver], tmp_path: Path
) -> None:
    elsewhere = write_run(tmp_path / "elsewhere", "a", [RunStarted()], job="7")
    other = write_run(tmp_path / "runs", "b", [RunStarted()], job="7")
    (tmp_path / "runs" / "a").symlink_to(elsewhere)
    answer = start(tmp_path / "runs").post("/jobs/7/cancel", {})
    assert answer.status_code == 200
    assert "is a link, and links are not followed" in answer.json()["not_asked"]["a"]
    assert asked_to_stop(elsewhere, 1) is None
    assert asked_to_stop(other, 1) is not None


def test_a_directory_that_cannot_be_written_is_told_with_its_mend(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a", [RunStarted()])
    (run / "stop-1").mkdir()  # what can't be replaced by a file, not even by root
    (refusal,) = ask_residents_to_stop(tmp_path, "a", "enough", ended=()).values()
    assert refusal == f"{run} can't be written (Is a directory): let the receiver's user write there"
