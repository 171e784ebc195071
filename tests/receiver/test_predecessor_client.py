"""Whole jobs as predecessor B's unmodified client and its trainers tell them: plain HTTP, in their order and shape.

One session, no token, no key; each status other than 2xx raises, as its client does. What single calls come to is in
test_callbacks.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver

_jobs = itertools.count(1)
WEIGHTS = b"PK\x03\x04 weights" * 1000


class TrainerClient:
    """Predecessor B's client: CALLBACK_URL, JOB_ID, 50 log records in a buffer, each sent by a call of its own."""

    def __init__(self, url: str, job: int) -> None:
        self.job = job
        self._operation = "training"
        self._buffer: list[dict[str, Any]] = []
        self._http = httpx.Client(base_url=url, trust_env=False, headers={"Content-Type": "application/json"})

    def report_started(self, operation: str, total_epochs: int = 100) -> None:
        self._operation = operation
        if operation == "training":
            body = {"status": "running", "current_epoch": 0, "total_epochs": total_epochs, "progress_percent": 0.0}
            self._post("/training", "callback/progress", {**body, "metrics": None, "checkpoint_path": None})
        else:
            body = {"type": "started", "operation_type": operation, "timestamp": _now()}
            self._post(self._base, "callback/started", body)

    def report_progress(self, epoch: int, total: int, metrics: dict[str, float], **extra: Any) -> None:
        told = {
            "loss": metrics.get("loss"),
            "accuracy": metrics.get("accuracy") or metrics.get("mAP50-95"),
            "learning_rate": metrics.get("learning_rate") or metrics.get("lr"),
            "extra_metrics": metrics,
        }
        body = {
            "status": "running",
            "current_epoch": epoch,
            "total_epochs": total,
            "metrics": told,
            "extra_data": extra,
        }
        self._post("/training", "callback/progress", {**body, "progress_percent": epoch / total * 100})

    def report_validation(self, epoch: int, primary: tuple[str, float], metrics: dict[str, float]) -> None:
        body = {"type": "validation", "epoch": epoch, "task_type": "detection", "metrics": metrics, "is_best": True}
        named = {"primary_metric_name": primary[0], "primary_metric_value": primary[1], "class_names": ["cat", "dog"]}
        per_class = {"cat": {"AP": 0.5}, "dog": {"AP": 0.7}}
        images = {"confusion_matrix": f"s3://results/{self.job}/confusion_matrix.png"}
        more = {"timestamp": _now(), "per_class_metrics": per_class, "visualization_urls": images}
        self._post("/validation", "results", body | named | more)

    def upload(self, name: str, content: bytes) -> str:
        wanted = {"checkpoint_filename": name}
        told = (
            self._http.post(f"/training/jobs/{self.job}/checkpoints/upload-url", json=wanted).raise_for_status().json()
        )
        httpx.put(told["upload_url"], content=content, trust_env=False).raise_for_status()
        assert told["expires_in"] == 3600
        return str(told["object_key"])

    def report_completed(self, epochs: int, metrics: dict[str, float], **checkpoints: str) -> None:
        final = {"loss": metrics.get("loss"), "accuracy": None, "learning_rate": None, "extra_metrics": metrics}
        body = {"status": "completed", "total_epochs_completed": epochs, "final_metrics": final, "exit_code": 0}
        paths = {f"{name}_checkpoint_path": path for name, path in checkpoints.items()}
        self._post("/training", "callback/completion", {**body, **paths, "extra_data": {}})

    def report_failed(self, error_type: str, message: str, traceback: str) -> None:
        body = {"status": "failed", "total_epochs_completed": 0, "error_message": f"[{error_type}] {message}"}
        self._post(self._base, "callback/completion", {**body, "exit_code": 1, "traceback": traceback})

    def report_inference_completed(self, results: list[dict[str, Any]], seconds: float) -> None:
        body = {"type": "inference_completed", "status": "completed", "total_images": len(results), "results": results}
        times = {"total_inference_time_ms": seconds * 1000, "avg_inference_time_ms": seconds * 1000 / len(results)}
        self._post(self._base, "callback/completion", {**body, **times, "timestamp": _now()})

    def report_export_completed(self, export_format: str, uri: str, size: int, metadata: dict[str, Any]) -> None:
        body = {"type": "export_completed", "status": "completed", "export_format": export_format, "metadata": metadata}
        self._post(
            self._base,
            "callback/completion",
            {**body, "output_s3_uri": uri, "file_size_bytes": size, "timestamp": _now()},
        )

    def log(self, message: str, level: str = "INFO", **data: Any) -> None:
        record = {"event_type": "trainer", "message": message, "level": level, "data": data, "timestamp": _now()}
        if level == "ERROR":  # at once, and so in front of those that wait
            self._post("/training", "callback/logs", record)
            return
        self._buffer.append(record)
        if len(self._buffer) >= 50:
            self.flush_logs()

    def log_event(self, event_type: str, message: str, **data: Any) -> None:
        body = {"type": "log_event", "event_type": event_type, "message": message, "level": "INFO", "timestamp": _now()}
        self._post("/training", "callback/logs", {**body, **({"data": data} if data else {})})

    def flush_logs(self) -> None:
        waiting, self._buffer = self._buffer, []
        for record in waiting:
            self._post("/training", "callback/logs", record)

    def close(self) -> None:
        self.flush_logs()
        self._http.close()

    @property
    def _base(self) -> str:
        return {"training": "/training", "inference": "/test_inference/inference", "export": "/export"}[self._operation]

    def _post(self, base: str, call: str, body: dict[str, Any]) -> None:
        answer = self._http.post(f"{base}/jobs/{self.job}/{call}", json={"job_id": self.job, **body})
        answer.raise_for_status()
        assert isinstance(answer.json(), dict)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


@pytest.fixture
def client(shared: Receiver) -> Iterator[TrainerClient]:
    """The client of a job of the test's own."""
    told = TrainerClient(shared.url, next(_jobs))
    yield told
    told.close()


def train(client: TrainerClient, epochs: int = 3) -> dict[str, float]:
    """What B's trainer for Ultralytics tells in its epochs."""
    metrics: dict[str, float] = {}
    for epoch in range(1, epochs + 1):
        metrics = {"loss": 1.5 / epoch, "box_loss": 1.5 / epoch, "mAP50": 0.2 * epoch, "mAP50-95": 0.1 * epoch}
        client.report_progress(epoch, epochs, metrics, raw_metrics={"train/box_loss": 1.5 / epoch})
        client.log(f"epoch {epoch}", epoch=epoch)
    return metrics


def test_a_training_from_its_beginning_to_a_checkpoint_that_can_be_fetched(
    shared: Receiver, client: TrainerClient
) -> None:
    client.report_started("training", 3)
    client.log_event("training", "the dataset is there", dataset="s3://datasets/7")
    metrics = train(client)
    best, last = client.upload("best.pt", WEIGHTS), client.upload("last.pt", WEIGHTS + b"last")
    client.log_event("checkpoint", "stored best", s3_uri=best, metrics=metrics)
    client.report_validation(3, ("mAP50-95", metrics["mAP50-95"]), metrics)
    client.report_completed(3, metrics, best=best, last=last)
    client.flush_logs()
    run = str(client.job)
    summary = shared.run(run)["summary"]
    assert (summary["status"], summary["done"], summary["total"], summary["share"]) == ("completed", 3, 3, 1.0)
    (curve,) = shared.get(f"/runs/{run}/series", metric="mAP50-95")
    assert (curve["x"], curve["mean"]) == ([1, 2, 3], [0.1, 0.2, pytest.approx(0.3)])
    said = [record["message"] for record in shared.get(f"/runs/{run}/logs", level="INFO")["records"]]
    assert said == ["the dataset is there", "stored best", "epoch 1", "epoch 2", "epoch 3"]
    assert shared.http.get(f"/runs/{run}/checkpoints/best").content == WEIGHTS
    assert shared.http.get(f"/runs/{run}/checkpoints/last").content == WEIGHTS + b"last"


def test_hundreds_of_log_records_with_an_error_that_overtakes_them(shared: Receiver, client: TrainerClient) -> None:
    for number in range(120):
        client.log(f"line {number}", number=number)
    client.log("broken", "ERROR")
    client.flush_logs()
    records = shared.get(f"/runs/{client.job}/logs", tail=1000)["records"]
    assert [record["message"] for record in records] == [
        *(f"line {number}" for number in range(100)),
        "broken",
        *(f"line {number}" for number in range(100, 120)),
    ]
    assert records[7]["data"] == {"number": 7}


def test_a_training_that_fails_and_is_started_again_by_its_cluster(shared: Receiver, client: TrainerClient) -> None:
    client.report_started("training", 3)
    client.log("CUDA out of memory", "ERROR")
    client.report_failed("ResourceError", "CUDA out of memory", "Traceback (most recent call last): …")
    again = TrainerClient(shared.url, client.job)
    again.report_started("training", 3)
    again.report_completed(3, train(again))
    again.close()
    first, second = shared.run(str(client.job))["attempts"]
    assert (first["status"], first["failure"]["kind"], first["failure"]["message"]) == (
        "failed",
        "ResourceError",
        "CUDA out of memory",
    )
    assert (second["number"], second["status"], second["done"]) == (2, "completed", 3)


def test_an_inference_whose_log_goes_to_the_trainings_address(shared: Receiver, client: TrainerClient) -> None:
    client.report_started("inference")
    client.log("2 images")
    found = {"class_id": 0, "class_name": "cat", "confidence": 0.9, "bbox": [0.0, 0.0, 5.0, 5.0]}
    image = {"image_path": "images/a.jpg", "image_name": "a.jpg", "predictions": [found], "inference_time_ms": 3.5}
    client.report_inference_completed([{**image, "num_detections": 1}, {**image, "predictions": []}], 0.007)
    client.close()
    run = f"inference-{client.job}"
    assert shared.run(run)["summary"]["status"] == "completed"
    assert shared.get(f"/runs/{client.job}/logs")["records"][0]["message"] == "2 images"


@pytest.mark.parametrize("operation", ["inference", "export"])
def test_another_operation_that_fails(shared: Receiver, client: TrainerClient, operation: str) -> None:
    client.report_started(operation)
    client.report_failed("CheckpointError", "no such checkpoint", "Traceback …")
    failure = shared.run(f"{operation}-{client.job}")["attempts"][0]["failure"]
    assert (failure["kind"], failure["message"]) == ("CheckpointError", "no such checkpoint")
    assert shared.http.get(f"/runs/{client.job}").status_code == 404


def test_an_export_with_what_is_said_of_its_model(shared: Receiver, client: TrainerClient) -> None:
    client.report_started("export")
    metadata = {"framework": "ultralytics", "input_shape": [640, 640, 3], "output_shape": [[1, 84, 8400]]}
    client.report_export_completed("onnx", f"s3://exports/{client.job}/model.onnx", 12_000_000, metadata)
    run = shared.run(f"export-{client.job}")
    assert (run["summary"]["status"], run["summary"]["operation"]) == ("completed", "export")


def test_an_evaluation_by_the_script_that_has_no_client(shared: Receiver) -> None:
    """It fails without `task_type`, and gives its classes as a list: B's own backend refuses both."""
    done = {
        "test_run_id": 70,
        "training_job_id": None,
        "status": "completed",
        "task_type": "detection",
        "metrics": {"mAP50": 0.7},
        "per_class_metrics": [{"class": "cat", "AP": 0.7}],
        "class_names": ["cat"],
        "num_images": 4,
        "exit_code": 0,
    }
    failed = {"test_run_id": 71, "status": "failed", "error_message": "no images", "traceback": "…", "exit_code": 1}
    for number, body in ((70, done), (71, failed)):
        httpx.post(f"{shared.url}/test/{number}/results", json=body, trust_env=False).raise_for_status()
    assert [shared.run(f"test-{number}")["summary"]["status"] for number in (70, 71)] == ["completed", "failed"]
