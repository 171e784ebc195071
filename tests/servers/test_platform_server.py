"""The platform server itself: it keeps B's contract and our own, and misbehaves as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.servers.platform import Job, PlatformServer, Reply

PROGRESS = "/training/jobs/7/callback/progress"
COMPLETION = "/training/jobs/7/callback/completion"
LOGS = "/training/jobs/7/callback/logs"
VALIDATION = "/validation/jobs/7/results"
INFERENCE = "/test_inference/inference/jobs/7/callback/completion"
INFERENCE_STARTED = "/test_inference/inference/jobs/7/callback/started"
EXPORT = "/export/jobs/7/callback/completion"
EVENTS = "/training/jobs/7/events"
TLS = ssl.create_default_context()  # once: loading the certificates takes longer than a test
NOW = "2026-01-02T03:04:05+00:00"

BODIES: dict[str, dict[str, Any]] = {
    PROGRESS: {
        "job_id": 7,
        "status": "running",
        "current_epoch": 1,
        "total_epochs": 2,
        "progress_percent": 50.0,
        "metrics": {"loss": 0.5, "accuracy": None, "learning_rate": 0.01, "extra_metrics": {"mAP50": 0.25}},
    },
    COMPLETION: {
        "job_id": 7,
        "status": "completed",
        "total_epochs_completed": 2,
        "final_metrics": {"loss": 0.5, "accuracy": 0.0, "learning_rate": None, "extra_metrics": {}},
        "exit_code": 0,
        "best_checkpoint_path": "s3://bucket/best.pt",
    },
    LOGS: {
        "job_id": 7,
        "event_type": "trainer",
        "message": "hello",
        "level": "INFO",
        "data": {},
        "timestamp": NOW,
    },
    VALIDATION: {
        "type": "validation",
        "job_id": 7,
        "epoch": 1,
        "task_type": "detection",
        "primary_metric_name": "mAP50-95",
        "primary_metric_value": 0.5,
        "metrics": {"mAP50-95": 0.5},
        "is_best": True,
        "timestamp": NOW,
        "per_class_metrics": {"cat": {"ap": 0.5}},
    },
    INFERENCE_STARTED: {"type": "started", "job_id": 7, "operation_type": "inference", "timestamp": NOW},
    INFERENCE: {
        "type": "inference_completed",
        "job_id": 7,
        "status": "completed",
        "total_images": 1,
        "total_inference_time_ms": 3.0,
        "avg_inference_time_ms": 3.0,
        "results": [
            {
                "image_path": "a.jpg",
                "predictions": [{"class_id": 0, "class_name": "cat", "confidence": 0.5, "bbox": [0, 0, 1, 1]}],
            }
        ],
        "timestamp": NOW,
    },
    "/export/jobs/7/callback/started": {
        "type": "started",
        "job_id": 7,
        "operation_type": "export",
        "timestamp": NOW,
    },
    EXPORT: {
        "type": "export_completed",
        "job_id": 7,
        "status": "completed",
        "export_format": "onnx",
        "output_s3_uri": "s3://bucket/model.onnx",
        "file_size_bytes": 3,
        "metadata": {},
        "timestamp": NOW,
    },
}
FAILURE = {
    "job_id": 7,
    "status": "failed",
    "total_epochs_completed": 1,
    "error_message": "[ResourceError] out of memory",
    "exit_code": 1,
    "traceback": "Traceback …",
}


def events(*numbers: int, **fields: Any) -> dict[str, Any]:
    envelope = {"run": "r", "attempt": 1, "segment": 1, "time": 1.5, "event": {"type": "logged"}, **fields}
    return {"events": [{"id": f"r.1.{number}", "seq": number, **envelope} for number in numbers]}


def half_open(server: PlatformServer, text: str) -> socket.socket:
    """A connection on which the text was sent."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port or 0), timeout=10)
    connection.sendall(text.encode())
    return connection


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",), batch=True) as running:
        yield running


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    name = "receiver" if "receiver" in request.fixturenames else "server"
    with httpx.Client(base_url=request.getfixturevalue(name).url, timeout=10, verify=TLS) as opened:
        yield opened


def send(client: httpx.Client, path: str = PROGRESS, **changes: Any) -> httpx.Response:
    return client.post(path, json=BODIES[path] | changes)


class TestContractOfB:
    @pytest.mark.parametrize("path", BODIES)
    def test_every_documented_body_is_taken_whole(
        self, server: PlatformServer, client: httpx.Client, path: str
    ) -> None:
        answer = send(client, path)
        assert answer.status_code == 200, answer.text
        assert server.posts(path) == [BODIES[path]]
        assert server.unknown_fields == set()

    def test_the_answers_are_those_of_the_backend(self, server: PlatformServer, client: httpx.Client) -> None:
        taken = send(client).json()
        assert (taken["success"], taken["job_status"]) == (True, "running")
        validated = send(client, VALIDATION).json()
        assert validated == {"status": "success", "validation_result_id": 1, "job_id": 7, "epoch": 1}
        assert send(client, INFERENCE).json()["status"] == "success"
        exported = send(client, EXPORT).json()
        assert (exported["export_job_id"], exported["status"]) == (7, "completed")
        assert [request.answered for request in server.requests] == [200] * 4

    def test_a_repeated_progress_call_inserts_a_second_metric_row(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        send(client, metrics=None)
        send(client)
        send(client)
        row = {"epoch": 1, "loss": 0.5, "accuracy": None, "learning_rate": 0.01, "extra_metrics": {"mAP50": 0.25}}
        assert server.job("7").metrics == [row, row]

    def test_a_repeated_validation_replaces_the_first(self, server: PlatformServer, client: httpx.Client) -> None:
        send(client, VALIDATION)
        send(client, VALIDATION, primary_metric_value=0.75)
        assert [body["primary_metric_value"] for body in server.job("7").validations.values()] == [0.75]

    def test_nothing_guards_a_completed_job_against_running_again(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        send(client)
        send(client, COMPLETION)
        send(client)
        assert server.job("7").statuses == ["running", "completed", "running"]
        assert server.job("7").best_checkpoint_path == "s3://bucket/best.pt"

    def test_the_exit_code_wins_over_the_status(self, server: PlatformServer, client: httpx.Client) -> None:
        send(client, COMPLETION, exit_code=1)
        assert server.job("7").status == "failed"

    @pytest.mark.parametrize("path", [COMPLETION, INFERENCE, EXPORT])
    def test_every_kind_of_job_can_fail(self, server: PlatformServer, client: httpx.Client, path: str) -> None:
        assert client.post(path, json=FAILURE).status_code == 200
        assert server.job("7").status == "failed"
        assert server.job("7").error_message == "[ResourceError] out of memory"
        assert server.unknown_fields == set()

    def test_of_a_log_record_only_level_message_and_source_are_kept(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        send(client, LOGS)
        assert server.job("7").logs == [{"log_type": "trainer", "content": "[INFO] hello"}]

    def test_past_2000_log_rows_the_newest_are_deleted(self, server: PlatformServer, client: httpx.Client) -> None:
        for number in range(2001):
            send(client, LOGS, message=str(number))
        rows = server.job("7").logs
        assert (len(rows), rows[-1]["content"]) == (1900, "[INFO] 1899")

    def test_an_inference_has_one_row_per_image(self, server: PlatformServer, client: httpx.Client) -> None:
        send(client, INFERENCE_STARTED)
        send(client, INFERENCE)
        assert server.job("7").statuses == ["running", "completed"]
        assert [row["image_path"] for row in server.job("7").images] == ["a.jpg"]

    @pytest.mark.parametrize(
        ("path", "changes", "where"),
        [
            (PROGRESS, {"progress_percent": 100.1}, ["body", "progress_percent"]),
            (PROGRESS, {"job_id": "7"}, ["body", "job_id"]),
            (PROGRESS, {"current_epoch": "one"}, ["body", "current_epoch"]),
            (PROGRESS, {"current_epoch": None}, ["body", "current_epoch"]),
            (PROGRESS, {"metrics": {"loss": "low"}}, ["body", "metrics", "loss"]),
            (COMPLETION, {"job_id": "7"}, ["body", "job_id"]),
            (COMPLETION, {"exit_code": None}, ["body", "exit_code"]),
            (LOGS, {"level": "FATAL"}, ["body", "level"]),
            (LOGS, {"timestamp": "2026-01-02T03:04:05"}, ["body", "timestamp"]),
            (VALIDATION, {"primary_metric_value": None}, ["body", "primary_metric_value"]),
            (VALIDATION, {"per_class_metrics": [{"cat": 1}]}, ["body", "per_class_metrics"]),
            (INFERENCE, {"results": [{"image_name": "a", "predictions": []}]}, ["body", "results", "0"]),
            (INFERENCE, {"status": "running"}, ["body", "status"]),
        ],
    )
    def test_a_body_against_the_schema_is_refused_and_changes_nothing(
        self, server: PlatformServer, client: httpx.Client, path: str, changes: dict[str, Any], where: list[str]
    ) -> None:
        answer = send(client, path, **changes)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][:2] == where[:2]
        assert server.posts(path) == []
        assert server.job("7") == Job("7")
        assert server.requests[0].json == BODIES[path] | changes

    @pytest.mark.parametrize("changes", [{"current_epoch": "1"}, {"metrics": {"loss": "NaN"}}])
    def test_a_text_that_is_a_number_is_taken_as_pydantic_does(
        self, client: httpx.Client, changes: dict[str, Any]
    ) -> None:
        assert send(client, PROGRESS, **changes).status_code == 200

    @pytest.mark.parametrize("path", [PROGRESS, COMPLETION, LOGS, VALIDATION, INFERENCE_STARTED, INFERENCE])
    def test_an_empty_object_lacks_required_fields(
        self, server: PlatformServer, client: httpx.Client, path: str
    ) -> None:
        assert client.post(path, json={}).status_code == 422
        assert server.posts(path) == []

    @pytest.mark.parametrize("content", [b'{"job_id": NaN}', b"{", b"[]", b"\xff", b""])
    def test_what_is_no_strict_json_object_is_refused(self, client: httpx.Client, content: bytes) -> None:
        assert client.post(EXPORT, content=content).status_code == 422

    def test_json_under_another_content_type_is_refused(self, client: httpx.Client) -> None:
        answer = client.post(EXPORT, content=b"{}", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 422

    def test_an_unknown_job_is_404(self, server: PlatformServer, client: httpx.Client) -> None:
        answer = client.post("/training/jobs/8/callback/progress", json=BODIES[PROGRESS])
        assert (answer.status_code, answer.json()) == (404, {"detail": "Job 8 not found"})
        assert server.requests[0].answered == 404

    @pytest.mark.parametrize("path", ["/training/training/jobs/7/callback/progress", "/trainer-hooks", EVENTS])
    def test_an_unknown_route_is_404(self, client: httpx.Client, path: str) -> None:
        assert client.post(path, json={}).json() == {"detail": "Not Found"}
        assert client.get(path).status_code == 404

    def test_a_wrong_method_is_405(self, client: httpx.Client) -> None:
        assert client.get(PROGRESS).status_code == 405

    def test_fields_that_the_backend_drops_are_remembered(self, server: PlatformServer, client: httpx.Client) -> None:
        assert send(client, extra_data={"a": 1}, metrics={"mAP": 1.0}).status_code == 200
        send(client, INFERENCE, results=[{"image_path": "a", "predictions": [], "mask": 1}])
        assert server.unknown_fields == {
            "Progress.extra_data",
            "Progress.metrics.mAP",
            "InferenceCompleted.results.mask",
        }

    def test_opaque_job_ids_are_for_a_server_that_takes_them(self) -> None:
        body = BODIES[PROGRESS] | {"job_id": "night-run"}
        for integers, expected in ((True, 422), (False, 200)):
            with PlatformServer(integer_jobs=integers) as server:
                answer = httpx.post(f"{server.url}/training/jobs/night-run/callback/progress", json=body)
                assert answer.status_code == expected

    def test_a_required_token_can_be_rotated(self, server: PlatformServer, client: httpx.Client) -> None:
        server.require_token = "first"
        client.headers["Authorization"] = "Bearer first"
        assert send(client).status_code == 200
        server.require_token = "second"
        assert send(client).status_code == 401
        client.headers["Authorization"] = "Bearer second"
        assert send(client).status_code == 200
        assert len(server.posts(PROGRESS)) == 2


class TestBatchProtocol:
    def test_the_offer_names_the_protocol_and_its_limits(self, client: httpx.Client, receiver: PlatformServer) -> None:
        offer = {"protocol": "trainer-hooks/1", "max_events": 1000, "max_bytes": 4_000_000}
        assert client.get("/trainer-hooks").json() == offer
        receiver.max_events = 2
        assert client.get("/trainer-hooks").json() == offer | {"max_events": 2}

    def test_a_repeated_event_is_stored_once_and_acknowledged_again(
        self, client: httpx.Client, receiver: PlatformServer
    ) -> None:
        client.post(EVENTS, json=events(1, 2))
        again = client.post(EVENTS, json=events(2, 3, time=9))
        assert again.json() == {"stored": ["r.1.2", "r.1.3"], "rejected": {}}
        assert [event["seq"] for event in receiver.events.values()] == [1, 2, 3]
        assert receiver.events["r.1.2"]["time"] == 1.5
        assert receiver.arrivals == {"r.1.1": 1, "r.1.2": 2, "r.1.3": 1}

    def test_one_malformed_event_is_rejected_and_the_rest_is_stored(
        self, client: httpx.Client, receiver: PlatformServer
    ) -> None:
        batch = events(1, 2, 3)
        batch["events"][0]["event"] = {}
        batch["events"][1]["seq"] = "two"
        answer = client.post(EVENTS, json=batch).json()
        assert answer["stored"] == ["r.1.3"]
        assert answer["rejected"].keys() == {"r.1.1", "r.1.2"}
        assert receiver.events.keys() == {"r.1.3"}

    def test_types_can_be_rejected_at_will(self, client: httpx.Client, receiver: PlatformServer) -> None:
        receiver.reject_types["logged"] = "no logs today"
        answer = client.post(EVENTS, json=events(1)).json()
        assert answer == {"stored": [], "rejected": {"r.1.1": "no logs today"}}

    def test_an_event_without_an_id_refuses_the_whole_batch(
        self, client: httpx.Client, receiver: PlatformServer
    ) -> None:
        batch = events(1, 2)
        del batch["events"][1]["id"]
        assert client.post(EVENTS, json=batch).status_code == 422
        assert receiver.events == {}

    def test_too_much_at_once_is_413_and_stores_nothing(self, client: httpx.Client, receiver: PlatformServer) -> None:
        assert client.post(EVENTS, json=events(*range(1001))).status_code == 413
        receiver.max_bytes = 100
        assert client.post(EVENTS, json=events(1)).status_code == 413
        assert receiver.events == {}

    def test_jobs_tokens_and_methods_are_checked_here_too(self, client: httpx.Client, receiver: PlatformServer) -> None:
        assert client.post("/training/jobs/8/events", json=events(1)).status_code == 404
        assert client.get(EVENTS).status_code == 405
        receiver.require_token = "t"
        assert client.post(EVENTS, json=events(1)).status_code == 401
        assert client.get("/trainer-hooks").status_code == 401
        assert receiver.events == {}

    def test_the_callbacks_of_b_are_still_there(self, client: httpx.Client, receiver: PlatformServer) -> None:
        assert send(client).status_code == 200
        assert receiver.job("7").status == "running"


class TestFaults:
    def test_scripted_replies_come_in_order_and_then_it_behaves(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        server.script([Reply(503), Reply(429, headers={"Retry-After": "1"})])
        server.script([Reply(200, body=b"<html>login</html>", content_type="text/html")])
        answers = [send(client) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 429, 200, 200]
        assert answers[1].headers["retry-after"] == "1"
        assert (answers[2].text, answers[2].headers["content-type"]) == ("<html>login</html>", "text/html")
        assert [request.answered for request in server.requests] == [503, 429, 200, 200]
        assert [request.taken for request in server.requests] == [False, False, False, True]
        assert len(server.job("7").statuses) == 1

    def test_faults_can_be_kept_to_a_path(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(502)], path="/logs$")
        server.always(Reply(500), path="/progress$")
        assert [send(client, path).status_code for path in (PROGRESS, LOGS, PROGRESS, LOGS)] == [500, 502, 500, 200]
        server.always(Reply(410), path="/progress$")
        assert send(client).status_code == 410
        server.normal()
        assert send(client).status_code == 200

    def test_a_redirect_points_elsewhere(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(redirect="/login"), Reply(308, redirect="/login")])
        answers = [send(client), send(client)]
        assert [answer.status_code for answer in answers] == [302, 308]
        assert answers[0].headers["location"] == "/login"
        assert server.posts(PROGRESS) == []

    def test_a_delayed_answer_is_late_though_the_work_is_done(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        server.script([Reply(delay=30)])
        with pytest.raises(httpx.ReadTimeout):
            client.post(PROGRESS, json=BODIES[PROGRESS], timeout=0.2)
        assert len(server.posts(PROGRESS)) == 1
        assert server.requests[0].answered is None

    def test_a_short_delay_ends(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(503, delay=0.05)])
        answer = send(client)
        assert answer.status_code == 503
        assert answer.elapsed.total_seconds() >= 0.05

    def test_a_hanging_request_is_worked_on_when_released(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(hang=True)])
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(send, client)
            server.wait_for(lambda server: len(server.requests) == 1)
            assert server.posts(PROGRESS) == []
            server.release()
            assert answer.result(10).status_code == 200
        assert len(server.posts(PROGRESS)) == 1

    def test_a_dripping_answer_arrives_in_time_only_for_the_patient(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        server.script([Reply(drip=20_000), Reply(503, drip=1)])
        assert send(client).json()["success"] is True
        with pytest.raises(httpx.ReadTimeout):
            client.post(PROGRESS, json=BODIES[PROGRESS], timeout=0.2)

    def test_a_dripping_answer_begins_with_the_header_byte_by_byte(self, server: PlatformServer) -> None:
        server.always(Reply(drip=20))
        with half_open(server, f"GET {server.url} HTTP/1.1\r\n\r\n") as connection:
            assert connection.recv(100) == b"H"
            assert connection.recv(100) == b"T"

    def test_a_reset_breaks_the_answer_in_the_middle(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(reset=True), Reply(503, reset=True)])
        for _ in range(2):
            with pytest.raises(httpx.ReadError, match="reset"):
                send(client)
        assert len(server.posts(PROGRESS)) == 1
        assert [request.answered for request in server.requests] == [None, None]

    def test_a_lost_answer_leaves_the_work_done(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(commit_then_drop=True)])
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            send(client)
        assert len(server.job("7").metrics) == 1
        assert (server.requests[0].taken, server.requests[0].answered) == (True, None)

    def test_a_truncated_answer_is_shorter_than_it_says(self, server: PlatformServer, client: httpx.Client) -> None:
        server.script([Reply(truncate=True)])
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            send(client)
        assert send(client).status_code == 200

    def test_a_stopped_server_refuses_and_comes_back_with_all_it_knew(
        self, server: PlatformServer, client: httpx.Client
    ) -> None:
        send(client)
        address = server.url
        server.stop_listening()
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match="refused"):
                send(client)
        server.listen_again()
        assert server.url == address
        send(client)
        assert len(server.job("7").metrics) == 2

    def test_stopping_ends_connections_that_hang(self, server: PlatformServer, client: httpx.Client) -> None:
        server.always(Reply(hang=True))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(send, client)
            server.wait_for(lambda server: server.requests)
            server.stop_listening()
            assert isinstance(answer.exception(10), httpx.RemoteProtocolError)
        assert server.posts(PROGRESS) == []


class TestRecording:
    def test_a_request_is_recorded_as_it_came(self, server: PlatformServer, client: httpx.Client) -> None:
        client.put("/nowhere?a=1", content=b"not json", headers={"Idempotency-Key": "r.1.1"})
        (request,) = server.requests
        assert (request.method, request.path) == ("PUT", "/api/v1/nowhere?a=1")
        assert (request.body, request.json, request.answered) == (b"not json", None, 404)
        assert request.headers["idempotency-key"] == "r.1.1"

    def test_a_client_that_dies_while_it_sends_is_no_fault(self) -> None:
        head = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"
        with PlatformServer() as server:
            for cut in range(len(head)):
                half_open(server, head[:cut]).close()
            half_open(server, f"{head}1234").close()
            server.wait_for(lambda server: server.requests)
        assert [(one.body, one.answered) for one in server.requests] == [(b"1234", None)]

    def test_one_connection_carries_many_requests(self, server: PlatformServer, client: httpx.Client) -> None:
        before = threading.active_count()
        for _ in range(20):
            send(client)
        assert threading.active_count() == before + 1
        assert len(server.requests) == 20

    def test_waiting_in_vain_shows_what_had_arrived(self, server: PlatformServer, client: httpx.Client) -> None:
        send(client, progress_percent=101)
        with pytest.raises(AssertionError, match=r"(?s)1 requests.*POST .*/progress -> 422: .*101"):
            server.wait_for(lambda server: server.posts(PROGRESS), timeout=0.05)

    def test_many_clients_at_once_lose_nothing(self, receiver: PlatformServer) -> None:
        def deliver(number: int) -> int:
            with httpx.Client(base_url=receiver.url, verify=TLS) as client:
                return [client.post(EVENTS, json=events(number * 50 + n)).status_code for n in range(50)].count(200)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(deliver, range(8))) == [50] * 8
        assert len(receiver.events) == len(receiver.requests) == 400

    def test_a_fault_of_the_server_itself_is_not_hidden(self) -> None:
        text = "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"
        with (
            pytest.raises(ValueError, match="many"),
            PlatformServer() as server,
            half_open(server, text) as connection,
        ):
            assert connection.recv(1) == b""

    def test_closing_ends_all_threads_whatever_the_clients_do(self) -> None:
        before = set(threading.enumerate())
        with ThreadPoolExecutor(4) as pool:
            head = "POST / HTTP/1.1\r\nContent-Length: 9\r\n"
            with PlatformServer() as server, half_open(server, head), half_open(server, f"{head}\r\n1234"):
                replies = [Reply(hang=True), Reply(drip=1), Reply(delay=60), Reply(503, delay=60)]
                server.script(replies)
                waiting = [pool.submit(httpx.post, server.url, timeout=60) for _ in replies]
                server.wait_for(lambda server: len(server.requests) == len(replies))
                server.stop_listening()
                assert all(isinstance(one.exception(10), httpx.TransportError) for one in waiting)
        assert set(threading.enumerate()) == before
