"""Every event, as predecessor B's backend gets it; the server checks each body by B's schema."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.platform_parts import Outcome, Run
from tests.servers.platform import PlatformServer, Reply
from trainer_hooks.destinations.platform.contract import TRANSLATIONS
from trainer_hooks.events import (
    AnyEvent,
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    Event,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SegmentOpened,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    Validated,
)

PROGRESS = "/training/jobs/7/callback/progress"
COMPLETION = "/training/jobs/7/callback/completion"
LOGS = "/training/jobs/7/callback/logs"
RESULTS = "/validation/jobs/7/results"
INFERENCE = "/test_inference/inference/jobs/7/callback/"
EXPORT = "/export/jobs/7/callback/"
BEST = CheckpointStored(
    name="best", uri="s3://bucket/best.pt", manifest_uri="s3://bucket/best.json", size=3, sha256="ab"
)
LAST = CheckpointStored(
    name="last", uri="s3://bucket/last.pt", manifest_uri="s3://bucket/last.json", size=4, sha256="cd"
)


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",)) as server:
        yield server
        assert server.unknown_fields == set()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.close()


def tell(server: PlatformServer, run: Run, *events: AnyEvent) -> Outcome:
    """Deliver the events; all of them must get a receipt."""
    records = run.add(*events)
    with run.destination(server.url) as destination:
        outcome = Outcome(destination, records)
    assert outcome.reason == ""
    assert len(outcome.receipts) == len(records)
    return outcome


def last_post(server: PlatformServer, path: str) -> dict[str, Any]:
    body: dict[str, Any] = server.posts(path)[-1]
    return body


def told(server: PlatformServer, run: Run, event: AnyEvent, path: str) -> dict[str, Any]:
    """The body that the event arrived with; its timestamp, where it has one, is the record's time."""
    record = run.add(event)[-1]
    with run.destination(server.url) as destination:
        assert Outcome(destination, [record]).delivered == [record.id]
    body = last_post(server, path)
    if "timestamp" in body:
        moment = datetime.fromisoformat(body.pop("timestamp"))
        assert moment == datetime.fromtimestamp(record.time, timezone.utc)
    return body


def test_every_event_but_the_local_ones_has_a_translation() -> None:
    assert set(Event.__subclasses__()) - set(TRANSLATIONS) == {SegmentOpened, CheckpointSaved, ImageSaved}


def test_a_training_starts_as_progress_of_epoch_0(server: PlatformServer, run: Run) -> None:
    assert told(server, run, RunStarted(total_epochs=5), PROGRESS) == {
        "job_id": 7,
        "status": "running",
        "current_epoch": 0,
        "total_epochs": 5,
        "progress_percent": 0.0,
        "metrics": None,
        "checkpoint_path": None,
    }


def test_a_training_of_unknown_length_starts_with_the_least_total_that_b_takes(
    server: PlatformServer, run: Run
) -> None:
    assert told(server, run, RunStarted(), PROGRESS)["total_epochs"] == 1


@pytest.mark.parametrize(("operation", "path"), [("inference", INFERENCE), ("export", EXPORT)])
def test_inference_and_export_start_by_their_own_routes(
    server: PlatformServer, run: Run, operation: Any, path: str
) -> None:
    body = told(server, run, RunStarted(operation=operation), path + "started")

    assert body == {"type": "started", "job_id": 7, "operation_type": operation}


def test_an_epoch_is_told_with_all_that_b_accepts(server: PlatformServer, run: Run) -> None:
    run.stored = {"best": BEST, "last": LAST}
    metrics: Metrics = {"train/loss": 0.5, "metrics/mAP50-95(B)": 0.25, "lr/pg0": 0.01}

    body = told(
        server, run, EpochEnded(epoch=2, total_epochs=8, metrics=metrics, duration=1.5, time_left=9.0), PROGRESS
    )

    assert body == {
        "job_id": 7,
        "status": "running",
        "current_epoch": 2,
        "total_epochs": 8,
        "progress_percent": 25.0,
        "metrics": {"loss": 0.5, "accuracy": 0.25, "learning_rate": 0.01, "extra_metrics": metrics},
        "best_checkpoint_path": "s3://bucket/best.pt",
        "epoch_duration_seconds": 1.5,
        "estimated_time_remaining": 9.0,
    }


@pytest.mark.parametrize(
    ("metrics", "column", "value"),
    [
        ({"loss": 1.0, "train/loss": 2.0}, "loss", 1.0),
        ({"train/loss": 2.0, "train/box_loss": 3.0}, "loss", 2.0),
        ({"train/box_loss": 1.0, "train/cls_loss": 0.5, "val/box_loss": 9.0}, "loss", 1.5),
        ({"train/box_loss": 1.0, "train/cls_loss": "NaN"}, "loss", None),
        ({"loss": "Infinity"}, "loss", None),
        ({"val/loss": 1.0}, "loss", None),
        ({"accuracy": 0.0, "mAP50-95": 0.5}, "accuracy", 0.0),
        ({"metrics/accuracy_top1": 0.75, "metrics/accuracy_top5": 1.0}, "accuracy", 0.75),
        ({"metrics/mAP50-95(M)": 0.1, "metrics/mAP50-95(B)": 0.2}, "accuracy", 0.2),
        ({"metrics/mAP50(B)": 0.9, "metrics/mAP50-95(P)": 0.3}, "accuracy", 0.3),
        ({"accuracy": "NaN", "mAP50-95": 0.5}, "accuracy", None),
        ({"lr": 0.1, "lr/pg0": 0.2}, "learning_rate", 0.1),
        ({"learning_rate": 0.0, "lr": 0.2}, "learning_rate", 0.0),
    ],
)
def test_the_three_named_metrics_are_found_and_never_guessed(
    server: PlatformServer, run: Run, metrics: Metrics, column: str, value: float | None
) -> None:
    body = told(server, run, EpochEnded(epoch=1, total_epochs=2, metrics=metrics), PROGRESS)

    assert body["metrics"][column] == value


def test_what_is_no_finite_number_is_null_and_named(server: PlatformServer, run: Run) -> None:
    metrics: Metrics = {"loss": "NaN", "grad": "-Infinity", "acc": 0.5}

    body = told(server, run, EpochEnded(epoch=1, total_epochs=2, metrics=metrics), PROGRESS)

    extra = {"loss": None, "grad": None, "acc": 0.5, "non_finite": {"loss": "NaN", "grad": "-Infinity"}}
    assert body["metrics"] == {"loss": None, "accuracy": None, "learning_rate": None, "extra_metrics": extra}


def test_an_epoch_beyond_the_last_one_is_100_percent(server: PlatformServer, run: Run) -> None:
    body = told(server, run, EpochEnded(epoch=6, total_epochs=5), PROGRESS)

    assert (body["current_epoch"], body["total_epochs"], body["progress_percent"]) == (6, 5, 100.0)
    assert body["metrics"] is None


def test_an_epoch_of_an_unknown_number_claims_no_share(server: PlatformServer, run: Run) -> None:
    body = told(server, run, EpochEnded(epoch=3), PROGRESS)

    assert (body["current_epoch"], body["total_epochs"], body["progress_percent"]) == (3, 3, 0.0)


def test_the_number_of_epochs_is_taken_from_the_start_where_the_epoch_has_none(
    server: PlatformServer, run: Run
) -> None:
    tell(server, run, RunStarted(total_epochs=4), EpochEnded(epoch=1))

    assert last_post(server, PROGRESS)["progress_percent"] == 25.0


def test_progress_without_epochs_counts_its_own_units(server: PlatformServer, run: Run) -> None:
    assert told(server, run, ProgressMade(current=2.5, total=9.5), PROGRESS) == {
        "job_id": 7,
        "status": "running",
        "current_epoch": 2,
        "total_epochs": 10,
        "progress_percent": pytest.approx(26.3158, abs=1e-3),
        "metrics": {
            "loss": None,
            "accuracy": None,
            "learning_rate": None,
            "extra_metrics": {"category": "train", "current": 2.5, "total": 9.5},
        },
    }


def test_progress_of_another_category_leaves_the_epochs_alone(server: PlatformServer, run: Run) -> None:
    tell(
        server,
        run,
        RunStarted(total_epochs=4),
        EpochEnded(epoch=3),
        ProgressMade(current=5e9, total=1e10, category="upload"),
    )

    body = last_post(server, PROGRESS)
    assert (body["current_epoch"], body["total_epochs"], body["progress_percent"]) == (3, 4, 50.0)


@pytest.mark.parametrize(("current", "total", "percent"), [(3, 0, 0.0), (5, 4, 100.0), (-1, 4, 0.0)])
def test_progress_stays_between_0_and_100_percent(
    server: PlatformServer, run: Run, current: float, total: float, percent: float
) -> None:
    body = told(server, run, ProgressMade(current=current, total=total), PROGRESS)

    assert body["progress_percent"] == percent
    assert body["total_epochs"] > 0


def test_a_validation_is_told_whole(server: PlatformServer, run: Run) -> None:
    event = Validated(
        epoch=3,
        task="detection",
        primary="mAP50",
        metrics={"mAP50": 0.5, "mAP50-95": 0.25},
        is_best=True,
        class_names=["cat", "dog"],
        per_class={"cat": {"ap": 0.5}, "dog": {"ap": 0.0}},
        images={"labels": "s3://bucket/labels.png", "curve": "https://host/c.png", "local": "/tmp/x.png"},  # noqa: S108
    )

    assert told(server, run, event, RESULTS) == {
        "type": "validation",
        "job_id": 7,
        "epoch": 3,
        "task_type": "detection",
        "primary_metric_name": "mAP50",
        "primary_metric_value": 0.5,
        "metrics": {"mAP50": 0.5, "mAP50-95": 0.25},
        "is_best": True,
        "class_names": ["cat", "dog"],
        "visualization_urls": {"labels": "s3://bucket/labels.png", "curve": "https://host/c.png"},
        "per_class_metrics": {"cat": {"ap": 0.5}, "dog": {"ap": 0.0}},
    }


@pytest.mark.parametrize(
    ("metrics", "primary", "chosen"),
    [
        ({"loss": 0.5, "accuracy": 0.0}, None, ("accuracy", 0.0)),
        ({"precision": 0.5, "loss": 0.25}, None, ("loss", 0.25)),
        ({"precision": 0.5, "recall": 0.25}, None, ("precision", 0.5)),
        ({"precision": 0.5, "loss": 0.25}, "absent", ("loss", 0.25)),
    ],
)
def test_a_validation_names_the_metric_that_it_is_judged_by(
    server: PlatformServer, run: Run, metrics: Metrics, primary: str | None, chosen: tuple[str, float]
) -> None:
    body = told(server, run, Validated(epoch=1, metrics=metrics, primary=primary), RESULTS)

    assert (body["primary_metric_name"], body["primary_metric_value"]) == chosen


def test_a_validation_takes_its_task_from_the_start(server: PlatformServer, run: Run) -> None:
    tell(server, run, RunStarted(task="pose"), Validated(epoch=1, metrics={"loss": 1.0}))

    assert last_post(server, RESULTS)["task_type"] == "pose"


def test_a_validation_without_metrics_is_refused_with_the_reason(server: PlatformServer, run: Run) -> None:
    outcome = tell(server, run, Validated(epoch=1, metrics={}))

    assert list(outcome.refused.values()) == ["a validation without metrics: the platform needs one to judge it by"]


def test_a_required_number_that_is_not_finite_goes_as_its_name(server: PlatformServer, run: Run) -> None:
    # pydantic, which B's schema is made of, reads these texts as numbers; the test server's schema does not.
    server.always(Reply(200, body=b"{}"), path="results")

    tell(
        server,
        run,
        Validated(epoch=1, metrics={"loss": "NaN"}, primary="loss", per_class={"cat": {"ap": "-Infinity"}}),
    )

    body = server.requests[-1].json
    assert body["primary_metric_value"] == "NaN"
    assert body["metrics"] == {"loss": None, "non_finite": {"loss": "NaN"}}
    assert body["per_class_metrics"] == {"cat": {"ap": "-Infinity"}}


def test_a_stored_checkpoint_is_the_log_event_that_b_knows(server: PlatformServer, run: Run) -> None:
    event = CheckpointStored(
        name="best", uri="s3://b/best.pt", manifest_uri="s3://b/m", size=3, sha256="ab", epoch=2, metrics={"map": 0.5}
    )

    assert told(server, run, event, LOGS) == {
        "type": "log_event",
        "job_id": 7,
        "event_type": "checkpoint",
        "message": "checkpoint 'best' is stored: s3://b/best.pt",
        "level": "INFO",
        "data": {
            "s3_uri": "s3://b/best.pt",
            "metrics": {"map": 0.5},
            "name": "best",
            "epoch": 2,
            "iteration": None,
            "sha256": "ab",
            "size": 3,
        },
    }


@pytest.mark.parametrize(
    ("event", "level", "event_type", "message", "data"),
    [
        (Logged(level="ERROR", message="boom", source="torch", data={"a": 1}), "ERROR", "torch", "boom", {"a": 1}),
        (
            MetricsLogged(metrics={"loss": 0.5, "grad": "NaN"}, iteration=12),
            "DEBUG",
            "metrics",
            "iteration 12: loss 0.5, grad NaN",
            {"metrics": {"loss": 0.5, "grad": "NaN"}, "iteration": 12},
        ),
        (
            MetricsLogged(metrics={"score": 1}),
            "DEBUG",
            "metrics",
            "metrics: score 1",
            {"metrics": {"score": 1}, "iteration": None},
        ),
        (
            MetricsSkipped(reasons={"image": "str is not a number"}),
            "WARNING",
            "metrics",
            "metrics skipped: image: str is not a number",
            {"reasons": {"image": "str is not a number"}},
        ),
        (
            RecordsDropped(count=3, reason="No space left on device"),
            "WARNING",
            "trainer_hooks",
            "3 events were lost before they reached the disk: No space left on device",
            {"count": 3, "reason": "No space left on device"},
        ),
        (SignalReceived(signal="SIGTERM"), "WARNING", "signal", "received SIGTERM", {"signal": "SIGTERM"}),
        (
            StepStarted(step="train", order=2, total=3, share=0.5),
            "INFO",
            "step",
            "step 'train' begins (2 of 3)",
            {"type": "step_started", "step": "train", "order": 2, "total": 3, "share": 0.5},
        ),
        (
            StepFinished(step="train", duration=1.25),
            "INFO",
            "step",
            "step 'train' is done, in 1.2 s",
            {"type": "step_finished", "step": "train", "duration": 1.25},
        ),
        (
            StepFailed(step="train", error="ResourceError", message="no room", retrying=True),
            "WARNING",
            "step",
            "step 'train' failed, and is tried again: [ResourceError] no room",
            {
                "type": "step_failed",
                "step": "train",
                "error": "ResourceError",
                "message": "no room",
                "retrying": True,
            },
        ),
        (
            StepRolledBack(step="train"),
            "INFO",
            "step",
            "step 'train' is rolled back",
            {"type": "step_rolled_back", "step": "train"},
        ),
    ],
)
def test_what_b_has_no_call_for_is_told_as_a_log_record(
    server: PlatformServer, run: Run, event: AnyEvent, level: str, event_type: str, message: str, data: Any
) -> None:
    assert told(server, run, event, LOGS) == {
        "job_id": 7,
        "event_type": event_type,
        "message": message,
        "level": level,
        "data": data,
    }


def test_where_there_are_steps_the_percent_is_that_of_them_all(server: PlatformServer, run: Run) -> None:
    load = StepStarted(step="load", order=1, total=2, share=0.25)
    train = StepStarted(step="train", order=2, total=2, share=0.75)
    tell(
        server,
        run,
        RunStarted(),
        load,
        ProgressMade(current=1, total=2, category="load"),
        StepFinished(step="load"),
        train,
        RunStarted(total_epochs=3),
        EpochEnded(epoch=1),
        EpochEnded(epoch=1),  # the host has repeated it
        StepFailed(step="train", error="UnknownError", message="x", retrying=True),
        train,
        EpochEnded(epoch=3),
        StepFinished(step="train"),
        ProgressMade(current=0, total=1),
    )
    told = [(post["current_epoch"], post["progress_percent"]) for post in server.posts(PROGRESS)]
    assert told == [(0, 0.0), (0, 12.5), (0, 25.0), (1, 50.0), (1, 50.0), (3, 100.0), (3, 100.0)]


def test_an_inference_ends_with_its_results(server: PlatformServer, run: Run) -> None:
    results = [
        {
            "image_path": "a.jpg",
            "predictions": [{"class_id": 0, "class_name": "cat", "confidence": 0.5, "bbox": [0, 0, 1, 1]}],
        },
        {"image_path": "b.jpg", "predictions": []},
    ]
    event = InferenceCompleted(
        total_images=2, total_time_ms=5.0, results=results, result_urls={"labels": "s3://bucket/labels"}
    )

    assert told(server, run, event, INFERENCE + "completion") == {
        "type": "inference_completed",
        "job_id": 7,
        "status": "completed",
        "total_images": 2,
        "total_inference_time_ms": 5.0,
        "avg_inference_time_ms": 2.5,
        "results": results,
        "result_urls": {"labels": "s3://bucket/labels"},
    }


def test_an_inference_of_no_images_took_no_time_for_each(server: PlatformServer, run: Run) -> None:
    body = told(
        server, run, InferenceCompleted(total_images=0, total_time_ms=1.0, results=[]), INFERENCE + "completion"
    )

    assert body["avg_inference_time_ms"] == 0.0


def test_an_inference_result_without_its_image_is_refused_before_it_is_sent(server: PlatformServer, run: Run) -> None:
    results = [{"image_path": "a.jpg", "predictions": []}, {"predictions": []}]
    outcome = tell(server, run, InferenceCompleted(total_images=2, total_time_ms=1.0, results=results))

    assert list(outcome.refused.values()) == ["results[1] has no image_path (a text), which the platform needs in each"]
    assert [request for request in server.requests if request.method == "POST"] == []


def test_an_export_ends_with_its_model(server: PlatformServer, run: Run) -> None:
    event = ExportCompleted(export_format="onnx", uri="s3://bucket/m.onnx", size=3, metadata={"opset": 17})

    assert told(server, run, event, EXPORT + "completion") == {
        "type": "export_completed",
        "job_id": 7,
        "status": "completed",
        "export_format": "onnx",
        "output_s3_uri": "s3://bucket/m.onnx",
        "file_size_bytes": 3,
        "metadata": {"opset": 17},
    }


def test_a_training_is_completed_with_stored_checkpoints_only(server: PlatformServer, run: Run) -> None:
    run.stored = {"best": BEST}
    event = RunCompleted(
        epochs=5,
        metrics={"loss": 0.5},
        best_epoch=3,
        best_metrics={"accuracy": 0.75},
        duration=12.5,
        checkpoints={"best": "s3://older/best.pt", "last": "/runs/train/weights/last.pt"},
    )

    assert told(server, run, event, COMPLETION) == {
        "job_id": 7,
        "status": "completed",
        "total_epochs_completed": 5,
        "final_metrics": {
            "loss": 0.5,
            "accuracy": None,
            "learning_rate": None,
            "extra_metrics": {"loss": 0.5},
        },
        "exit_code": 0,
        "best_checkpoint_path": "s3://bucket/best.pt",
        "best_epoch": 3,
        "best_metrics": {
            "loss": None,
            "accuracy": 0.75,
            "learning_rate": None,
            "extra_metrics": {"accuracy": 0.75},
        },
        "total_duration_seconds": 12.5,
    }
    assert server.job("7").status == "completed"


def test_a_completed_training_may_name_its_checkpoints_itself(server: PlatformServer, run: Run) -> None:
    body = told(server, run, RunCompleted(checkpoints={"last": "s3://bucket/mine.pt"}), COMPLETION)

    assert body["last_checkpoint_path"] == "s3://bucket/mine.pt"
    assert "best_checkpoint_path" not in body


@pytest.mark.parametrize(
    ("event", "message", "exit_code", "epochs"),
    [
        (RunFailed(error="ResourceError", message="out of memory", epoch=2), "[ResourceError] out of memory", 1, 2),
        (RunFailed(error="ConfigError", message="x", epoch=0, exit_status=3), "[ConfigError] x", 3, 0),
        (RunFailed(error="ConfigError", message="x", epoch=0, exit_status=0), "[ConfigError] x", 1, 0),
        (RunFailed(error="NetworkError", message="x", rank=3), "[NetworkError] rank 3: x", 1, 1),
        (RunInterrupted(reason="SIGTERM"), "[UnknownError] interrupted: SIGTERM", 1, 1),
        (RunLost(reason="killed"), "[UnknownError] lost: killed", 1, 1),
    ],
)
def test_each_other_ending_is_a_failure_that_says_what_it_was(
    server: PlatformServer, run: Run, event: AnyEvent, message: str, exit_code: int, epochs: int
) -> None:
    run.stored = {"last": LAST}
    tell(server, run, RunStarted(total_epochs=3), EpochEnded(epoch=1), event)

    assert last_post(server, COMPLETION) == {
        "job_id": 7,
        "status": "failed",
        "total_epochs_completed": epochs,
        "error_message": message,
        "exit_code": exit_code,
        "last_checkpoint_path": "s3://bucket/last.pt",
    }
    assert server.job("7").status == "failed"


def test_a_failure_without_a_traceback_brings_the_end_of_stderr(server: PlatformServer, run: Run) -> None:
    event = RunFailed(error="UnknownError", message="x", exit_status=134, output="terminate called")
    completion = told(server, run, event, COMPLETION)
    assert (completion["traceback"], completion["exit_code"]) == ("terminate called", 134)


def test_a_failure_brings_its_traceback(server: PlatformServer, run: Run) -> None:
    event = RunFailed(error="UnknownError", message="x", traceback="Traceback …")

    assert told(server, run, event, COMPLETION)["traceback"] == "Traceback …"


@pytest.mark.parametrize(("operation", "path"), [("inference", INFERENCE), ("export", EXPORT)])
def test_a_failed_inference_or_export_fails_by_its_own_route(
    server: PlatformServer, run: Run, operation: Any, path: str
) -> None:
    run.stored = {"best": BEST}
    tell(server, run, RunStarted(operation=operation), RunFailed(error="CheckpointError", message="no model"))

    assert last_post(server, path + "completion") == {
        "job_id": 7,
        "status": "failed",
        "total_epochs_completed": 0,
        "error_message": "[CheckpointError] no model",
        "exit_code": 1,
    }
    assert server.posts(COMPLETION) == []


@pytest.mark.parametrize(
    ("operation", "results"),
    [
        ("inference", InferenceCompleted(total_images=0, total_time_ms=0.0, results=[])),
        ("export", ExportCompleted(export_format="onnx", uri="s3://b/m", size=1)),
    ],
)
def test_the_end_of_an_inference_or_export_is_said_once_with_its_results(
    server: PlatformServer, run: Run, operation: Any, results: AnyEvent
) -> None:
    outcome = tell(server, run, RunStarted(operation=operation), results, RunCompleted())

    assert len(outcome.delivered) == 3
    assert server.job("7").statuses == ["running", "completed"]
    assert server.posts(COMPLETION) == []


def test_an_inference_that_ends_without_results_is_refused_and_says_why(server: PlatformServer, run: Run) -> None:
    outcome = tell(server, run, RunStarted(operation="inference"), RunCompleted())

    assert list(outcome.refused.values()) == [
        "the platform takes the end of an inference only with its results, and there were none"
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (ProgressMade(current=3, total=10, category="images"), "images: 3 of 10"),
        (EpochEnded(epoch=1, metrics={"loss": 0.5}), "epoch 1: loss 0.5"),
        (Validated(epoch=1, metrics={}), "epoch 1: no metrics"),
    ],
)
def test_progress_of_an_inference_never_touches_the_training_of_the_same_number(
    server: PlatformServer, run: Run, event: AnyEvent, message: str
) -> None:
    tell(server, run, RunStarted(operation="inference"), event)

    assert last_post(server, LOGS)["message"] == message
    assert server.posts(PROGRESS) == []
    assert server.posts(RESULTS) == []


def test_the_operation_is_read_from_the_journal_where_delivery_begins_behind_it(
    server: PlatformServer, run: Run
) -> None:
    run.add(RunStarted(operation="export"), EpochEnded(epoch=4))

    body = told(server, run, RunFailed(error="UnknownError", message="x"), EXPORT + "completion")

    assert body["total_epochs_completed"] == 4


def test_what_another_attempt_did_does_not_count(server: PlatformServer, tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.add(RunStarted(operation="export"), EpochEnded(epoch=4), RunFailed(error="UnknownError", message="x"))
    first.close()
    second = Run(tmp_path, attempt=2)

    body = told(server, second, RunLost(reason="killed"), COMPLETION)

    second.close()
    assert body["total_epochs_completed"] == 0


def test_nothing_runs_again_after_the_end_of_its_attempt(server: PlatformServer, run: Run) -> None:
    tell(server, run, RunStarted(), RunCompleted(epochs=1), RunLost(reason="killed"), EpochEnded(epoch=1))

    assert server.job("7").statuses == ["running", "completed", "completed"]
    assert last_post(server, LOGS)["message"] == "after the end: run_lost: killed"


def test_a_new_attempt_runs_again(server: PlatformServer, tmp_path: Path) -> None:
    first = Run(tmp_path)
    tell(server, first, RunStarted(), RunFailed(error="UnknownError", message="x"))
    first.close()
    second = Run(tmp_path, attempt=2)
    tell(server, second, RunStarted(), RunCompleted())
    second.close()

    assert server.job("7").statuses == ["running", "failed", "running", "completed"]


@pytest.mark.parametrize("job", ["0x7", "007", "a/b ü?#%", "..", "9223372036854775808", "٧"])
def test_a_job_id_that_is_no_number_stays_what_it_is(tmp_path: Path, job: str) -> None:
    run = Run(tmp_path, job=job)
    with PlatformServer(jobs=(job,), integer_jobs=False) as server:
        outcome = tell(server, run, RunStarted(), Logged(level="INFO", message="hello"))
        statuses = server.job(job).statuses
        bodies = [request.json for request in server.requests if request.method == "POST"]
    run.close()

    assert len(outcome.delivered) == 2
    assert statuses == ["running"]
    assert [body["job_id"] for body in bodies] == [job, job]


ITERATIONS = RunStarted(total_iterations=400)


def test_a_training_that_is_counted_in_iterations_has_them_for_epochs(server: PlatformServer, run: Run) -> None:
    run.stored = {"best": BEST}
    metrics: Metrics = {"train/loss": 0.5, "train/lr": 0.01}
    best = Validated(metrics={"mIoU": 0.25}, iteration=100, primary="mIoU", is_best=True)
    end = RunCompleted(iterations=400, best_iteration=100, metrics={"mIoU": 0.25})

    tell(server, run, ITERATIONS, MetricsLogged(metrics=metrics, iteration=100), best, end)

    started, progress = server.posts(PROGRESS)
    assert (started["current_epoch"], started["total_epochs"]) == (0, 400)
    assert progress == {
        "job_id": 7,
        "status": "running",
        "current_epoch": 100,
        "total_epochs": 400,
        "progress_percent": 25.0,
        "best_checkpoint_path": "s3://bucket/best.pt",
        "metrics": {"loss": 0.5, "accuracy": None, "learning_rate": 0.01, "extra_metrics": metrics},
    }
    validation = last_post(server, RESULTS)
    assert (validation["epoch"], validation["primary_metric_value"]) == (100, 0.25)
    completion = last_post(server, COMPLETION)
    assert (completion["total_epochs_completed"], completion["best_epoch"]) == (400, 100)
    assert completion["final_metrics"]["accuracy"] == 0.25


def test_a_failure_tells_how_many_iterations_were_done(server: PlatformServer, run: Run) -> None:
    tell(server, run, ITERATIONS, RunFailed(error="FrameworkError", message="boom", iteration=123))
    assert last_post(server, COMPLETION)["total_epochs_completed"] == 123


def test_metrics_of_no_iteration_are_no_progress(server: PlatformServer, run: Run) -> None:
    tell(server, run, ITERATIONS, MetricsLogged(metrics={"flops": 3}))
    assert len(server.posts(PROGRESS)) == 1
    assert last_post(server, LOGS)["message"] == "metrics: flops 3"


@pytest.mark.parametrize("end", [RunCompleted(), RunFailed(error="DatasetError", message="no images")])
def test_a_validation_by_itself_tells_its_result_and_never_touches_the_training(
    server: PlatformServer, run: Run, end: Any
) -> None:
    tell(server, run, RunStarted(operation="validation", model="net"), Validated(epoch=3, metrics={"map": 0.5}), end)
    assert last_post(server, RESULTS)["epoch"] == 3
    assert server.posts(PROGRESS) + server.posts(COMPLETION) == []
    messages = [log["message"] for log in server.posts(LOGS)]
    failed = ["validation failed: no images"] if isinstance(end, RunFailed) else []
    assert messages == ["validation of net begins", *failed]


def test_a_test_by_itself_is_told_in_log_records(server: PlatformServer, run: Run) -> None:
    tell(server, run, RunStarted(operation="test"), Validated(epoch=3, metrics={"map": 0.5}), RunCompleted())
    assert [log["message"] for log in server.posts(LOGS)] == ["test of a model begins", "epoch 3: map 0.5"]
    assert {log["event_type"] for log in server.posts(LOGS)} == {"test"}
    assert server.posts(RESULTS) + server.posts(PROGRESS) + server.posts(COMPLETION) == []
