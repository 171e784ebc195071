"""The calls of predecessor B's own client, in its order and shape, and what its backend did wrong done right."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.receiver.serving import Receiver
from trainer_hooks.events import (
    CheckpointStored,
    EpochEnded,
    ExportCompleted,
    InferenceCompleted,
    Logged,
    MetricsSkipped,
    ProgressMade,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)

_numbers = itertools.count(1000)


@pytest.fixture
def job() -> int:
    """A job of this test's own."""
    return next(_numbers)


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


def started(job: int, total: int = 3) -> dict[str, Any]:
    return {
        "job_id": job,
        "status": "running",
        "current_epoch": 0,
        "total_epochs": total,
        "progress_percent": 0.0,
        "metrics": None,
        "checkpoint_path": None,
    }


def epoch(job: int, number: int, total: int = 3, **values: Any) -> dict[str, Any]:
    metrics = {"loss": 1 / number, "accuracy": None, "learning_rate": 0.01}
    return {
        "job_id": job,
        "status": "running",
        "current_epoch": number,
        "total_epochs": total,
        "progress_percent": 100 * number / total,
        "metrics": {**metrics, "extra_metrics": {"loss": 1 / number, "lr": 0.01, **values}},
        "extra_data": {"passed": "over"},
    }


def completed(job: int) -> dict[str, Any]:
    return {
        "job_id": job,
        "status": "completed",
        "total_epochs_completed": 3,
        "final_metrics": {
            "loss": 0.3,
            "accuracy": 0.0,
            "learning_rate": None,
            "extra_metrics": {"loss": 0.3, "mAP": 0.0},
        },
        "exit_code": 0,
        "best_checkpoint_path": f"s3://checkpoints/{job}/best.pt",
        "last_checkpoint_path": f"s3://checkpoints/{job}/last.pt",
    }


def failed(job: int, message: str = "[ResourceError] CUDA out of memory", exit_code: int = 1) -> dict[str, Any]:
    return {
        "job_id": job,
        "status": "failed",
        "total_epochs_completed": 1,
        "error_message": message,
        "exit_code": exit_code,
        "traceback": "Traceback …",
    }


def log(job: int, message: str = "hello", **changes: Any) -> dict[str, Any]:
    body = {"job_id": job, "event_type": "trainer", "message": message, "level": "INFO", "data": {"a": 1}}
    return {**body, "timestamp": now(), **changes}


def validation(job: int, number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "type": "validation",
        "job_id": job,
        "epoch": number,
        "task_type": "detection",
        "primary_metric_name": "mAP50-95",
        "primary_metric_value": 0.5,
        "metrics": {"mAP50-95": 0.5},
        "is_best": True,
        "timestamp": now(),
        "class_names": ["cat"],
        "per_class_metrics": {"cat": {"AP": 0.5}},
        **changes,
    }


class Client:
    """Predecessor B's client: each call goes to the job's own paths."""

    def __init__(self, receiver: Receiver, job: int) -> None:
        self._receiver = receiver
        self._job = job

    def progress(self, body: dict[str, Any], **headers: str) -> Any:
        return self._tell(f"/training/jobs/{self._job}/callback/progress", body, headers)

    def completion(self, body: dict[str, Any], **headers: str) -> Any:
        return self._tell(f"/training/jobs/{self._job}/callback/completion", body, headers)

    def log(self, body: dict[str, Any], **headers: str) -> Any:
        return self._tell(f"/training/jobs/{self._job}/callback/logs", body, headers)

    def validation(self, body: dict[str, Any]) -> Any:
        return self._tell(f"/validation/jobs/{self._job}/results", body, {})

    def _tell(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        answer = self._receiver.post(path, body, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def client(shared: Receiver, job: int) -> Client:
    return Client(shared, job)


def test_a_training_as_bs_client_tells_it(shared: Receiver, client: Client, job: int) -> None:
    assert client.progress(started(job)) == {"success": True, "message": "progress is kept", "job_status": "running"}
    client.log(log(job))
    for number in (1, 2, 3):
        client.progress(epoch(job, number))
        answer = client.validation(validation(job, number))
        assert (answer["status"], answer["job_id"], answer["epoch"]) == ("success", job, number)
        assert isinstance(answer["validation_result_id"], int)
    assert client.completion(completed(job))["job_status"] == "completed"
    shown = shared.run(str(job))
    assert (shown["summary"]["status"], shown["summary"]["done"], shown["summary"]["total"]) == ("completed", 3, 3)
    assert [(one["name"], one["uri"]) for one in shown["attempts"][0]["checkpoints"]] == [
        ("best", f"s3://checkpoints/{job}/best.pt"),
        ("last", f"s3://checkpoints/{job}/last.pt"),
    ]
    assert shown["attempts"][0]["best"] == {"metric": "mAP50-95", "value": 0.5, "at": "epoch 3"}
    assert shared.events(str(job))[0] == RunStarted(total_epochs=3)
    assert EpochEnded(epoch=2, total_epochs=3, metrics={"loss": 0.5, "lr": 0.01}) in shared.events(str(job))


def test_a_log_record_keeps_its_data_and_its_time(shared: Receiver, client: Client, job: int) -> None:
    client.log(log(job, timestamp="2024-05-01T12:00:00.250000+00:00", level="ERROR"))
    (kept,) = shared.get(f"/runs/{job}/logs")["records"]
    assert (kept["time"], kept["level"], kept["source"], kept["data"]) == (1714564800.25, "ERROR", "trainer", {"a": 1})


def test_a_repeated_call_changes_nothing(shared: Receiver, client: Client, job: int) -> None:
    line = log(job)
    result = validation(job)
    for _ in range(3):
        client.progress(started(job))
        client.progress(epoch(job, 1))
        client.log(line)
        client.validation(result)
    numbers = {client.validation(result)["validation_result_id"] for _ in range(2)}
    for _ in range(3):
        client.completion(completed(job))
    assert shared.kinds(str(job)) == ["run_started", "epoch_ended", "logged", "validated", "run_completed"]
    assert len(numbers) == 1


def test_a_call_with_a_key_counts_once_whatever_it_says_the_second_time(
    shared: Receiver, client: Client, job: int
) -> None:
    for message in ("first", "second"):
        client.log(log(job, message), **{"Idempotency-Key": "one"})
    client.log(log(job, "third"), **{"Idempotency-Key": "two"})
    assert [one["message"] for one in shared.get(f"/runs/{job}/logs")["records"]] == ["first", "third"]


def test_repeats_are_known_after_a_restart(start: Any) -> None:
    line = log(7)
    for _ in range(2):
        receiver = start()
        client = Client(receiver, 7)
        client.progress(started(7))
        client.log(line, **{"Idempotency-Key": "a%C3%BC"})
        client.completion(completed(7))
        receiver.kill()
    assert start().kinds("7") == ["run_started", "logged", "run_completed"]


def test_a_repeated_epoch_replaces_the_earlier_one(shared: Receiver, client: Client, job: int) -> None:
    client.progress(epoch(job, 1, mAP=0.1))
    client.progress(epoch(job, 1, mAP=0.2))
    (curve,) = shared.get(f"/runs/{job}/series", metric="mAP")
    assert (curve["x"], curve["low"], curve["points"]) == ([1], [0.2], 1)


def test_nothing_brings_an_ended_job_back(shared: Receiver, client: Client, job: int) -> None:
    client.progress(started(job))
    client.completion(completed(job))
    assert client.progress(epoch(job, 3))["job_status"] == "completed"
    assert client.progress(started(job))["job_status"] == "completed"
    assert client.completion(failed(job))["job_status"] == "completed"
    assert client.log(log(job))["job_status"] == "completed"
    shown = shared.run(str(job))
    assert (shown["summary"]["status"], shown["summary"]["attempts"]) == ("completed", 1)
    assert isinstance(shared.events(str(job))[1], RunCompleted)
    said = [one["message"] for one in shared.get(f"/runs/{job}/logs", level="WARNING")["records"]]
    assert said == ["after the end: run_failed: CUDA out of memory"]


def test_a_failed_training_that_is_started_again_is_the_next_attempt(
    shared: Receiver, client: Client, job: int
) -> None:
    client.progress(started(job))
    client.completion(failed(job))
    assert client.progress(started(job))["job_status"] == "running"
    client.progress(epoch(job, 1))
    attempts = shared.run(str(job))["attempts"]
    assert [(one["number"], one["status"], one["done"]) for one in attempts] == [(1, "failed", 0), (2, "running", 1)]


def test_the_exit_code_wins_over_the_status(shared: Receiver, client: Client, job: int) -> None:
    assert client.completion({**completed(job), "exit_code": 137})["job_status"] == "failed"
    event = shared.events(str(job))[-1]
    assert event == RunFailed(error="UnknownError", message="no further word", epoch=3, exit_status=137)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("[DatasetError] no images", RunFailed(error="DatasetError", message="no images")),
        ("[Odd] rank 3: gone", RunFailed(error="UnknownError", message="gone", rank=3)),
        ("just text", RunFailed(error="UnknownError", message="just text")),
    ],
)
def test_an_error_message_is_taken_apart_again(
    shared: Receiver, client: Client, job: int, message: str, event: RunFailed
) -> None:
    client.completion(failed(job, message, exit_code=3))
    kept = shared.events(str(job))[-1]
    assert isinstance(kept, RunFailed)
    assert (kept.error, kept.message, kept.rank) == (event.error, event.message, event.rank)
    assert (kept.exit_status, kept.traceback, kept.epoch) == (3, "Traceback …", 1)


def test_our_own_couriers_words_for_an_interruption_are_known_again(shared: Receiver, client: Client, job: int) -> None:
    client.completion(failed(job, "[UnknownError] interrupted: received SIGTERM"))
    assert shared.events(str(job)) == [RunInterrupted(reason="received SIGTERM", epoch=1)]


def test_what_is_no_finite_number_is_kept_as_what_it_is(shared: Receiver, client: Client, job: int) -> None:
    client.progress(epoch(job, 1, loss=None, non_finite={"loss": "NaN"}, note="text"))
    told = shared.events(str(job))
    assert EpochEnded(epoch=1, total_epochs=3, metrics={"lr": 0.01, "loss": "NaN"}) in told
    assert any(isinstance(event, MetricsSkipped) and list(event.reasons) == ["note"] for event in told)
    (curve,) = shared.get(f"/runs/{job}/series", metric="loss")
    assert (curve["x"], curve["low"], curve["not_finite"]) == ([1], [None], [1])


def test_units_of_progress_and_stored_checkpoints_are_known_again(shared: Receiver, client: Client, job: int) -> None:
    client.progress(started(job) | {"metrics": {"extra_metrics": {"category": "upload", "current": 2, "total": 8}}})
    data = {"name": "best", "s3_uri": "s3://b/best.pt", "sha256": "ab", "size": 3, "metrics": {"mAP": 0.5}, "epoch": 2}
    client.log(log(job, event_type="checkpoint", data=data))
    assert shared.events(str(job))[1:] == [
        ProgressMade(current=2, total=8, category="upload"),
        CheckpointStored(
            name="best", uri="s3://b/best.pt", manifest_uri="", sha256="ab", size=3, metrics={"mAP": 0.5}, epoch=2
        ),
    ]


def test_more_of_a_validation_than_events_have_a_place_for_is_kept_beside_it(
    shared: Receiver, client: Client, job: int
) -> None:
    client.validation(validation(job, confusion_matrix=[[3, 1], [0, 4]], primary_metric_value="NaN"))
    result, more = shared.events(str(job))
    assert isinstance(result, Validated)
    assert (result.is_best, result.per_class, result.primary) == (True, {"cat": {"AP": 0.5}}, "mAP50-95")
    assert isinstance(more, Logged)
    assert more.data == {"confusion_matrix": [[3, 1], [0, 4]]}


def test_an_inference_is_a_run_beside_the_training_of_the_same_number(
    shared: Receiver, client: Client, job: int
) -> None:
    client.progress(started(job))
    begin = {"type": "started", "job_id": job, "operation_type": "inference", "timestamp": now()}
    base = f"/test_inference/inference/jobs/{job}/callback"
    assert shared.post(f"{base}/started", begin).json()["status"] == "success"
    found = [{"class_id": 0, "class_name": "cat", "confidence": 0.9, "bbox": [0, 0, 1, 1]}]
    result = {"image_path": "a.jpg", "image_name": "a", "predictions": found, "inference_time_ms": 3.5}
    end = {
        "type": "inference_completed",
        "job_id": job,
        "status": "completed",
        "total_images": 1,
        "total_inference_time_ms": 3.5,
        "avg_inference_time_ms": 3.5,
        "results": [result],
        "timestamp": now(),
    }
    for _ in range(2):
        assert shared.post(f"{base}/completion", end).json()["job_status"] == "completed"
    assert shared.events(f"inference-{job}") == [
        RunStarted(operation="inference"),
        InferenceCompleted(total_images=1, total_time_ms=3.5, results=[result]),
        RunCompleted(),
    ]
    assert shared.run(str(job))["summary"]["status"] == "running"
    assert {one["run"] for one in shared.get(f"/jobs/{job}")["runs"]} == {str(job), f"inference-{job}"}


def test_an_export_keeps_its_result_and_an_odd_status_ends_nothing(shared: Receiver, job: int) -> None:
    base = f"/export/jobs/{job}/callback"
    shared.post(f"{base}/started", {"type": "started", "job_id": job, "operation_type": "export", "timestamp": now()})
    odd = shared.post(f"{base}/completion", {"status": "paused", "error_message": "wait"}).json()
    assert (odd["export_job_id"], odd["status"]) == (job, "running")
    body = {
        "type": "export_completed",
        "job_id": job,
        "status": "completed",
        "export_format": "onnx",
        "output_s3_uri": "s3://e/model.onnx",
        "file_size_bytes": 12,
        "metadata": {"input_shape": [640, 640, 3]},
        "timestamp": now(),
    }
    assert shared.post(f"{base}/completion", body).json()["status"] == "completed"
    uri, metadata = "s3://e/model.onnx", {"input_shape": [640, 640, 3]}
    exported = ExportCompleted(export_format="onnx", uri=uri, size=12, metadata=metadata)
    assert shared.events(f"export-{job}")[-2:] == [exported, RunCompleted()]


@pytest.mark.parametrize("base", ["/test", "/test_inference/test"])
def test_an_evaluation_is_taken_at_either_address_and_as_it_is_sent(shared: Receiver, job: int, base: str) -> None:
    body = {
        "test_run_id": job,
        "training_job_id": None,
        "status": "completed",
        "task_type": "detection",
        "metrics": {"mAP50": 0.7},
        "per_class_metrics": [{"class": "cat", "AP": 0.7}],
        "num_images": 4,
        "exit_code": 0,
    }
    assert shared.post(f"{base}/{job}/results", body).json()["job_status"] == "completed"
    assert shared.kinds(f"test-{job}") == ["run_started", "validated", "logged", "run_completed"]
    bad = {"test_run_id": job, "status": "failed", "error_message": "[DatasetError] none", "exit_code": 1}
    assert shared.post(f"{base}/{job}/results", bad).status_code == 200


def test_a_body_that_is_not_as_it_should_be_is_answered_with_its_fields(shared: Receiver, job: int) -> None:
    answer = shared.post(f"/training/jobs/{job}/callback/progress", {**epoch(job, 1), "progress_percent": 101})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "progress_percent"]
    answer = shared.post(f"/validation/jobs/{job}/results", {"job_id": job})
    assert {tuple(one["loc"]) for one in answer.json()["detail"]} >= {("body", "epoch"), ("body", "metrics")}
    assert not (shared.directory / str(job)).exists()


def test_a_run_that_belongs_to_another_job_is_not_written_into(shared: Receiver, job: int) -> None:
    from tests.receiver.serving import envelope

    event = envelope(str(job), 1, {"type": "run_started"})
    assert shared.post("/training/jobs/other/events", {"events": [event]}).json()["rejected"] == {}
    answer = shared.post(f"/training/jobs/{job}/callback/progress", started(job))
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run '{job}' belongs to job 'other'")
    again = shared.post(f"/training/jobs/{job}/events", {"events": [envelope(str(job), 2, {"type": "run_started"})]})
    assert again.json()["rejected"] == {f"{job}.0a1b2c3d-1.2": f"run '{job}' belongs to job 'other'"}
