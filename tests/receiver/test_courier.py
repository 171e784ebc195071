"""The real courier, by way of the platform destination and as a process, delivers to a real receiver."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.platform_parts import Outcome, Run
from tests.receiver.serving import ROOT, Receiver
from tests.waiting import wait_until
from trainer_hooks.events import (
    AnyEvent,
    CheckpointStored,
    EpochEnded,
    ImageSaved,
    Logged,
    MetricsLogged,
    RunCompleted,
    RunFailed,
    RunStarted,
    Validated,
)
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_records
from trainer_hooks.liveness import Liveness

TRAINING: list[AnyEvent] = [
    RunStarted(framework="ultralytics", model="yolo11n", total_epochs=2, params={"lr0": 0.01, "name": "日本"}),
    EpochEnded(epoch=1, metrics={"loss": "NaN", "mAP": 0.5}, duration=2.0),
    Validated(epoch=1, metrics={"mAP": 0.5}, primary="mAP", is_best=True),
    CheckpointStored(name="best", uri="s3://b/best.pt", manifest_uri="s3://b/m.json", size=3, sha256="ab", epoch=1),
    Logged(level="WARNING", message="two\nlines <script>", data={"a": [1, None, {"b": 1e-9}]}),
    MetricsLogged(metrics={"loss": 0.25}, iteration=7),
    EpochEnded(epoch=2, metrics={"loss": 0.25, "mAP": 0.6}),
    RunCompleted(epochs=2, metrics={"loss": 0.25}, duration=4.5),
]


def told(directory: Path) -> list[tuple[str, int, float, AnyEvent]]:
    """All that a journal tells, its own segments' beginnings apart."""
    return [(one.id, one.attempt, one.time, one.event) for one in read_records(directory) if one.seq]


def test_what_the_courier_delivers_is_what_the_senders_journal_tells(shared: Receiver, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="told", run="told")
    records = run.add(*TRAINING)
    with run.destination(shared.url) as destination:
        outcome = Outcome(destination, records)
    assert (len(outcome.delivered), outcome.refused, outcome.reason) == (8, {}, "")
    assert told(shared.directory / "told") == told(tmp_path / "sender")
    theirs, ours = read_history(tmp_path / "sender").latest.state, read_history(shared.directory / "told").latest.state
    assert ours == theirs


def test_a_whole_training_arrives_by_its_own_courier_process(shared: Receiver, tmp_path: Path) -> None:
    image = tmp_path / "curve.gif"
    image.write_bytes(b"GIF89a")
    code = (
        "import trainer_hooks\n"
        "with trainer_hooks.start_run(total_epochs=20) as run:\n"
        "    for epoch in range(1, 21):\n"
        "        run.log_metrics({'loss': 1 / epoch}, epoch=epoch)\n"
        f"    run.log_image({str(image)!r})\n"
    )
    environ = {
        "PYTHONPATH": str(ROOT),
        "CALLBACK_URL": shared.url,
        "JOB_ID": "41",
        "TRAINER_HOOKS_DIR": str(tmp_path / "sender"),
        "TRAINER_HOOKS_HEARTBEAT": "0.2",
    }
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=100)
    wait_until(lambda: "run_completed" in shared.kinds("41"), what="the end of the run")
    assert told(shared.directory / "41") == told(tmp_path / "sender" / "41")
    (drawn,) = [event for event in shared.events("41") if isinstance(event, ImageSaved)]
    assert shared.http.get(f"/runs/41/{drawn.staged}").content == b"GIF89a"
    shown = shared.run("41")["summary"]
    assert (shown["status"], shown["done"], shown["total"], shown["job"]) == ("completed", 20, 20, "41")


def test_two_couriers_at_once_store_each_event_once(shared: Receiver, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="two", run="two")
    records = run.add(*(Logged(level="INFO", message=str(number)) for number in range(3000)))
    outcomes: list[Outcome] = []

    def deliver() -> None:
        with run.destination(shared.url) as destination:
            outcomes.append(Outcome(destination, records))

    couriers = [threading.Thread(target=deliver) for _ in range(2)]
    for courier in couriers:
        courier.start()
    for courier in couriers:
        courier.join(60)
    assert [len(outcome.delivered) for outcome in outcomes] == [3000, 3000]
    assert told(shared.directory / "two") == told(tmp_path / "sender")


def test_nothing_acknowledged_is_lost_when_the_receiver_is_killed_in_the_middle(start: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="7", run="7")
    records = run.add(*(Logged(level="INFO", message=f"{number} " + "x" * 2000) for number in range(20_000)))
    receiver = start()
    journal = receiver.directory / "7" / "journal"

    def kill() -> None:
        wait_until(lambda: journal.is_dir() and sum(path.stat().st_size for path in journal.iterdir()) > 4_000_000)
        receiver.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with run.destination(receiver.url) as destination:
        outcome = Outcome(destination, records)
    killer.join()
    assert 0 < len(outcome.delivered) < len(records)
    assert outcome.reason
    again = start()
    kept = [record.id for record in read_records(receiver.directory / "7") if record.seq]
    assert set(outcome.delivered) <= set(kept)
    with run.destination(again.url) as destination:
        rest = Outcome(destination, records)
    assert (len(rest.delivered), rest.reason) == (len(records), "")
    assert told(again.directory / "7") == told(tmp_path / "sender")
    assert again.get("/runs/7/logs", tail=1)["records"][0]["message"].startswith("19999 ")


def test_what_a_killed_receiver_left_of_a_line_is_taken_away(start: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="7", run="7")
    records = run.add(*TRAINING)
    receiver = start()
    with run.destination(receiver.url) as destination:
        Outcome(destination, records[:4])
    receiver.kill()
    segment = receiver.directory / "7" / "journal" / "000001.jsonl"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-20])
    again = start()
    with run.destination(again.url) as destination:
        assert len(Outcome(destination, records).delivered) == 8
    assert told(again.directory / "7") == told(tmp_path / "sender")
    assert again.get("/runs/7/ledger")["damaged_lines"] == 0


def test_a_container_that_starts_on_an_empty_disk_goes_on_in_the_same_run(shared: Receiver, tmp_path: Path) -> None:
    for number, ending in ((1, RunFailed(error="ResourceError", message="evicted")), (2, RunCompleted(epochs=2))):
        run = Run(tmp_path / f"disk{number}", job="moved", run="moved", attempt=number, origin=f"disk{number}")
        records = run.add(RunStarted(total_epochs=2), EpochEnded(epoch=number), ending)
        with run.destination(shared.url) as destination:
            assert len(Outcome(destination, records).delivered) == 3
    attempts = shared.run("moved")["attempts"]
    assert [(one["number"], one["status"]) for one in attempts] == [(1, "failed"), (2, "completed")]


def test_a_receiver_over_the_senders_own_directory_stores_nothing_twice(start: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "home", job="home", run="home", origin="aa")
    receiver = start(tmp_path / "runs")
    records = run.add(*TRAINING)
    before = told(tmp_path / "runs" / "home")
    with run.destination(receiver.url) as destination:
        assert len(Outcome(destination, records).delivered) == 8
    assert told(tmp_path / "runs" / "home") == before
    assert receiver.run("home")["summary"]["done"] == 2


def test_a_cancelled_job_tells_its_training_to_stop(shared: Receiver, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="stop/it", run="stop/it")
    with run.destination(shared.url) as destination:
        Outcome(destination, run.add(RunStarted()))
        assert run.asked_to_stop == []
        cancelled = shared.post("/jobs/stop%2Fit/cancel", {"reason": "diverged"}).json()
        assert (cancelled["job_status"], cancelled["reason"]) == ("cancelled", "diverged")
        Outcome(destination, run.add(EpochEnded(epoch=1)))
        assert run.asked_to_stop == ["the platform says that the job is 'cancelled'"]
        destination.beat(Liveness(time=1.0, run="stop/it", attempt=1, state="progressing", idle=0.1))
        assert len(run.asked_to_stop) == 2
    assert shared.run("stop%2Fit")["summary"]["cancelled"] is True
    assert shared.run("stop%2Fit")["heartbeat"]["state"] == "progressing"


@pytest.mark.parametrize("job", ["exp/1", "..", ".", "a b", "ü%", ".#receiver"])
def test_a_job_of_any_name_has_its_place_within_the_directory(shared: Receiver, tmp_path: Path, job: str) -> None:
    before = set(shared.directory.parent.iterdir())
    run = Run(tmp_path / "sender", job=job, run=job)
    with run.destination(shared.url) as destination:
        assert len(Outcome(destination, run.add(RunStarted())).delivered) == 1
    (shown,) = wait_until(lambda: shared.get("/runs", job=job)["runs"], what="the run in the list")
    assert (shown["run"], shown["status"]) == (job, "running")
    assert set(shared.directory.parent.iterdir()) == before


def test_a_full_disk_is_later_and_tears_nothing(start: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "sender", job="7", run="7")
    records = run.add(*(Logged(level="INFO", message="x" * 500) for _ in range(3000)))
    receiver = start()
    with run.destination(receiver.url) as destination:
        Outcome(destination, records[:1000])
        before = resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        full = Outcome(destination, records)
        assert (len(full.delivered), full.trouble.after if full.trouble else 0) == (0, 30.0)
        assert receiver.http.get("/runs").status_code == 200
        resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, before)
        assert len(Outcome(destination, records).delivered) == 3000
    assert told(receiver.directory / "7") == told(tmp_path / "sender")
    assert receiver.get("/runs/7/ledger")["damaged_lines"] == 0
    assert len(receiver.get("/runs/7/logs", tail=5000)["records"]) == 3000
