"""What readers are shown: lists, one run, curves, logs, differences."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.receiver.serving import Receiver
from tests.waiting import wait_until
from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    Logged,
    MetricsLogged,
    Process,
    RunCompleted,
    RunFailed,
    RunStarted,
    SegmentOpened,
    StepFinished,
    StepStarted,
    Validated,
)
from trainer_hooks.journal import Journal, encode_event, encode_line
from trainer_hooks.liveness import Liveness, save_liveness
from trainer_hooks.process import this_process


def write(root: Path, run: str, *events: AnyEvent, attempt: int = 1, job: str | None = None) -> Path:
    """A run that a training on this machine has left."""
    journal = Journal(root / run, run=run, attempt=attempt, writer="training", job=job, origin="aa")
    for event in events:
        journal.append(event)
    journal.close()
    return root / run


def names(shown: Any) -> list[str]:
    return [run["run"] for run in shown["runs"]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A receiver over a directory with some runs of this machine's."""
    root = tmp_path_factory.mktemp("library")
    yolo = RunStarted(framework="ultralytics", model="yolo11n.pt", total_epochs=3, params={"lr0": 0.01, "seed": 1})
    write(root, "done", yolo, EpochEnded(epoch=1, metrics={"loss": 1.0}), RunCompleted(epochs=3), job="7")
    write(root, "broken", yolo, RunFailed(error="ResourceError", message="CUDA " + "x" * 999, traceback="Trace"))
    mm = RunStarted(
        framework="mmengine", model="rtmdet_100%", params={"lr0": 0.02, "seed": 1, "optimizer": {"name": "SGD"}}
    )
    write(root, "going", mm, EpochEnded(epoch=1, total_epochs=4, duration=10.0, metrics={"loss": 2.0}))
    (root / "junk").mkdir()
    (root / "junk" / "journal").mkdir()
    (root / "junk" / "journal" / "000001.jsonl").write_bytes(b"no line\n\xff\n")
    with Receiver(root) as receiver:
        yield receiver


def test_a_list_is_filtered_searched_sorted_and_paged(library: Receiver) -> None:
    everything = library.get("/runs", order="run")
    assert {"broken", "done", "going"} <= set(names(everything))
    assert everything["total"] == sum(everything["counts"].values())
    assert names(library.get("/runs", status="completed")) == ["done"]
    assert set(names(library.get("/runs", status=["completed", "failed"]))) == {"done", "broken"}
    assert names(library.get("/runs", search="MMENGINE rtmdet")) == ["going"]
    assert names(library.get("/runs", search="100%")) == ["going"]
    assert names(library.get("/runs", search="_")) == ["going"]
    assert names(library.get("/runs", job="7")) == ["done"]
    assert names(library.get("/runs", order="run", limit=1, offset=1, search="yolo")) == ["done"]
    assert library.get("/runs", status="failed", search="yolo")["total"] == 1


def test_a_run_of_this_machine_is_shown_with_all_that_it_told(library: Receiver) -> None:
    shown = library.run("going")
    assert (shown["summary"]["status"], shown["summary"]["time_left"], shown["summary"]["share"]) == (
        "running",
        30.0,
        0.25,
    )
    assert shown["attempts"][0]["params"]["optimizer"] == {"name": "SGD"}
    failed = library.run("broken")
    assert failed["attempts"][0]["failure"]["traceback"] == "Trace"
    assert len(failed["summary"]["failure"]["message"]) == 300
    assert library.http.get("/runs/nobody").status_code == 404
    assert library.http.get("/runs/nobody/series", params={"metric": "a"}).status_code == 404


def test_a_workflow_is_shown_by_its_steps(library: Receiver) -> None:
    steps = [
        StepStarted(step="fetch", order=1, total=2, share=0.25),
        StepFinished(step="fetch", duration=2.0),
        StepStarted(step="train", order=2, total=2, share=0.75),
    ]
    write(library.directory, "workflow", RunStarted(total_epochs=4), *steps, EpochEnded(epoch=2))
    shown = library.run("workflow")
    fetch, train = shown["attempts"][0]["steps"]
    assert (fetch["step"], fetch["status"], fetch["duration"]) == ("fetch", "done", 2.0)
    assert (train["step"], train["status"], train["fraction"]) == ("train", "running", 0.5)
    assert shown["summary"]["share"] == 0.625


def test_parameters_are_compared(library: Receiver) -> None:
    assert library.get("/diff", run=["done", "going"]) == {
        "runs": ["done", "going"],
        "different": [
            {"name": "lr0", "values": {"done": 0.01, "going": 0.02}},
            {"name": "optimizer.name", "values": {"going": "SGD"}},
        ],
        "same": 1,
    }


def test_a_curve_of_many_points_keeps_every_extreme(library: Receiver) -> None:
    count = 20_000
    spikes = {777: 99.0, 15_432: -99.0}
    points = (
        MetricsLogged(metrics={"loss": "NaN" if x == 500 else spikes.get(x, 1.0)}, iteration=x)
        for x in range(1, count + 1)
    )
    write(library.directory, "long", RunStarted(total_iterations=count), *points)
    (curve,) = library.get("/runs/long/series", metric="loss", points=100)
    assert (curve["points"], curve["axis"]) == (count, "iteration")
    assert 50 < len(curve["x"]) <= 100
    assert (max(curve["high"]), min(curve["low"]), curve["not_finite"]) == (99.0, -99.0, [500])
    assert curve["x"] == sorted(curve["x"])
    (part,) = library.get("/runs/long/series", metric="loss", first=770, last=779)
    assert (part["x"], max(part["high"])) == (list(range(770, 780)), 99.0)
    (metric,) = library.get("/runs/long/metrics")
    assert metric == {"name": "loss", "axis": "iteration", "points": count, "first": 1, "last": count, "value": 1.0}


def test_each_attempt_and_each_axis_has_a_curve_of_its_own(library: Receiver) -> None:
    first = [EpochEnded(epoch=1, metrics={"loss": 3}), MetricsLogged(metrics={"loss": 9}, iteration=5)]
    write(library.directory, "twice", RunStarted(), *first, RunFailed(error="UnknownError", message="x"))
    again = [EpochEnded(epoch=1, metrics={"loss": 2}), Validated(epoch=1, metrics={"mAP": 0.5})]
    write(library.directory, "twice", RunStarted(), *again, attempt=2)
    curves = library.get("/runs/twice/series", metric=["loss", "mAP"])
    assert [(one["metric"], one["attempt"], one["low"]) for one in curves] == [
        ("loss", 1, [3]),
        ("loss", 2, [2]),
        ("mAP", 2, [0.5]),
    ]
    (iterations,) = library.get("/runs/twice/series", metric="loss", axis="iteration")
    assert iterations["x"] == [5]


def test_logs_are_read_from_the_end_backward_forward_and_by_level(library: Receiver) -> None:
    levels = {0: "ERROR", 1: "DEBUG"}
    lines = [Logged(level=levels.get(number % 10, "INFO"), message=f"Line {number}") for number in range(50)]
    write(library.directory, "logs", *lines)
    path = "/runs/logs/logs"
    page = library.get(path, tail=3)
    assert [one["message"] for one in page["records"]] == ["Line 47", "Line 48", "Line 49"]
    before = library.get(path, before=page["first"], tail=2)
    assert [one["message"] for one in before["records"]] == ["Line 45", "Line 46"]
    assert library.get(path, after=page["last"])["records"] == []
    errors = library.get(path, level="ERROR", tail=100)["records"]
    assert [one["message"] for one in errors] == [f"Line {number}" for number in range(0, 50, 10)]
    assert len(library.get(path, search="line 4")["records"]) == 11


def test_an_answer_of_log_records_has_an_end(library: Receiver) -> None:
    lines = [Logged(level="INFO", message=f"{number} {'x' * 60_000}") for number in range(100)]
    write(library.directory, "long_logs", *lines)
    path, found = "/runs/long_logs/logs", []
    page = library.get(path, after=0, tail=100)
    while page["records"]:
        assert len(page["records"]) < 100
        found += [one["message"].split()[0] for one in page["records"]]
        page = library.get(path, after=page["last"], tail=100)
    assert found == [str(number) for number in range(100)]
    assert library.get(path, tail=100)["records"][-1]["message"].startswith("99 ")


def test_who_waits_for_a_log_record_gets_it_when_it_comes(library: Receiver) -> None:
    directory = write(library.directory, "followed", Logged(level="INFO", message="first"))
    last = library.get("/runs/followed/logs")["last"]
    answers: list[Any] = []

    def wait() -> None:
        answers.append(library.get("/runs/followed/logs", after=last, wait=20))

    waiting = threading.Thread(target=wait)
    waiting.start()
    journal = Journal(directory, run="followed", attempt=1, writer="courier")
    journal.append(Logged(level="INFO", message="second"))
    waiting.join(15)
    journal.close()
    assert [one["message"] for one in answers[0]["records"]] == ["second"]


def test_the_ledger_counts_what_is_here_and_what_is_damaged(library: Receiver) -> None:
    directory = write(library.directory, "counted", RunStarted(), RunCompleted())
    with (directory / "journal" / "000001.jsonl").open("ab") as file:
        file.write(b'{"seq":3,"ti\n')
    ledger = library.get("/runs/counted/ledger")
    assert (ledger["accepted"], ledger["damaged_lines"], ledger["balanced"]) == (3, 1, True)


def test_a_run_whose_process_is_gone_is_lost(library: Receiver) -> None:
    gone = Process(**{**{name: getattr(this_process(), name) for name in Process.__struct_fields__}, "started": "1"})
    header = SegmentOpened(format=1, version="0", run="gone", attempt=1, writer="training", process=gone)
    folder = library.directory / "gone" / "journal"
    folder.mkdir(parents=True)
    lines = [header, RunStarted()]
    content = b"".join(encode_line(seq, time.time(), encode_event(event)) for seq, event in enumerate(lines))
    (folder / "000001.jsonl").write_bytes(content)
    assert library.run("gone")["summary"]["status"] == "lost"
    wait_until(lambda: "gone" in names(library.get("/runs", status="lost")), what="the run among the lost ones")


def test_a_run_that_has_missed_three_heartbeats_is_lost_until_it_is_heard_again(library: Receiver) -> None:
    event = {"type": "run_started"}
    body = {"id": "silent.bb-1.1", "run": "silent", "attempt": 1, "segment": 1, "seq": 1, "time": 1.0, "event": event}
    library.post("/training/jobs/silent/events", {"events": [body]})
    beat = {"time": 1.0, "run": "silent", "attempt": 1, "state": "stalled", "idle": 900.0}
    assert library.post("/training/jobs/silent/heartbeat", beat).json() == {"job_status": None}
    shown = library.run("silent")
    assert (shown["summary"]["status"], shown["heartbeat"]["state"]) == ("running", "stalled")
    file = library.directory / "silent" / "alive.json"
    old = time.time() - 91
    os.utime(file, (old, old))
    assert library.run("silent")["summary"]["status"] == "lost"
    save_liveness(file.parent, Liveness(time=2.0, run="silent", attempt=1, state="progressing", idle=0.0))
    assert library.run("silent")["summary"]["status"] == "running"


def test_a_run_that_was_removed_is_gone_and_one_in_its_place_is_read_anew(library: Receiver) -> None:
    directory = write(library.directory, "again", RunStarted(model="old"), EpochEnded(epoch=1, metrics={"a": 1}))
    assert library.run("again")["summary"]["model"] == "old"
    shutil.rmtree(directory)
    assert library.http.get("/runs/again").status_code == 404
    write(library.directory, "again", RunStarted(model="new"))
    assert library.run("again")["summary"]["model"] == "new"
    assert library.get("/runs/again/metrics") == []
    shutil.rmtree(directory)  # and nobody has looked meanwhile
    write(library.directory, "again", Logged(level="INFO", message="x"))
    assert (library.run("again")["summary"]["model"], library.run("again")["summary"]["status"]) == (None, "opened")


def test_the_index_is_made_anew_from_the_journals(start: Any, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write(root, "a", RunStarted(), EpochEnded(epoch=1, metrics={"loss": 1}), Logged(level="INFO", message="x"))

    def all_of(receiver: Receiver) -> list[Any]:
        paths = ("/runs/a", "/runs/a/metrics", "/runs/a/logs")
        return [*(receiver.get(path) for path in paths), receiver.get("/runs/a/series", metric="loss")]

    receiver = start(root)
    found = all_of(receiver)
    receiver.kill()
    (root / ".#receiver" / "index.sqlite").write_bytes(b"rubbish" * 1000)
    again = start(root)
    assert all_of(again) == found
    again.kill()
    third = start(root)  # and goes on where it was
    write(root, "a", Logged(level="INFO", message="y"))
    assert [one["message"] for one in third.get("/runs/a/logs")["records"]] == ["x", "y"]
    assert third.run("a")["summary"]["done"] == 1


def test_what_no_reader_could_follow_breaks_no_list(library: Receiver) -> None:
    huge = MetricsLogged(metrics={"a": 2**80}, iteration=2**70)
    saved = CheckpointSaved(names=["last"], path="/nowhere/last.pt", size=1)
    write(library.directory, "odd", huge, EpochEnded(epoch=1, metrics={"b": 2**80}), saved)
    assert library.get("/runs/odd/series", metric="b")[0]["high"] == [float(2**80)]
    assert library.run("odd")["attempts"][0]["checkpoints"][0]["path"] == "/nowhere/last.pt"
    assert "odd" in names(wait_until(lambda: library.get("/runs", search="odd"), what="the list"))
