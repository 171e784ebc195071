"""Attacks on the receiver, each by its name: what comes of it, and that the server answers the next one as before.

docs/receiver.md lists them all, with those that stand beside what they attack: in test_guards.py, test_objects.py,
test_checkpoints.py, test_images.py and test_address.py.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hmac
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver, envelope
from trainer_hooks.events import EpochEnded
from trainer_hooks.journal import Journal
from trainer_hooks.receiver.tokens import Tokens

TOKEN = "a-token-of-the-server's-0123456789"
JSON = {"Content-Type": "application/json"}
CLOSE = "Host: localhost\r\nConnection: close\r\n"
LOG = {"job_id": 1, "event_type": "x", "message": "m", "level": "INFO", "timestamp": "2024-01-01T00:00:00Z"}
PROGRESS = {"job_id": 1, "status": "running", "current_epoch": 1, "total_epochs": 2, "progress_percent": 50}
ELSEWHERE = (
    "%2e%2e",
    "%2e%2e%2fsecret",
    "%252e%252e",
    "%00",
    "a%00b",
    "..%5c..%5csecret",
    "%2fetc%2fpasswd",
    "%c0%ae%c0%ae%2fsecret",
    "%ed%a0%80",
    "%e2%80%ae",
    "%0d%0aX-Evil:%201",
    "%22",
    "a" * 600,
)
BOMB = gzip.compress(b'{"events":[]}' + b" " * 5_000_000)
FREE_FORM = [
    "/training/jobs/bombs/events",
    "/training/jobs/bombs/heartbeat",
    "/training/jobs/bombs/callback/logs",
    "/training/jobs/bombs/callback/progress",
    "/validation/jobs/bombs/results",
    "/jobs/bombs/cancel",
    "/trainer-hooks/models",
    "/trainer-hooks/data-collections",
]


@pytest.fixture(autouse=True)
def _unharmed(shared: Receiver) -> Iterator[None]:
    """After each attack the server is there, and has met nothing that it did not expect."""
    yield
    assert shared.http.get("/runs").status_code == 200
    assert "Traceback" not in "".join(shared.said)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Receiver(tmp_path_factory.mktemp("locked"), token=TOKEN) as receiver:
        yield receiver


def raw(receiver: Receiver, request: str | bytes) -> bytes:
    """The answer to these very bytes, to the connection's end; none where it was cut for what had been sent."""
    answer = b""
    with socket.create_connection(receiver.place, timeout=20) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request.encode() if isinstance(request, str) else request)
        while part := connection.recv(65536):
            answer += part
    return answer


def send(receiver: Receiver, path: str, content: bytes, **headers: str) -> httpx.Response:
    return receiver.http.post(path, content=content, headers={**JSON, **headers})


def told(event: dict[str, Any], part: bytes, run: str) -> bytes:
    """A batch of one event, in which that JSON stands for the text "HERE"."""
    return json.dumps({"events": [envelope(run, 1, event)]}).encode().replace(b'"HERE"', part)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_a_jobs_token_beyond_its_job(locked: Receiver) -> None:
    headers = {"Authorization": f"Bearer {Tokens(TOKEN).of_job('7')}"}
    for method, path in (
        ("GET", "/runs/7"),
        ("GET", "/runs/7/events"),
        ("GET", "/changes"),
        ("GET", "/runs/7/checkpoints/best"),
        ("GET", "/runs/7/images/a.png"),
        ("GET", "/training/jobs/7/checkpoints/best.pt/download-url"),
        ("PUT", "/training/jobs/8/runs/7/images/a.png"),
        ("POST", "/training/jobs/7/../8/events"),
        ("POST", "/training/jobs/7%2F..%2F8/events"),
        ("POST", "/trainer-hooks/data-collections"),
        ("GET", "/objects/7/best.pt?expires=9999999999&signature=0"),
    ):
        answer = httpx.request(method, locked.url + path, headers=headers, trust_env=False)
        assert answer.status_code in (401, 403), path


def test_a_jobs_token_made_for_another_id_in_the_same_letters(locked: Receiver) -> None:
    """Base64 has several texts for the same bytes: none but the one that the server makes counts."""
    name, _, proof = Tokens(TOKEN).of_job("77").partition(".")
    for other in (name + "=", name + "==", name[:-1] + chr(ord(name[-1]) + 1), base64.b64encode(b"77").decode()):
        headers = {"Authorization": f"Bearer {other}.{proof}"}
        if other != name:
            assert httpx.get(f"{locked.url}/trainer-hooks", headers=headers, trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/runs/{}/logs",
        "/runs/{}/ledger",
        "/runs/{}/checkpoints/best",
        "/runs/7/checkpoints/{}",
        "/runs/7/images/{}",
        "/jobs/{}",
        "/trainer-hooks/models/{}",
        "/trainer-hooks/models/{}/file",
        "/trainer-hooks/data-collections/{}",
        "/trainer-hooks/jobs/{}",
        "/training/jobs/{}/checkpoints/best.pt/download-url",
        "/training/jobs/7/checkpoints/{}/download-url",
        "/objects/7/{}?expires=9999999999&signature=0",
    ],
)
def test_a_name_that_would_lead_elsewhere(shared: Receiver, path: str) -> None:
    (shared.directory / "secret").write_text("what nobody may see")
    for name in ELSEWHERE:
        answer = raw(shared, f"GET /api/v1{path.format(name)} HTTP/1.1\r\n{CLOSE}\r\n")
        assert (name, int(answer.split()[1]) in (200, 400, 403, 404, 422)) == (name, True)
        assert b"nobody may see" not in answer
        assert b"root:" not in answer
        assert b"\nX-Evil" not in answer


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1", 'a"; filename="b', "a\u202egpj.exe", "\ud800", "a;b", "ä", "x" * 250]
)
def test_a_file_name_that_would_write_headers(shared: Receiver, name: str) -> None:
    body = json.dumps({"checkpoint_filename": name}).encode()
    answer = send(shared, "/training/jobs/names/checkpoints/upload-url", body)
    assert answer.status_code in (200, 400, 422)
    if answer.status_code == 200:
        assert httpx.put(answer.json()["upload_url"], content=b"x", trust_env=False).status_code == 201
        quoted = answer.json()["object_key"].rpartition("/")[2]
        there = shared.http.get(f"/training/jobs/names/checkpoints/{quoted}/download-url").json()["download_url"]
        headers = httpx.get(there, trust_env=False).headers
        assert headers["content-disposition"].startswith("attachment; filename")
        assert "\n" not in headers["content-disposition"]
        assert headers["content-type"] == "application/octet-stream"


def test_a_checkpoints_name_that_would_write_headers(shared: Receiver) -> None:
    send(shared, "/training/jobs/heads/checkpoints/upload-url", b'{"checkpoint_filename": "b.pt"}')
    place = shared.directory / ".#receiver" / "objects" / "heads"
    place.mkdir(parents=True)
    (place / "b.pt").write_bytes(b"x")
    name = 'x"\r\nX-Evil: 1'
    stored = {"type": "checkpoint_stored", "name": name, "uri": "checkpoints/job-heads/b.pt", "manifest_uri": ""}
    event = {**stored, "size": 1, "sha256": 'ab"\r\nX-Evil: 1'}
    assert send(shared, "/training/jobs/heads/events", told(event, b"", "heads")).json()["rejected"] == {}
    answer = shared.http.get("/runs/heads/checkpoints/x%22%0d%0aX-Evil:%201")
    assert (answer.status_code, answer.content, "x-evil" in answer.headers) == (200, b"x", False)


def test_a_link_that_somebody_has_put_among_the_objects(shared: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    there = shared.get("/training/jobs/linked/checkpoints/a.pt/download-url")["download_url"]
    folder = shared.directory / ".#receiver" / "objects"
    folder.mkdir(exist_ok=True)
    (folder / "linked").symlink_to(tmp_path)
    (tmp_path / "a.pt").symlink_to(tmp_path / "secret")
    assert httpx.get(there, trust_env=False).status_code == 404


def test_an_address_whose_time_is_over(shared: Receiver) -> None:
    shared.post("/training/jobs/old/checkpoints/upload-url", {"checkpoint_filename": "a.pt"})
    secret = (shared.directory / ".#receiver" / "signing.key").read_bytes()
    for expires, status in ((int(time.time()) - 1, 403), (int(time.time()) + 60, 201)):
        said = f"PUT\ncheckpoints/job-old/a.pt\n{expires}".encode()
        query = {"expires": expires, "signature": hmac.new(secret, said, "sha256").hexdigest()}
        answer = httpx.put(f"{shared.url}/objects/old/a.pt", params=query, content=b"x", trust_env=False)
        assert answer.status_code == status


def test_a_head_without_end(shared: Receiver) -> None:
    many = "".join(f"X-{number}: {'y' * 50}\r\n" for number in range(5000))
    for endless in (f"X: {'a' * 200_000}\r\n", many):
        answer = raw(shared, f"GET /api/v1/runs HTTP/1.1\r\n{CLOSE}{endless}\r\n")
        assert not answer or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "head",
    [
        "Host: localhost\r\nHost: evil.example\r\nConnection: close\r\n",
        "Connection: close\r\n",
        f"{CLOSE}Content-Length: 2\r\nContent-Length: 3\r\n",
        f"{CLOSE}Content-Length: -2\r\n",
        f"{CLOSE}Content-Length: 2, 2, 3\r\n",
        f"{CLOSE}Transfer-Encoding: identity, chunked\r\n",
        f"{CLOSE}X-Evil\r\n",
    ],
)
def test_a_request_that_two_servers_would_read_differently(shared: Receiver, head: str) -> None:
    answer = raw(shared, f"POST /api/v1/jobs/smuggled/cancel HTTP/1.1\r\n{head}\r\n{{}}")
    assert int(answer.split()[1]) in (400, 501)
    assert shared.get("/jobs/smuggled")["job_status"] == "pending"


def test_a_websocket(shared: Receiver) -> None:
    upgrade = (
        "GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(shared.place, timeout=20) as connection:
        connection.sendall(upgrade.encode())
        assert b" 101 " not in connection.recv(100)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "DELETE", "EVIL"])
def test_a_method_that_nothing_has(shared: Receiver, method: str) -> None:
    answer = raw(shared, f"{method} /api/v1/runs HTTP/1.1\r\n{CLOSE}Cookie: secret\r\n\r\n")
    assert int(answer.split()[1]) in (400, 404, 405)
    assert b"secret" not in answer
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_a_body_that_a_form_of_another_page_could_send(shared: Receiver, kind: str) -> None:
    assert send(shared, "/jobs/formed/cancel", b'{"reason": "evil"}', **{"Content-Type": kind}).status_code == 415
    assert shared.get("/jobs/formed")["job_status"] == "pending"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_a_body_that_unpacks_to_more(shared: Receiver, encoding: str) -> None:
    assert send(shared, "/training/jobs/bombs/events", BOMB, **{"Content-Encoding": encoding}).status_code == 415


@pytest.mark.parametrize("path", FREE_FORM)
@pytest.mark.parametrize("bomb", [nested(100_000), b"[" * 100_000 + b"]" * 100_000, b"[" * 200_000, nested(300)])
def test_json_without_bottom(shared: Receiver, path: str, bomb: bytes) -> None:
    assert send(shared, path, bomb).status_code in (400, 422)


@pytest.mark.parametrize("depth", [110, 300, 600])
def test_json_that_is_too_deep_inside_what_is_kept(shared: Receiver, depth: int) -> None:
    run = f"deep{depth}"
    for event in (
        {"type": "logged", "level": "INFO", "message": "x", "data": "HERE"},
        {"type": "of later", "a": "HERE"},
    ):
        answer = send(shared, f"/training/jobs/{run}/events", told(event, nested(depth), run))
        assert "more than 100 deep" in answer.text
    assert not (shared.directory / run).exists()
    log = json.dumps({**LOG, "data": "HERE"}).encode().replace(b'"HERE"', nested(depth))
    assert send(shared, "/training/jobs/bombs/callback/logs", log).status_code == 400


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "1e999", "18446744073709551616", "NaN", "Infinity"])
def test_numbers_that_nobody_can_count_with(shared: Receiver, number: str) -> None:
    run = f"numbers{number[:3]}{len(number)}"
    for field in ("epoch", "total_epochs", "duration"):
        event = {"type": "epoch_ended", "epoch": 1, "metrics": {}} | {field: "HERE"}
        answer = send(shared, f"/training/jobs/{run}/events", told(event, number.encode(), run))
        assert answer.status_code in (200, 422)
        assert ("more than 64 bits" in answer.text) == (number.lstrip("-").isdecimal() and field != "duration")
    metric = told({"type": "epoch_ended", "epoch": 1, "metrics": {"m": "HERE"}}, number.encode(), run)
    assert send(shared, f"/training/jobs/{run}/events", metric).status_code in (200, 422)
    for field in ("current_epoch", "progress_percent", "epoch_duration_seconds"):
        body = json.dumps({**PROGRESS, field: "HERE"}).replace('"HERE"', number)
        assert send(shared, f"/training/jobs/{run}/callback/progress", body.encode()).status_code in (
            200,
            400,
            409,
            422,
        )
    extra = json.dumps({**PROGRESS, "metrics": {"extra_metrics": {"m": "HERE"}}}).replace('"HERE"', number)
    assert send(shared, f"/training/jobs/{run}/callback/progress", extra.encode()).status_code in (200, 400)
    for path in ("", "/metrics", "/series?metric=m", "/logs", "/ledger"):
        assert shared.http.get(f"/runs/{run}{path}").status_code in (200, 404)


def test_numbers_in_a_journal_of_this_machine_that_nobody_can_count_with(shared: Receiver) -> None:
    journal = Journal(shared.directory / "home", run="home", attempt=1, writer="training")
    journal.append(EpochEnded(epoch=1, total_epochs=10**400, metrics={"m": 10**400, "n": -(10**30)}, duration=2.5))
    journal.append(EpochEnded(epoch=10**400, metrics={"m": 1.0}))
    journal.close()
    assert shared.http.get("/runs").status_code == 200
    for path in ("", "/series?metric=m", "/metrics"):
        assert shared.http.get(f"/runs/home{path}").status_code in (200, 404)


def test_a_field_that_is_there_twice(shared: Receiver) -> None:
    assert send(shared, "/jobs/twice/cancel", b'{"reason": "a", "reason": "b"}').json()["reason"] == "b"
    twice = b'{"events": [], "events": [{"id": "x"}]}'
    assert send(shared, "/training/jobs/twice/events", twice).status_code == 200


def test_texts_that_no_database_takes(shared: Receiver) -> None:
    text = rb'"a\u0000b \ud800 \ud83d\ude00 \\u0000 \\ud800"'
    kept = "a\\x00b \ufffd \U0001f600 \\u0000 \\ud800"
    log = json.dumps({**LOG, "message": "HERE", "data": {"k": "HERE"}}).encode().replace(b'"HERE"', text)
    assert send(shared, "/training/jobs/texts/callback/logs", log).status_code == 200
    event = {"type": "logged", "level": "INFO", "message": "HERE"}
    nul = told(event, rb'"a\u0000b"', "texts")
    assert send(shared, "/training/jobs/texts/events", nul).json()["rejected"] == {}
    found = {record["message"]: record["data"] for record in shared.get("/runs/texts/logs")["records"]}
    assert found == {kept: {"k": kept}, "a\\x00b": {}}
    for wrong in (b'{"message": "\xff"}', b'"\xff"', b"\xef\xbb\xbf{}", "{}".encode("utf-16")):
        assert send(shared, "/training/jobs/texts/callback/logs", wrong).status_code in (400, 422)


def test_scripts_in_every_name_and_text_come_back_as_json(shared: Receiver) -> None:
    script = "<script>alert(1)</script>"
    events = [
        {"type": "run_started", "model": script, "params": {script: script}, "class_names": [script]},
        {"type": "epoch_ended", "epoch": 1, "metrics": {script: 1.0}},
        {"type": "logged", "level": "ERROR", "message": script, "source": script, "data": {script: script}},
        {"type": "run_failed", "error": "UnknownError", "message": script, "traceback": script},
    ]
    body = {"events": [envelope(script, number, event) for number, event in enumerate(events, 1)]}
    assert shared.post("/training/jobs/scripts/events", body).json()["rejected"] == {}
    run = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    for path in ("", "/metrics", f"/series?metric={run}", "/logs", "/ledger", "/checkpoints/x", "/no/such/thing"):
        answer = shared.http.get(f"/runs/{run}{path}")
        assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == (
            "application/json",
            "nosniff",
        )


def test_what_was_sent_wrongly_is_not_sent_back(shared: Receiver) -> None:
    body = json.dumps({**PROGRESS, "current_epoch": "secret" * 10_000}).encode()
    answer = send(shared, "/training/jobs/7/callback/progress", body)
    assert (answer.status_code, "secret" in answer.text, len(answer.text) < 1000) == (422, False, True)
