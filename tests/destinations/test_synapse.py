"""The Synapse destination against a server that enforces predecessor A's rules: what of a run becomes what."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.platform_parts import Run
from tests.destinations.synapse_parts import settings, told
from tests.servers.synapse_jobs import SynapseServer
from trainer_hooks.destinations import Destination
from trainer_hooks.destinations.synapse import HANDLES, open_destination
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.events import (
    AnyEvent,
    CheckpointStored,
    EpochEnded,
    ImageSaved,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    RankFailed,
    Record,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    TrackerLinked,
    Validated,
)
from trainer_hooks.settings import Settings

EPOCHS = RunStarted(total_epochs=4, framework="mine", model="small")


@pytest.fixture
def server() -> Iterator[SynapseServer]:
    with SynapseServer() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    yield run
    run.close()


# Whether there is one


@pytest.mark.parametrize("given", [{}, {"synapse_host": "http://127.0.0.1:9"}, {"synapse_job": "j-1"}])
def test_without_an_address_or_a_job_there_is_none(run: Run, given: dict[str, str]) -> None:
    assert open_destination(run.context(Settings.load(environ={}, **given))) is None


@pytest.mark.parametrize("host", ["synapse.example", "ftp://synapse.example", "http:///"])
def test_an_address_that_is_none_is_a_mistake_in_the_settings(host: str) -> None:
    with pytest.raises(InvalidSetting, match=r"synapse_host .*https://host"):
        Settings.load(environ={"SYNAPSE_HOST": host})


def test_httpx_is_not_loaded_where_none_is_configured() -> None:
    code = "import sys, trainer_hooks.destinations.synapse; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Status and result


def test_a_training_runs_and_succeeds_with_its_result(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, EpochEnded(epoch=4), RunCompleted(epochs=4, result={"model_id": 3}, duration=2.0))

    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert server.job["result"] == {"model_id": 3}
    assert server.messages() == ["training begins: mine, small, 4 epochs", "completed in 2.0 s"]


def test_work_that_returns_nothing_has_a_summary_as_its_result(server: SynapseServer, run: Run) -> None:
    stored = CheckpointStored(name="best", uri="s3://b/best.pt", manifest_uri="", size=1, sha256="ab")

    told(run, server, EPOCHS, stored, RunCompleted(epochs=4, metrics={"map": 0.5, "loss": "NaN"}))

    assert server.job["result"] == {
        "epochs": 4,
        "metrics": {"map": 0.5, "loss": None},
        "checkpoints": {"best": "s3://b/best.pt"},
    }


@pytest.mark.parametrize(
    ("event", "status", "result", "level"),
    [
        (
            RunFailed(error="ResourceError", message="out of memory", traceback="Traceback …"),
            "FAILED",
            {"error": "[ResourceError] out of memory", "error_type": "ResourceError"},
            "error",
        ),
        (RunInterrupted(reason="SIGTERM"), "STOPPED", {"error": "interrupted: SIGTERM"}, "warning"),
        (RunLost(reason="killed"), "FAILED", {"error": "lost: killed"}, "error"),
    ],
)
def test_every_other_end(
    server: SynapseServer, run: Run, event: AnyEvent, status: str, result: dict[str, str], level: str
) -> None:
    told(run, server, EPOCHS, event)

    assert server.statuses == ["RUNNING", status]
    assert server.job["result"] == result
    last = server.entries("message")[-1]
    assert last["level"] == level
    assert ("Traceback …" in last["data"]["content"]) == isinstance(event, RunFailed)


def test_a_result_that_is_too_large_is_left_out_and_the_job_is_done_all_the_same(
    server: SynapseServer, run: Run
) -> None:
    server.largest = 10_000
    outcome = told(
        run, server, EPOCHS, EpochEnded(epoch=4, metrics={"loss": 1.0}), RunCompleted(result={"rows": ["x" * 99] * 200})
    )

    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert "result" not in server.job
    assert progress(server)["overall"] == 100.0
    assert "time_elapsed" in progress(server)
    (reason,) = outcome.refused.values()
    assert reason.startswith("left out of the job: result: ")
    assert "answered 413" in reason
    assert server.messages()[-1] == reason


def test_an_end_that_is_only_in_all_too_large_is_told_in_parts(server: SynapseServer, run: Run) -> None:
    server.largest = 10_000
    many = {f"train/{number}": float(number) for number in range(450)}
    outcome = told(run, server, EPOCHS, MetricsLogged(metrics=many), RunCompleted(result={"rows": ["x" * 99] * 80}))

    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert len(server.job["result"]["rows"]) == 80
    assert outcome.refused == {}


def test_an_end_after_the_end_is_a_word_about_it(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, RunCompleted(result={"a": 1}), RunLost(reason="killed"), EpochEnded(epoch=1))

    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert "after the end: lost: killed" in server.messages()


def test_a_start_that_says_more_is_no_second_start(server: SynapseServer, run: Run) -> None:
    told(run, server, RunStarted(), EPOCHS)

    assert server.statuses == ["RUNNING"]
    assert len(server.messages()) == 1


def test_a_later_attempt_does_not_set_an_ended_job_running(server: SynapseServer, tmp_path: Path) -> None:
    first = Run(tmp_path / "run")
    told(first, server, EPOCHS, RunFailed(error="UnknownError", message="no"))
    first.close()
    second = Run(tmp_path / "run", attempt=2)

    outcome = told(second, server, EPOCHS, EpochEnded(epoch=1, metrics={"loss": 1.0}), RunCompleted())
    second.close()

    assert server.statuses == ["RUNNING", "FAILED"]
    assert server.points() == [("train", "epoch", 1, {"loss": 1.0})]
    (reason,) = outcome.refused.values()
    assert "INVALID_TRANSITION: FAILED -> SUCCEEDED" in reason


def test_a_job_that_a_user_stops_asks_the_training_to_stop(server: SynapseServer, run: Run) -> None:
    server.stopped_by_user = True
    run.add(EPOCHS, EpochEnded(epoch=1))
    with asked_to_stop(server, run) as (destination, asked):
        list(destination.deliver(run.add(EpochEnded(epoch=2))))

    assert asked == [(1, "Synapse says that the job is 'STOPPED'")]


@pytest.mark.parametrize(
    ("first_end", "asks"),
    [(RunFailed(error="UnknownError", message="no"), [2]), (RunInterrupted(reason="SIGTERM"), [])],
)
def test_a_later_attempt_is_stopped_where_the_job_was_not_stopped_before(
    server: SynapseServer, tmp_path: Path, first_end: AnyEvent, asks: list[int]
) -> None:
    first = Run(tmp_path / "run")
    told(first, server, EPOCHS, first_end)
    first.close()
    second = Run(tmp_path / "run", attempt=2)
    with asked_to_stop(server, second) as (destination, asked):
        list(destination.deliver(handled(second.add(EPOCHS, EpochEnded(epoch=1)))))
        server.stopped_by_user = True
        list(destination.deliver(second.add(EpochEnded(epoch=2))))
    second.close()

    assert [attempt for attempt, _ in asked] == asks


@contextlib.contextmanager
def asked_to_stop(server: SynapseServer, run: Run) -> Iterator[tuple[Destination, list[tuple[int, str]]]]:
    """A destination, and the attempts that it asks to stop, each with the reason."""
    asked: list[tuple[int, str]] = []
    context = run.context(settings(server))
    destination = open_destination(dataclasses.replace(context, ask_to_stop=lambda *what: asked.append(what)))
    assert destination is not None
    with contextlib.closing(destination):
        yield destination, asked


def handled(records: list[Record]) -> list[Record]:
    return [record for record in records if isinstance(record.event, HANDLES)]


# Progress


def progress(server: SynapseServer) -> dict[str, Any]:
    current: dict[str, Any] = server.job["progress_record"]["current_progress"]
    return current


def test_a_trainings_progress_is_its_epochs(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, EpochEnded(epoch=1, time_left=30.0))

    shown = {"percent": 25.0, "time_remaining": 30.0, "order": 0}
    assert progress(server) == {"overall": 25.0, "step": "train", **shown}
    assert server.job["progress_record"]["record"] == {"steps": {"train": {"proportion": 75, **shown}}}


def test_iterations_where_those_are_counted(server: SynapseServer, run: Run) -> None:
    told(run, server, RunStarted(total_iterations=1000), MetricsLogged(metrics={"loss": 1.0}, iteration=250))

    assert progress(server)["overall"] == 25.0
    assert server.points() == [("train", "iteration", 250, {"loss": 1.0})]


def test_categories_share_the_whole_as_with_a(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, ProgressMade(current=1, total=2, category="dataset"))
    assert progress(server)["overall"] == 10.0
    told(run, server, EpochEnded(epoch=2))
    assert (progress(server)["step"], progress(server)["overall"]) == ("train", 57.5)
    told(run, server, ProgressMade(current=1, total=2, category="model_upload"))
    assert progress(server)["overall"] == 97.5
    told(run, server, RunCompleted())
    assert progress(server)["overall"] == 100.0
    assert isinstance(progress(server)["time_elapsed"], int)
    assert list(server.job["progress_record"]["record"]["steps"]) == ["dataset", "train", "model_upload"]


def test_steps_are_shown_with_their_shares(server: SynapseServer, run: Run) -> None:
    told(
        run,
        server,
        RunStarted(total_epochs=2),
        StepStarted(step="load", order=1, total=2, share=0.2),
        StepFinished(step="load", duration=1.0),
        StepStarted(step="fit", order=2, total=2, share=0.8),
        EpochEnded(epoch=1, total_epochs=2, metrics={"loss": 1.0}),
    )

    steps = server.job["progress_record"]["record"]["steps"]
    assert steps["load"] == {"proportion": 20, "order": 0, "percent": 100.0, "time_remaining": 0.0}
    assert (steps["fit"]["proportion"], steps["fit"]["order"], steps["fit"]["percent"]) == (80, 1, 50.0)
    assert (progress(server)["overall"], progress(server)["step"]) == (60.0, "fit")
    assert server.job["metrics_record"] == {"record": {"steps": {"fit": {"loss": 1.0}}}}
    assert server.entries("metric")[0]["step"] == "fit"
    assert [(entry["step"], entry["level"], entry["data"]["content"]) for entry in server.entries("message")[1:]] == [
        ("load", "info", "step 'load' begins (1 of 2)"),
        ("load", "success", "step 'load' is done, in 1.0 s"),
        ("fit", "info", "step 'fit' begins (2 of 2)"),
    ]


def test_the_whole_never_goes_back(server: SynapseServer, run: Run) -> None:
    events: list[AnyEvent] = [
        RunStarted(total_epochs=2),
        StepStarted(step="fit", order=1, total=1, share=1.0),
        EpochEnded(epoch=2, total_epochs=2),
        StepFailed(step="fit", error="UnknownError", message="no", retrying=True),
        StepStarted(step="fit", order=1, total=1, share=1.0, retry=1),
        EpochEnded(epoch=1, total_epochs=2),
        StepRolledBack(step="fit"),
    ]
    for event in events:
        told(run, server, event)

    overall = [each["current_progress"]["overall"] for each in server.progress]
    assert overall == sorted(overall)
    assert overall[-1] == 100.0
    assert progress(server)["percent"] == 50.0


# Metrics


def test_an_epochs_metrics_by_category(server: SynapseServer, run: Run) -> None:
    metrics = {"train/loss": 0.5, "lr/pg0": 0.01, "val/loss": 0.7, "metrics/mAP50(B)": 0.1, "accuracy": 1}

    told(run, server, EPOCHS, EpochEnded(epoch=2, metrics=metrics))

    assert server.points() == [
        ("train", "epoch", 2, {"loss": 0.5, "lr/pg0": 0.01, "accuracy": 1}),
        ("validation", "epoch", 2, {"loss": 0.7, "metrics/mAP50(B)": 0.1}),
    ]
    assert server.job["metrics_record"] == {"record": {"steps": {"train": metrics}}}


def test_a_validation_that_the_epochs_end_has_told_is_one_point(server: SynapseServer, run: Run) -> None:
    told(
        run,
        server,
        EPOCHS,
        EpochEnded(epoch=1, metrics={"train/loss": 2.0, "val/loss": 4.0, "metrics/mAP": 0.1}),
        Validated(metrics={"val/loss": 4.0, "metrics/mAP": 0.2, "recall": 0.3}, epoch=1),
    )

    assert server.points()[1:] == [
        ("validation", "epoch", 1, {"loss": 4.0, "metrics/mAP": 0.1}),
        ("validation", "epoch", 1, {"metrics/mAP": 0.2, "recall": 0.3}),
    ]


def test_what_is_no_finite_number_is_said_and_never_0(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, EpochEnded(epoch=1, metrics={"loss": "NaN", "a": "-Infinity", "b": 1.0}))

    (entry,) = server.entries("metric")
    assert entry["data"]["metrics"] == {"loss": None, "a": None, "b": 1.0}
    assert entry["data"]["non_finite"] == {"loss": "NaN", "a": "-Infinity"}
    assert server.job["metrics_record"]["record"]["steps"]["train"]["loss"] is None


def test_metrics_of_no_point_in_time_stand_in_the_job_alone(server: SynapseServer, run: Run) -> None:
    told(run, server, EPOCHS, MetricsLogged(metrics={"parameters": 7}))

    assert server.points() == []
    assert server.job["metrics_record"] == {"record": {"steps": {"train": {"parameters": 7}}}}


def test_a_test_is_one_and_the_finished_models_validation_is_a_word(server: SynapseServer, run: Run) -> None:
    told(
        run,
        server,
        RunStarted(operation="test"),
        Validated(metrics={"map": 0.5}, iteration=9),
        Validated(metrics={"map": 0.6}, final=True),
    )

    assert server.points() == [("test", "iteration", 9, {"map": 0.5})]
    assert server.messages()[-1] == "test of the finished model: map 0.6"


# Words


def test_the_log(server: SynapseServer, run: Run) -> None:
    told(
        run,
        server,
        Logged(level="WARNING", message="look out", source="ultralytics", data={"a": 1}),
        Logged(level="DEBUG", message="within"),
        CheckpointStored(name="best", uri="s3://b/best.pt", manifest_uri="", size=5, sha256="ab"),
        MetricsSkipped(reasons={"loss": "str is not a number"}),
        RankFailed(rank=1, error="ResourceError", message="no memory", traceback="Traceback …"),
        TrackerLinked(tracker="clearml", id="7"),
    )

    assert [(entry["event"], entry["level"], entry["data"]["content"]) for entry in server.logs] == [
        ("message", "warning", "look out"),
        ("debug", "debug", "within"),
        ("message", "info", "checkpoint 'best' is stored: s3://b/best.pt"),
        ("message", "warning", "metrics skipped: loss: str is not a number"),
        ("message", "error", "rank 1 failed: [ResourceError] no memory\nTraceback …"),
        ("message", "info", "the run is shown in clearml, too: task 7"),
    ]
    assert server.logs[0]["data"] == {"content": "look out", "source": "ultralytics", "data": {"a": 1}}


# Images


def test_a_staged_image_is_shown_and_its_copy_removed(server: SynapseServer, run: Run) -> None:
    (run.directory / "images").mkdir(parents=True)
    copy = run.directory / "images" / "1-val_batch2_pred.jpg"
    copy.write_bytes(b"an image")
    staged = str(copy.relative_to(run.directory))

    outcome = told(
        run,
        server,
        ImageSaved(title="val_batch2_pred", path="/out/val_batch2_pred.jpg", epoch=3, staged=staged),
        ImageSaved(title="results", path="/out/results.png"),
    )

    (entry,) = server.entries("visualization")
    assert entry["file"] == "data:image/jpeg;base64," + base64.b64encode(b"an image").decode()
    assert entry["data"] == {"category": "validation", "group": "3", "index": 2, "title": "val_batch2_pred"}
    assert not copy.exists()
    assert len(outcome.delivered) == 2


def test_the_copy_stays_for_who_is_yet_to_show_it(server: SynapseServer, run: Run) -> None:
    (run.directory / "a.png").write_bytes(b"an image")
    context = dataclasses.replace(run.context(settings(server)), is_awaited=lambda _: True)
    destination = open_destination(context)
    assert destination is not None
    list(destination.deliver(run.add(ImageSaved(title="a", path="/a.png", staged="a.png"))))
    destination.close()

    assert len(server.entries("visualization")) == 1
    assert (run.directory / "a.png").exists()


def test_an_image_that_is_too_large_or_gone_is_refused(server: SynapseServer, run: Run) -> None:
    run.directory.mkdir(exist_ok=True)
    (run.directory / "large.png").write_bytes(bytes(1_800_001))

    outcome = told(
        run,
        server,
        ImageSaved(title="large", path="/x", staged="large.png"),
        ImageSaved(title="gone", path="/x", staged="gone.png"),
        ImageSaved(title="odd", path="/x", staged="odd"),
    )

    assert [reason.split(" ", 1)[1] for reason in outcome.refused.values()] == [
        "has more than 1800000 bytes, the most that is sent to Synapse",
        "private copy 'gone.png' is gone",
        "has no ending that tells its type",
    ]
    assert server.logs == []
    assert (run.directory / "large.png").exists()
