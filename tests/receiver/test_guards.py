"""Who may call, from where, how much, how slowly; and that no name leads out of its place."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from tests.receiver.serving import ROOT, Receiver, envelope
from trainer_hooks.receiver.tokens import Tokens

TOKEN = "a-token-of-the-server's-0123456789"
EVENT = {"type": "run_started"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A receiver that asks for a token."""
    with Receiver(tmp_path_factory.mktemp("locked"), token=TOKEN) as receiver:
        yield receiver


def serve(*arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer_hooks.cli", "serve", *arguments]
    environ = os.environ | {"TRAINER_HOOKS_SERVE_TOKEN": token}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


PROTECTED = [
    ("GET", "/trainer-hooks"),
    ("GET", "/runs"),
    ("GET", "/runs/7"),
    ("GET", "/jobs/7"),
    ("POST", "/jobs/7/cancel"),
    ("POST", "/training/jobs/7/events"),
    ("POST", "/training/jobs/7/heartbeat"),
    ("POST", "/training/jobs/7/callback/progress"),
    ("POST", "/training/jobs/7/checkpoints/upload-url"),
    ("POST", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"]
)
def test_without_the_token_nothing_is_answered(locked: Receiver, method: str, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = httpx.request(method, locked.url + path, headers=headers, json={}, trust_env=False)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert TOKEN not in answer.text


def test_a_jobs_token_may_tell_of_that_job_and_of_nothing_else(locked: Receiver) -> None:
    printed = serve("--job-token", "a/7", token=TOKEN)
    token = printed.stdout.strip()
    assert token == Tokens(TOKEN).of_job("a/7")
    with httpx.Client(base_url=locked.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        body = {"events": [envelope("a/7", 1, EVENT)]}
        assert http.post("/training/jobs/a%2F7/events", json=body).status_code == 200
        assert http.post("/training/jobs/a%2F8/events", json=body).status_code == 401
        assert http.post("/training/jobs/a%2F7/callback/logs", json={}).status_code == 422
        assert http.get("/trainer-hooks").status_code == 200
        for method, path in PROTECTED[1:]:
            assert http.request(method, path, json={}).status_code == 401, path
        for changed in (token[:-1], token + "0", "Ng" + token[token.index(".") :], f"!.{token}", "."):
            wrong = {"Authorization": f"Bearer {changed}"}
            assert http.get("/trainer-hooks", headers=wrong).status_code == 401
        stolen = {"events": [envelope("8", 1, EVENT)]}
        locked.post("/training/jobs/8/events", stolen)
        assert "belongs to job '8'" in json.dumps(http.post("/training/jobs/a%2F7/events", json=stolen).json())


def test_nobody_else_is_listened_to_without_a_token() -> None:
    refused = serve("--host", "0.0.0.0")  # noqa: S104 - what is refused
    assert refused.returncode == 2
    assert "--host 0.0.0.0 can be reached from other machines, and there is no token" in refused.stderr


def test_a_token_that_could_be_guessed_is_refused() -> None:
    refused = serve(token="short")
    assert (refused.returncode, "16 or more" in refused.stderr, "short" in refused.stderr) == (2, True, False)


def test_two_receivers_over_one_directory_are_one_too_many(shared: Receiver) -> None:
    refused = serve("--port", "0", "--dir", str(shared.directory))
    assert refused.returncode == 2
    assert "another receiver is at work" in refused.stderr


def test_without_a_token_only_this_machines_own_name_is_answered(shared: Receiver) -> None:
    for host in ("localhost", "127.0.0.1:80", "[::1]:9", "a.localhost"):
        assert shared.http.get("/runs", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[bad"):
        assert shared.http.get("/runs", headers={"Host": host}).status_code == 421


def test_a_page_of_another_origin_can_neither_change_nor_read_anything(shared: Receiver) -> None:
    evil = {"Origin": "https://evil.example"}
    assert shared.http.post("/jobs/x/cancel", headers=evil).status_code == 403
    assert shared.get("/jobs/x")["job_status"] == "pending"
    assert not [name for name in shared.http.get("/runs", headers=evil).headers if name.startswith("access-control")]
    own = {"Origin": shared.url.removesuffix("/api/v1")}
    assert shared.http.post("/jobs/of-my-own/cancel", headers=own).status_code == 200
    form = shared.http.post("/training/jobs/x/events", content="{}", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415


def test_the_server_does_not_say_what_it_is(shared: Receiver) -> None:
    headers = shared.http.get("/runs").headers
    assert "server" not in headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(shared: Receiver) -> None:
    large = b'{"events":[' + b" " * 4_000_000 + b"]}"
    headers = {"Content-Type": "application/json"}
    path = "/training/jobs/7/events"
    told = shared.http.post(path, content=large, headers=headers)
    streamed = shared.http.post(path, content=iter([large[:100], large[100:]]), headers=headers)
    assert (told.status_code, streamed.status_code) == (413, 413)
    claimed = _raw(shared, b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
    assert claimed.startswith(b"HTTP/1.1 413")
    many = {"events": [envelope("many", number, EVENT) for number in range(1, 2002)]}
    assert shared.post("/training/jobs/many/events", many).status_code == 413
    assert not (shared.directory / "many").exists()


@pytest.mark.long
@pytest.mark.slow
def test_a_body_or_a_head_that_does_not_come_is_not_waited_for_without_end(shared: Receiver) -> None:
    head = b"POST /api/v1/training/jobs/7/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    with _connected(shared) as slow, _connected(shared) as halting:
        begun = time.monotonic()
        slow.sendall(head)
        halting.sendall(b"GET /api/v1/runs HT")
        assert halting.recv(100) == b""
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert 10 < time.monotonic() - begun < 60


@pytest.mark.parametrize(
    "path",
    [
        "/runs/..%2F..%2Fetc%2Fpasswd",
        "/runs/%2E%2E/ledger",
        "/runs/.%23receiver/ledger",
        "/runs/a%00b",
        "/jobs/..%2F..%2Fx",
        "/objects/..%2F..%2Fx/y?expires=9999999999&signature=0",
        "/../../etc/passwd",
    ],
)
def test_no_name_in_a_path_leads_out_of_its_place(shared: Receiver, path: str) -> None:
    answer = _raw(shared, f"GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split()[1]) in (200, 403, 404)
    assert b"root:" not in answer


def test_no_name_in_a_body_leads_out_of_its_place(shared: Receiver) -> None:
    before = {path for path in shared.directory.parent.rglob("*") if shared.directory not in path.parents}
    for run in ("../out", "/etc/out", "..", "a/../../out", "x" * 400):
        body = {"events": [envelope(run, 1, EVENT)]}
        assert shared.post("/training/jobs/names/events", body).json()["rejected"] == {}
        shared.post(
            "/training/jobs/names/heartbeat", {"time": 1, "run": run, "attempt": 1, "state": "starting", "idle": 0}
        )
    assert {path for path in shared.directory.parent.rglob("*") if shared.directory not in path.parents} == before
    for name in ("../x", "..", "a/b", "a\\b", "a\nb", ""):
        answer = shared.post("/training/jobs/7/checkpoints/upload-url", {"checkpoint_filename": name})
        assert answer.status_code in (400, 422), name


def test_a_path_on_the_senders_machine_is_not_followed_on_this_one(shared: Receiver) -> None:
    saved = {"type": "checkpoint_saved", "names": ["best"], "path": "/x/best.pt", "size": 1, "staged": "../../secret"}
    shared.post("/training/jobs/staged/events", {"events": [envelope("staged", 1, saved)]})
    kept = (shared.directory / "staged" / "journal" / "000001.jsonl").read_text()
    assert "best.pt" in kept
    assert "secret" not in kept


def _connected(receiver: Receiver) -> socket.socket:
    return socket.create_connection(receiver.place, timeout=60)


def _raw(receiver: Receiver, request: bytes) -> bytes:
    with _connected(receiver) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b"")) if b"close" in request else connection.recv(65536)


def test_a_log_is_text_and_never_a_page(shared: Receiver) -> None:
    line = {"type": "logged", "level": "INFO", "message": "<script>alert(1)</script>"}
    shared.post("/training/jobs/xss/events", {"events": [envelope("xss", 1, line)]})
    answer = shared.http.get("/runs/xss/logs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["records"][0]["message"] == line["message"]
