"""The ClearML destination against a server on loopback: what of a run becomes what, and what trouble does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.destinations.platform_parts import Run
from tests.servers.clearml import ClearMLServer
from tests.waiting import wait_until
from trainer_hooks.delivery import load_state
from trainer_hooks.destinations.clearml import HANDLES, ClearMLDestination, open_destination
from trainer_hooks.destinations.clearml.points import SUMMARY, place
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import (
    AnyEvent,
    CheckpointStored,
    EpochEnded,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    RankFailed,
    Record,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    TrackerLinked,
    Validated,
)
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.settings import Settings

EPOCHS = RunStarted(total_epochs=3, framework="mine")
JOINED = TrackerLinked(tracker="clearml", id="the task of the script", name="own", joined=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ClearMLServer]:
    with ClearMLServer().serving() as running:
        for name, value in {**running.environment, "CLEARML_CONFIG_FILE": str(tmp_path / "none.conf")}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def opened(run: Run, **settings: Any) -> ClearMLDestination:
    destination = open_destination(run.context(Settings.load(environ={}, **{"clearml": True, **settings})))
    assert destination is not None
    return destination


def deliver(run: Run, records: list[Record] | None = None, **settings: Any) -> dict[str, str | None]:
    """Deliver the records, by default all; returns why each was refused, None for those that were not."""
    destination = opened(run, **settings)
    wanted = list(read_records(run.directory)) if records is None else records
    wanted = [record for record in wanted if isinstance(record.event, HANDLES)]
    receipts = [receipt for some in destination.deliver(wanted) for receipt in some]
    destination.close()
    assert [receipt.record.id for receipt in receipts] == [record.id for record in wanted]
    return {receipt.record.id: receipt.refused for receipt in receipts}


def told(run: Run, server: ClearMLServer, *events: AnyEvent) -> list[tuple[str, str, int, float]]:
    """Deliver a run of these events; returns the scalars that arrived."""
    run.add(*events)
    assert set(deliver(run).values()) == {None}
    return server.scalars()


# Scalars


@pytest.mark.parametrize(
    ("name", "title", "series"),
    [
        ("train/box_loss", "box_loss", "train"),
        ("val/box_loss", "box_loss", "val"),
        ("metrics/mAP50-95(B)", "mAP50-95(B)", "metrics"),
        ("a/b/c", "b/c", "a"),
        ("lr/pg0", "lr", "pg0"),
        ("loss", "loss", "given"),
        ("/loss", "/loss", "given"),
        ("loss/", "loss/", "given"),
    ],
)
def test_title_and_series(name: str, title: str, series: str) -> None:
    assert place(name, "given") == (title, series)


def test_an_epochs_metrics(server: ClearMLServer, run: Run) -> None:
    metrics = {"train/loss": 0.5, "lr/pg0": 0.01, "accuracy": 1}

    scalars = told(run, server, EPOCHS, EpochEnded(epoch=2, metrics=metrics))

    assert scalars == [("loss", "train", 2, 0.5), ("lr", "pg0", 2, 0.01), ("accuracy", "train", 2, 1)]


def test_timestamps_are_those_of_the_events(server: ClearMLServer, run: Run) -> None:
    (_, record) = run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}))
    deliver(run)

    (event,) = server.events
    assert event["timestamp"] == round(record.time * 1000)


def test_iterations_beside_epochs_have_plots_of_their_own(server: ClearMLServer, run: Run) -> None:
    scalars = told(
        run,
        server,
        EPOCHS,
        MetricsLogged(metrics={"train/loss": 3.0}, iteration=700),
        EpochEnded(epoch=1, metrics={"train/loss": 2.0}),
    )

    assert scalars == [("loss (iterations)", "train", 700, 3.0), ("loss", "train", 1, 2.0)]


def test_a_training_counted_in_iterations(server: ClearMLServer, run: Run) -> None:
    scalars = told(
        run,
        server,
        RunStarted(total_iterations=1000),
        MetricsLogged(metrics={"train/loss": 3.0}, iteration=700),
        Validated(metrics={"mIoU": 0.3}, iteration=700),
    )

    assert scalars == [("loss", "train", 700, 3.0), ("mIoU", "val", 700, 0.3)]


def test_metrics_of_no_point_in_time(server: ClearMLServer, run: Run) -> None:
    assert told(run, server, EPOCHS, MetricsLogged(metrics={"parameters": 7})) == [
        ("Summary", "parameters", SUMMARY, 7)
    ]


def test_a_validation_that_the_epochs_end_has_told_is_one_point(server: ClearMLServer, run: Run) -> None:
    scalars = told(
        run,
        server,
        EPOCHS,
        EpochEnded(epoch=1, metrics={"train/loss": 2.0, "val/loss": 4.0, "metrics/mAP": 0.1}),
        Validated(metrics={"val/loss": 4.0, "metrics/mAP": 0.2, "metrics/recall": 0.3}, epoch=1),
    )

    assert [scalar for scalar in scalars if scalar[0] == "loss"] == [("loss", "train", 1, 2.0), ("loss", "val", 1, 4.0)]
    assert scalars[3:] == [("mAP", "metrics", 1, 0.2), ("recall", "metrics", 1, 0.3)]


def test_an_equal_value_on_another_series_is_another_point(server: ClearMLServer, run: Run) -> None:
    scalars = told(
        run,
        server,
        EPOCHS,
        EpochEnded(epoch=1, metrics={"accuracy": 1.0}),
        Validated(metrics={"accuracy": 1.0}, epoch=1),
    )

    assert scalars == [("accuracy", "train", 1, 1.0), ("accuracy", "val", 1, 1.0)]


def test_the_finished_models_validation_is_a_summary(server: ClearMLServer, run: Run) -> None:
    scalars = told(run, server, EPOCHS, Validated(metrics={"metrics/mAP": 0.5}, epoch=2, final=True))

    assert scalars == [("Summary", "metrics/mAP", SUMMARY, 0.5)]


def test_what_is_no_finite_number_is_said_and_never_0(server: ClearMLServer, run: Run) -> None:
    metrics: Any = {"train/loss": "NaN", "a": "Infinity", "b": "-Infinity", "c": 1.0}

    assert told(run, server, EPOCHS, EpochEnded(epoch=1, metrics=metrics)) == [("c", "train", 1, 1.0)]
    assert server.console() == ["epoch 1: train/loss is NaN", "epoch 1: a is Infinity", "epoch 1: b is -Infinity"]


def test_metrics_per_class_are_a_table(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, Validated(metrics={}, epoch=1, per_class={"cat": {"ap": 0.5}, "dog": {"recall": 0.1}}))

    (event,) = server.events
    figure = json.loads(event["plot_str"])["data"][0]
    assert figure["type"] == "table"
    assert figure["header"]["values"] == ["", "ap", "recall"]
    assert figure["cells"]["values"] == [["cat", "dog"], [0.5, ""], ["", 0.1]]


# Words


def test_the_console(server: ClearMLServer, run: Run) -> None:
    told(
        run,
        server,
        EPOCHS,
        Logged(level="WARNING", message="look out", source="ultralytics"),
        MetricsSkipped(reasons={"loss": "str is not a number"}),
        RecordsDropped(count=3, reason="the disk was full"),
        SignalReceived(signal="SIGTERM"),
        RankFailed(rank=1, error="ResourceError", message="out of memory", traceback="Traceback …"),
        InferenceCompleted(total_images=2, total_time_ms=10.0, results=[]),
    )

    assert server.console() == [
        "ultralytics: look out",
        "metrics skipped: loss: str is not a number",
        "3 events were lost before they reached the disk: the disk was full",
        "received SIGTERM",
        "rank 1 failed: [ResourceError] out of memory\nTraceback …",
        "inference: 2 images in 10 ms",
    ]
    assert server.events[0]["level"] == "warning"


def test_steps_are_lines_and_a_line_of_the_whole(server: ClearMLServer, run: Run) -> None:
    scalars = told(
        run,
        server,
        EPOCHS,
        StepStarted(step="load", order=1, total=2, share=0.25),
        StepFinished(step="load", skipped="done in attempt 1"),
        StepStarted(step="train", order=2, total=2, share=0.75),
        StepFailed(step="train", error="ResourceError", message="no room", retrying=True),
        StepStarted(step="train", order=2, total=2, share=0.75, retry=1),
        StepFinished(step="train", duration=2.0),
        StepRolledBack(step="train"),
    )

    assert scalars == [("workflow", "percent", 1, 25.0), ("workflow", "percent", 2, 100.0)]
    assert server.console() == [
        "step 'load' begins (1 of 2)",
        "step 'load' is skipped: done in attempt 1",
        "step 'train' begins (2 of 2)",
        "step 'train' failed, and is tried again: [ResourceError] no room",
        "step 'train' begins (2 of 2, retry 1)",
        "step 'train' is done, in 2.0 s",
        "step 'train' is rolled back",
    ]


# The task


def test_the_task_that_is_made(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS)

    assert server.task["name"] == "Training Job 7"
    assert server.task["type"] == "training"
    assert server.task["tags"] == ["trainer_hooks", "mine"]
    assert server.projects[server.task["project"]]["name"] == "trainer_hooks"
    assert server.task["status"] == "in_progress"
    linked = run.context(Settings()).linked()["clearml"]
    assert (linked.id, linked.name, linked.joined) == (server.task["id"], "Training Job 7", False)
    assert linked.url == f"{server.url}/projects/{server.task['project']}/experiments/{linked.id}/output/log"


def test_names_from_the_settings(server: ClearMLServer, run: Run) -> None:
    run.add(EPOCHS)
    deliver(run, clearml_project="Project 12", clearml_task="the best one")

    assert server.task["name"] == "the best one"
    assert server.projects[server.task["project"]]["name"] == "Project 12"


@pytest.mark.parametrize(("job", "name"), [("run", "Training Job run"), (None, "run")])
def test_the_name_where_the_job_names_the_run_or_there_is_none(
    server: ClearMLServer, tmp_path: Path, job: Any, name: str
) -> None:
    run = Run(tmp_path / "run", job=job)
    run.add(EPOCHS)
    deliver(run)

    assert server.task["name"] == name


def test_a_project_that_exists_is_used(server: ClearMLServer, run: Run) -> None:
    server.projects = {"1": {"id": "1", "name": "trainer_hooks/sub"}, "2": {"id": "2", "name": "trainer_hooks"}}

    told(run, server, EPOCHS)

    assert server.task["project"] == "2"


def test_parameters_are_texts(server: ClearMLServer, run: Run) -> None:
    params = {"lr0": 0.01, "amp": True, "names": ["a", 1], "nested": {"a.b": None, "empty": {}}, "text": "0.10"}

    told(run, server, RunStarted(params=params, dataset={"train": "images"}, versions={"torch": "2"}, model="yolo"))

    assert server.parameters("Training") == {
        "lr0": "0.01",
        "amp": "true",
        "names": '["a",1]',
        "nested/a_b": "null",
        "nested/empty": "{}",
        "text": "0.10",
    }
    assert server.parameters("Dataset") == {"train": "images"}
    assert server.parameters("Versions") == {"torch": "2"}
    assert server.parameters("Run") == {"run": "run", "attempt": "1", "job": "7", "model": "yolo"}
    assert json.loads(server.task["configuration"]["Training"]["value"]) == params


def test_checkpoints_are_models_where_they_lie(server: ClearMLServer, run: Run) -> None:
    def stored(name: str, epoch: int) -> CheckpointStored:
        uri = f"s3://bucket/{name}-{epoch}.pt"
        return CheckpointStored(name=name, uri=uri, manifest_uri="", size=5, sha256="abc", epoch=epoch)

    run.add(RunStarted(class_names=["cat", "dog"]), stored("best", 1), stored("last", 1))
    deliver(run)
    assert server.output_models() == {"best": "s3://bucket/best-1.pt", "last": "s3://bucket/last-1.pt"}

    deliver(run, run.add(stored("last", 2)))  # by another courier
    assert server.output_models() == {"best": "s3://bucket/best-1.pt", "last": "s3://bucket/last-2.pt"}
    assert len(server.models) == 2
    (last,) = (model for model in server.models.values() if model["uri"].endswith("last-2.pt"))
    assert last["comment"] == "epoch 2, 5 bytes, SHA-256 abc"
    assert last["labels"] == {"cat": 0, "dog": 1}
    assert last["name"] == "Training Job 7 - last"


def test_a_model_whose_registration_failed_is_made_once(server: ClearMLServer, run: Run) -> None:
    stored = CheckpointStored(name="best", uri="s3://bucket/best.pt", manifest_uri="", size=5, sha256="abc", epoch=1)
    records = run.add(EPOCHS, stored)

    def fail_after_models(called: str) -> None:
        server.status = 500 if called == "models.create" else server.status

    server.on_call = fail_after_models
    destination = opened(run)
    for _ in range(2):
        with pytest.raises(RetryLater):
            list(destination.deliver(records))
        records = records[-1:]
    server.on_call, server.status = lambda _: None, 200

    assert len(list(destination.deliver(records))) == 1
    assert len(server.models) == 1
    assert server.output_models() == {"best": "s3://bucket/best.pt"}


def test_an_export_is_a_model(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, ExportCompleted(export_format="onnx", uri="s3://bucket/model.onnx", size=9))

    assert server.output_models() == {"export onnx": "s3://bucket/model.onnx"}


@pytest.mark.parametrize(
    ("ending", "status", "reason", "message"),
    [
        (RunCompleted(epochs=3), "completed", "", "completed"),
        (RunFailed(error="DatasetError", message="no data", traceback="T"), "failed", "DatasetError", "no data"),
        (RunInterrupted(reason="SIGTERM"), "stopped", "interrupted", "SIGTERM"),
        (RunLost(reason="killed"), "failed", "lost", "killed"),
    ],
)
def test_the_end(server: ClearMLServer, run: Run, ending: AnyEvent, status: str, reason: str, message: str) -> None:
    told(run, server, EPOCHS, ending)

    task = server.task
    assert (task["status"], task["status_reason"], task["status_message"]) == (status, reason, message)


def test_a_failures_traceback_is_on_the_console(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, RunFailed(error="DatasetError", message="no data", traceback="Traceback …", rank=2))

    assert server.console() == ["failed: [DatasetError] rank 2: no data\nTraceback …"]


def test_the_first_end_counts(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, RunFailed(error="DatasetError", message="no data"), RunLost(reason="gone"))

    assert server.task["status_message"] == "no data"
    assert server.console()[-1] == "after the end: lost: gone"


def test_the_next_attempt_goes_on_in_the_same_task(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, RunFailed(error="DatasetError", message="no data"))
    run.close()
    again = Run(run.directory, attempt=2)

    deliver(again, again.add(EPOCHS, EpochEnded(epoch=2, metrics={"a": 1.0})))

    assert server.task["status"] == "in_progress"
    assert server.scalars() == [("a", "train", 2, 1.0)]


def test_a_task_whose_maker_died_before_it_could_say_so_is_found(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS)
    other = Run(run.directory.parent / "other")  # as if the link had not been written
    other.add(EPOCHS)

    deliver(other)

    assert len(server.tasks) == 1


def test_an_end_without_a_start_has_a_task_too(server: ClearMLServer, run: Run) -> None:
    told(run, server, RunFailed(error="ConfigError", message="no such model"))

    assert server.task["status_message"] == "no such model"


# The script's own task


def joined(server: ClearMLServer, run: Run) -> None:
    server.tasks[JOINED.id] = {
        "id": JOINED.id,
        "name": "own",
        "status": "in_progress",
        "hyperparams": {"Args": {"lr0": {"value": "the user's"}}},
        "configuration": {},
        "models": {"input": [], "output": []},
    }
    run.add(JOINED)


def test_a_joined_task_is_filled_and_not_ended(server: ClearMLServer, run: Run) -> None:
    """While the script lives, its SDK would kill it."""
    joined(server, run)

    told(
        run,
        server,
        EPOCHS,
        EpochEnded(epoch=1, metrics={"a": 1.0}),
        RunCompleted(),
        RunFailed(error="UnknownError", message=""),
    )

    assert server.task["id"] == JOINED.id
    assert server.task["status"] == "in_progress"
    assert "tasks.started" not in server.calls
    assert server.parameters("Args") == {"lr0": "the user's"}
    assert server.scalars(JOINED.id) == [("a", "train", 1, 1.0)]


def test_a_joined_task_that_is_over_gets_its_parameters_all_the_same(server: ClearMLServer, run: Run) -> None:
    joined(server, run)
    server.tasks[JOINED.id]["status"] = "completed"

    told(run, server, RunStarted(params={"lr": 0.1}))

    assert server.parameters("Args") == {"lr0": "the user's"}
    assert server.parameters("Training") == {"lr": "0.1"}
    assert json.loads(server.task["configuration"]["Training"]["value"]) == {"lr": 0.1}
    assert server.task["status"] == "completed"


@pytest.mark.parametrize("second", ["another task", JOINED.id])
def test_an_attempt_that_was_lost_does_not_end_the_task_of_the_next(
    server: ClearMLServer, run: Run, second: str
) -> None:
    joined(server, run)
    run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}))
    run.close()
    for writer in ("recovery", "courier"):
        other = Journal(run.directory, run="run", attempt=1, writer=writer, job="7")
        other.append(RunLost(reason="gone"))
        other.close()
    server.tasks[second] = {**server.tasks[JOINED.id], "id": second}
    again = Run(run.directory, attempt=2)
    again.add(TrackerLinked(tracker="clearml", id=second, joined=True), EPOCHS, EpochEnded(epoch=2, metrics={"a": 2.0}))

    deliver(again)

    assert server.tasks[second]["status"] == "in_progress"
    assert ("a", "train", 1, 1.0) in server.scalars(JOINED.id)
    assert ("a", "train", 2, 2.0) in server.scalars(second)


def test_an_attempt_that_had_no_task_goes_to_the_next_ones_and_does_not_end_it(server: ClearMLServer, run: Run) -> None:
    run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}), RunFailed(error="UnknownError", message=""))
    run.close()
    again = Run(run.directory, attempt=2)
    joined(server, again)
    again.add(EPOCHS)

    deliver(again, clearml=None)

    assert server.task["status"] == "in_progress"
    assert "tasks.started" not in server.calls
    assert server.scalars(JOINED.id) == [("a", "train", 1, 1.0)]


def test_a_joined_task_whose_process_was_killed_is_ended(server: ClearMLServer, run: Run) -> None:
    joined(server, run)
    run.add(EPOCHS)
    courier = Journal(run.directory, run="run", attempt=1, writer="courier", job="7")
    courier.append(RunLost(reason="killed"))
    courier.close()

    deliver(run)

    assert (server.task["status"], server.task["status_message"]) == ("failed", "killed")


def test_a_later_attempt_without_a_task_of_its_own_is_started_and_ended_by_us(server: ClearMLServer, run: Run) -> None:
    joined(server, run)
    told(run, server, EPOCHS, RunFailed(error="UnknownError", message=""))
    server.task["status"] = "failed"  # by the SDK
    run.close()
    again = Run(run.directory, attempt=2)

    deliver(again, again.add(EPOCHS))
    assert server.task["status"] == "in_progress"
    deliver(again, again.add(Logged(level="INFO", message="here"), RunCompleted()))
    assert server.task["status"] == "completed"
    assert server.console()[-1] == "trainer: here"


def test_what_the_scripts_own_sdk_captures_is_not_sent_again(server: ClearMLServer, run: Run) -> None:
    joined(server, run)
    run.add(TrackerLinked(tracker="clearml", id=JOINED.id, joined=True, captures_console=True))

    run.add(EPOCHS, Logged(level="INFO", message="printed", forwarded=True))
    rank = Journal(run.directory, run="run", attempt=1, writer="rank 0", job="7")
    rank.append(Logged(level="INFO", message="printed elsewhere", source="rank", forwarded=True))
    rank.close()

    told(run, server, Logged(level="INFO", message="told"), SignalReceived(signal="SIGINT"))

    assert sorted(server.console()) == ["rank: printed elsewhere", "received SIGINT", "trainer: told"]


def test_it_is_opened_by_a_link_or_by_the_setting(server: ClearMLServer, run: Run) -> None:
    def is_open(clearml: bool | None) -> bool:
        return open_destination(run.context(Settings.load(environ={}, clearml=clearml))) is not None

    assert [is_open(None), is_open(clearml=True), is_open(clearml=False)] == [False, True, False]
    run.add(JOINED)
    assert [is_open(None), is_open(clearml=True), is_open(clearml=False)] == [True, True, False]
    assert server.calls == []


# Images


def test_an_image_is_a_debug_sample(server: ClearMLServer, run: Run) -> None:
    (run.directory / "images").mkdir()
    copy = run.directory / "images" / "1-a%2Fcurve 1.png"
    copy.write_bytes(b"an image")

    told(
        run,
        server,
        EPOCHS,
        ImageSaved(title="curve", path="/runs/curve.png", epoch=2, staged="images/1-a%2Fcurve 1.png"),
    )

    (key,) = server.files
    assert server.files[key] == b"an image"
    (event,) = (event for event in server.events if event["type"] == "training_debug_image")
    assert (event["metric"], event["iter"]) == ("curve", 2)
    assert httpx.get(event["url"]).content == b"an image"
    assert not copy.exists()


def test_an_image_where_the_server_for_files_is_a_store(
    server: ClearMLServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLEARML_FILES_HOST", f"file://{tmp_path}/files")
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path / "cache"))
    (run.directory / "images").mkdir()
    (run.directory / "images" / "1.png").write_bytes(b"an image")

    told(run, server, EPOCHS, ImageSaved(title="curve", path="/runs/curve.png", staged="images/1.png"))

    (event,) = (event for event in server.events if event["type"] == "training_debug_image")
    assert Path(event["url"].removeprefix("file://")).read_bytes() == b"an image"


def test_an_image_that_was_not_copied_is_not_shown(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, ImageSaved(title="curve", path="/runs/curve.png"))

    assert not server.files
    assert not server.events


@pytest.mark.usefixtures("server")
def test_an_image_whose_copy_is_gone(run: Run) -> None:
    run.add(EPOCHS, ImageSaved(title="curve", path="/runs/curve.png", staged="images/1-curve.png"))

    assert list(deliver(run).values()) == [None, "its private copy 'images/1-curve.png' is gone"]


@pytest.mark.usefixtures("server")
def test_a_server_for_files_that_is_down_is_for_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_FILES_HOST", "http://127.0.0.1:9")
    (run.directory / "images").mkdir()
    (run.directory / "images" / "1.png").write_bytes(b"an image")
    run.add(EPOCHS, ImageSaved(title="curve", path="/runs/curve.png", staged="images/1.png"))

    with pytest.raises(RetryLater, match=r"server for files does not take 1\.png: .*refused"):
        deliver(run)

    assert (run.directory / "images" / "1.png").exists()


def test_a_server_for_files_that_stays_down_holds_nothing_up_for_ever(
    server: ClearMLServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARML_FILES_HOST", "http://127.0.0.1:9")
    (run.directory / "images").mkdir()
    (run.directory / "images" / "1.png").write_bytes(b"an image")
    records = run.add(EPOCHS, ImageSaved(title="curve", path="/runs/curve.png", staged="images/1.png"), RunCompleted())
    destination = opened(run)
    rest = iter(destination.deliver(records))
    next(rest)
    for _ in range(4):
        with pytest.raises(RetryLater):
            next(rest)
        rest = iter(destination.deliver(records[1:]))

    refused = [receipt.refused for some in rest for receipt in some]

    assert ["does not take" in str(reason) for reason in refused] == [True, False]
    assert server.task["status"] == "completed"
    assert (run.directory / "images" / "1.png").exists()  # for `sync --retry-rejected`
    (again,) = run.add(ImageSaved(title="curve", path="/runs/curve.png", staged="images/1.png"))
    assert [receipt.refused is None for some in destination.deliver([again]) for receipt in some] == [False]


def test_long_texts_are_not_sent_all_at_once(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, *(Logged(level="INFO", message="x" * 60_000) for _ in range(100)))

    assert len(server.console()) == 100
    assert server.calls.count("events.add_batch") == 4


# Trouble


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503])
def test_what_can_pass_is_for_later(server: ClearMLServer, run: Run, status: int) -> None:
    run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}))
    server.status = status

    with pytest.raises(RetryLater):
        deliver(run)
    server.status = 200

    assert set(deliver(run).values()) == {None}
    assert server.scalars() == [("a", "train", 1, 1.0)]


@pytest.mark.parametrize("trouble", ["503", "a cut answer"])
def test_a_request_is_made_once(server: ClearMLServer, run: Run, trouble: str) -> None:
    """By itself, the SDK would repeat it for ever."""
    records = run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}))
    destination = opened(run)
    rest = destination.deliver(records)
    next(rest)
    server.status, server.cuts_answers = (503, False) if trouble == "503" else (200, True)
    before = server.requests

    with pytest.raises(RetryLater, match="503" if trouble == "503" else "can't be reached"):
        next(rest)

    assert server.requests == before + 1


def test_trouble_in_the_middle(server: ClearMLServer, run: Run) -> None:
    """What has not been delivered is told from the state that it had."""
    records = run.add(EPOCHS, EpochEnded(epoch=1, metrics={"val/a": 1.0}), Validated(metrics={"val/a": 1.0}, epoch=1))
    destination = opened(run)

    def fail_at_events(called: str) -> None:
        server.status = 500 if called == "tasks.edit_hyper_params" else server.status

    server.on_call = fail_at_events
    receipts = destination.deliver(records)
    next(receipts)
    with pytest.raises(RetryLater, match="500"):
        next(receipts)
    server.on_call, server.status = lambda _: None, 200

    assert [len(some) for some in destination.deliver(records[1:])] == [2]
    assert server.scalars() == [("a", "val", 1, 1.0)]


@pytest.mark.usefixtures("server")
def test_nobody_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_HOST", "http://127.0.0.1:9")
    run.add(EPOCHS)

    with pytest.raises(RetryLater, match=r"ClearML can't be reached at http://127.0.0.1:9: .*refused"):
        deliver(run)


@pytest.mark.usefixtures("server")
def test_no_credentials(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEARML_API_ACCESS_KEY")
    monkeypatch.delenv("CLEARML_API_SECRET_KEY")
    run.add(EPOCHS)

    with pytest.raises(RetryLater, match="set CLEARML_API_HOST, CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY"):
        deliver(run)


@pytest.mark.usefixtures("server")
def test_a_configuration_that_can_not_be_read(run: Run) -> None:
    """In a process of its own: the SDK reads it once."""
    run.add(EPOCHS)
    code = (
        "import sys; from pathlib import Path; from trainer_hooks.courier.loop import Courier;"
        "from trainer_hooks.settings import Settings;"
        "Courier(Path(sys.argv[1]), Settings.load(clearml=True), patience=1, briefly=True).run()"
    )
    config = run.directory / "clearml.conf"
    config.write_text("api { credentials { access_key")
    environment = {**os.environ, "CLEARML_CONFIG_FILE": str(config)}
    command = [sys.executable, "-c", code, str(run.directory)]
    with subprocess.Popen(command, env=environment) as courier:
        trouble = wait_until(lambda: load_state(run.directory, "clearml").trouble, what="trouble")
        courier.terminate()

    assert trouble.startswith("ClearML ")
    assert load_state(run.directory, "clearml").rejected == 0


@pytest.mark.usefixtures("server")
def test_a_task_that_is_gone(run: Run) -> None:
    """Refused for good, each by itself, so that each can be offered again."""
    run.add(JOINED)
    records = run.add(EPOCHS, EpochEnded(epoch=1, metrics={"a": 1.0}), EpochEnded(epoch=2, metrics={"a": 1.0}))

    refused = deliver(run, records)

    assert len(refused) == 3
    assert all("Invalid task id" in str(reason) for reason in refused.values())


def test_a_point_that_is_refused_takes_no_other_with_it(server: ClearMLServer, run: Run) -> None:
    run.add(EPOCHS)
    records = run.add(*(EpochEnded(epoch=epoch, metrics={"a": float(epoch)}) for epoch in (1, 2, 3)))
    server.refuses = lambda event: event["iter"] == 2

    refused = deliver(run, records)

    assert [reason is None for reason in refused.values()] == [True, False, True]
    assert [scalar[2] for scalar in server.scalars()] == [1, 3]


def test_many_points_are_sent_together(server: ClearMLServer, run: Run) -> None:
    told(run, server, EPOCHS, *(EpochEnded(epoch=epoch, metrics={"a": 1.0}) for epoch in range(1, 2501)))

    assert [scalar[2] for scalar in server.scalars()] == list(range(1, 2501))
    assert server.calls.count("events.add_batch") == 3
