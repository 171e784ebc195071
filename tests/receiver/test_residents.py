"""Trainings that write into the receiver's directory themselves, and know of no server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.parts import write_run
from tests.receiver.serving import Receiver
from trainer_hooks import start_run
from trainer_hooks.events import RunInterrupted, RunStarted
from trainer_hooks.journal import read_records


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
        write_run(tmp_path / "runs", "a", [RunStarted()], attempt=attempt)
        assert receiver.run("a")["summary"]["cancelled"] is False
        receiver.post("/jobs/a/cancel", {})
        assert receiver.run("a")["summary"]["cancelled"] is True
