"""The platform destination over real connections: what it makes of every answer, and of none."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.destinations.platform_parts import Outcome, Run
from tests.servers.platform import PlatformServer, Received, Reply
from trainer_hooks.destinations import Context
from trainer_hooks.destinations.platform import open_destination
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.events import (
    CheckpointStored,
    EpochEnded,
    InferenceCompleted,
    Logged,
    Record,
    RunCompleted,
    RunStarted,
)
from trainer_hooks.settings import Settings

PROGRESS = "/training/jobs/7/callback/progress"
LOGS = "/training/jobs/7/callback/logs"
EVENTS = "/training/jobs/7/events"
HTML = b"<!doctype html><title>Sign in</title>"
BEST = CheckpointStored(name="best", uri="s3://bucket/best.pt", manifest_uri="s3://bucket/m", size=3, sha256="ab")
SHORT = 0.4
SECRET = "tok-3f9a7c51e2"


@pytest.fixture
def server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",)) as server:
        yield server


@pytest.fixture
def batch_server() -> Iterator[PlatformServer]:
    with PlatformServer(jobs=("7",), batch=True) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    yield run
    run.close()


def hello(run: Run, count: int = 1) -> list[Record]:
    return run.add(*(Logged(level="INFO", message=f"hello {number}") for number in range(count)))


def try_once(server: PlatformServer, run: Run, count: int = 1, **settings: Any) -> Outcome:
    with run.destination(server.url, **settings) as destination:
        return Outcome(destination, hello(run, count))


def posts(server: PlatformServer) -> list[Received]:
    return [request for request in server.requests if request.method == "POST"]


def questions(server: PlatformServer) -> int:
    return sum(request.method == "GET" for request in server.requests)


# Which server, if any


def test_without_an_address_there_is_no_platform(run: Run) -> None:
    assert open_destination(context_of(run, Settings.load(environ={}))) is None


@pytest.mark.parametrize("url", ["host/api/v1", "ftp://host/api/v1", "http:///api/v1", "7"])
def test_an_address_that_is_none_is_a_mistake_in_the_settings(run: Run, url: str) -> None:
    with pytest.raises(InvalidSetting, match="callback_url"):
        open_destination(context_of(run, Settings.load(environ={}, callback_url=url)))


def test_a_configured_platform_is_opened_and_delivers(server: PlatformServer, run: Run) -> None:
    destination = open_destination(context_of(run, Settings.load(environ={}, callback_url=server.url + "/")))
    assert destination is not None
    outcome = Outcome(destination, hello(run))
    destination.close()

    assert len(outcome.delivered) == 1


def test_httpx_is_not_loaded_where_no_platform_is_configured() -> None:
    code = "import sys, trainer_hooks.destinations.platform; sys.exit('httpx' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def context_of(run: Run, settings: Settings) -> Context:
    return Context(
        run_directory=run.directory,
        run=run.run,
        job=run.job,
        settings=settings,
        emit=run.add,
        stored=dict,
        stopping=lambda: False,
    )


# Answers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_is_for_later(server: PlatformServer, run: Run, status: int) -> None:
    server.always(Reply(status), path="logs")

    outcome = try_once(server, run)

    assert outcome.receipts == []
    assert f"answered {status}" in outcome.reason


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("7", 7.0),
        ("0", None),
        ("-5", None),
        ("301", 300.0),
        ("9" * 400, 300.0),
        ("soon", None),
        ("1e3", None),
        ("", None),
        (None, None),
        # With names: by their values, two processes that collect them in different seconds know different tests.
        pytest.param(formatdate(time.time() - 100, usegmt=True), None, id="a moment ago"),
        pytest.param(formatdate(time.time() + 1e6, usegmt=True), 300.0, id="in eleven days"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Fri, 99 Dec 2026 23:59:59 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_the_server_asks_for_is_kept_within_reason(
    server: PlatformServer, run: Run, status: int, header: str | None, after: float | None
) -> None:
    server.always(Reply(status, headers={} if header is None else {"Retry-After": header}), path="logs")

    outcome = try_once(server, run)

    assert outcome.trouble is not None
    assert outcome.trouble.after == after


def test_the_wait_may_be_given_as_a_date(server: PlatformServer, run: Run) -> None:
    date = formatdate(time.time() + 60, usegmt=True)
    server.always(Reply(429, headers={"Retry-After": date}), path="logs")

    outcome = try_once(server, run)

    assert outcome.trouble is not None
    assert outcome.trouble.after == pytest.approx(60, abs=10)


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 422])
def test_a_refusal_is_final_and_the_rest_flows_on(server: PlatformServer, run: Run, status: int) -> None:
    server.script([Reply(status, body=b'{"detail": "no such thing"}')], path="logs")

    outcome = try_once(server, run, count=2)

    assert list(outcome.refused) == ["run.1.1"]
    assert f'answered {status}: {{"detail": "no such thing"}}' in outcome.refused["run.1.1"]
    assert outcome.delivered == ["run.1.2"]


def test_an_unknown_job_is_a_refusal(server: PlatformServer, run: Run) -> None:
    server.jobs = ()

    assert "Job 7 not found" in try_once(server, run).refused["run.1.1"]


def test_a_body_that_b_does_not_take_is_a_refusal(server: PlatformServer, tmp_path: Path) -> None:
    run = Run(tmp_path, job="not-a-number")
    outcome = try_once(server, run)
    run.close()

    assert "422" in outcome.refused["run.1.1"]


@pytest.mark.parametrize("status", [404, 405])
def test_not_found_is_not_the_platforms_word_unless_it_is_json(server: PlatformServer, run: Run, status: int) -> None:
    server.always(Reply(status, body=b"default backend - 404", content_type="text/plain"), path="logs")

    outcome = try_once(server, run)

    assert outcome.receipts == []
    assert "is CALLBACK_URL right?" in outcome.reason


def test_a_refusals_reason_is_short_and_holds_no_credentials(server: PlatformServer, run: Run) -> None:
    body = msgspec.json.encode({"detail": f"{SECRET} password=hunter2222 " + "x" * 5000})
    server.always(Reply(422, body=body), path="logs")

    reason = try_once(server, run, token=SECRET).refused["run.1.1"]

    assert "422" in reason
    assert len(reason) < 700
    assert SECRET not in reason
    assert "hunter2222" not in reason


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, body=HTML, content_type="text/html"),
        Reply(200, body=b"[]"),
        Reply(200, body=b"ok", content_type="text/plain"),
        Reply(200, body=b'{"success": tr'),
        Reply(201, body=b"\xff\xfe{}"),
        Reply(200, body=b'{"pad": "' + b"x" * (2 << 20) + b'"}'),
    ],
    ids=["html", "list", "text", "half an object", "no utf-8", "two MiB"],
)
def test_an_answer_that_is_no_json_object_is_not_believed(server: PlatformServer, run: Run, reply: Reply) -> None:
    server.always(reply, path="logs")

    outcome = try_once(server, run)

    assert outcome.receipts == []
    assert "is CALLBACK_URL right?" in outcome.reason


def test_an_answer_that_is_not_read_to_its_end_leaves_no_errors_of_asyncios(
    server: PlatformServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    server.always(Reply(200, body=b"x" * (2 << 20)), path="logs")

    try_once(server, run)

    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("reply", [Reply(200, body=b""), Reply(200, body=b"{}"), Reply(202, body=b' {"a": 1} ')])
def test_an_empty_body_and_any_json_object_are_a_yes(server: PlatformServer, run: Run, reply: Reply) -> None:
    server.always(reply, path="logs")

    assert try_once(server, run).delivered == ["run.1.1"]


def test_no_content_is_a_yes(server: PlatformServer, run: Run) -> None:
    server.always(Reply(204, body=b""), path="logs")

    assert try_once(server, run, count=2).delivered == ["run.1.1", "run.1.2"]


# No answer


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (Reply(truncate=True), "RemoteProtocolError"),
        (Reply(reset=True), "Error"),
        (Reply(hang=True), "no whole answer within 0.4 s"),
        (Reply(drip=20), "no whole answer within 0.4 s"),
        (Reply(delay=60), "no whole answer within 0.4 s"),
        (Reply(commit_then_drop=True), "RemoteProtocolError"),
    ],
    ids=["truncated", "reset", "hangs", "drips", "late", "dropped"],
)
@pytest.mark.parametrize("path", ["logs", "trainer-hooks"])
def test_an_answer_that_does_not_come_whole_in_time_is_for_later(
    server: PlatformServer, run: Run, reply: Reply, word: str, path: str
) -> None:
    server.always(reply, path=path)

    began = time.monotonic()
    outcome = try_once(server, run, total=SHORT)

    assert time.monotonic() - began < SHORT + 5
    assert outcome.receipts == []
    assert word in outcome.reason


def test_a_server_that_is_down_is_for_later_and_found_again(server: PlatformServer, run: Run) -> None:
    records = hello(run)
    with run.destination(server.url) as destination:
        server.stop_listening()
        down = Outcome(destination, records)
        server.listen_again()
        up = Outcome(destination, records)

    assert "ConnectError" in down.reason
    assert up.delivered == ["run.1.1"]


def test_a_black_hole_is_left_within_the_deadline(run: Run) -> None:
    with socket.socket() as hole, socket.socket() as first, socket.socket() as second:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for filler in (first, second):  # a full queue: further connections are neither taken nor refused
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        began = time.monotonic()
        with run.destination(f"http://127.0.0.1:{hole.getsockname()[1]}/api/v1", total=SHORT) as destination:
            outcome = Outcome(destination, hello(run))

    assert time.monotonic() - began < SHORT + 5
    assert outcome.reason != ""
    assert outcome.receipts == []


def test_a_name_that_nobody_knows_is_left_within_the_deadline(run: Run) -> None:
    began = time.monotonic()
    with run.destination("http://no-such-host.invalid/api/v1", total=SHORT) as destination:
        outcome = Outcome(destination, hello(run))

    assert time.monotonic() - began < SHORT + 5
    assert "no-such-host.invalid" in outcome.reason


def test_a_lost_answer_is_repeated_under_the_same_key(server: PlatformServer, run: Run) -> None:
    records = run.add(RunStarted(), EpochEnded(epoch=1))
    server.script([Reply(), Reply(commit_then_drop=True)], path="progress")
    with run.destination(server.url) as destination:
        first = Outcome(destination, records)
        second = Outcome(destination, records[len(first.receipts) :])

    assert first.delivered == ["run.1.1"]
    assert second.delivered == ["run.1.2"]
    assert [request.headers["Idempotency-Key"] for request in posts(server)] == ["run.1.1", "run.1.2", "run.1.2"]
    assert posts(server)[1].body == posts(server)[2].body


def test_a_completion_whose_answer_was_lost_is_repeated_as_it_was(server: PlatformServer, run: Run) -> None:
    records = run.add(RunStarted(), RunCompleted(epochs=1))
    server.script([Reply(commit_then_drop=True)], path="completion")
    with run.destination(server.url) as destination:
        first = Outcome(destination, records)
        second = Outcome(destination, records[len(first.receipts) :])

    assert second.delivered == ["run.1.2"]
    assert server.job("7").statuses == ["running", "completed", "completed"]


def test_a_repeat_says_the_same_though_more_is_stored_by_then(server: PlatformServer, run: Run) -> None:
    records = run.add(RunStarted(), RunCompleted(epochs=1))
    server.script([Reply(commit_then_drop=True), Reply(502)], path="completion")
    with run.destination(server.url) as destination:
        first = Outcome(destination, records)
        run.stored = {"best": BEST}
        rest = records[len(first.receipts) :]
        Outcome(destination, rest)
        Outcome(destination, rest)

    completions = [request.body for request in posts(server) if request.path.endswith("completion")]
    assert len(completions) == 3
    assert len(set(completions)) == 1


def test_what_was_never_sent_says_what_is_stored_by_the_time_it_is(server: PlatformServer, run: Run) -> None:
    records = run.add(RunStarted(), RunCompleted(epochs=1))
    with run.destination(server.url) as destination:
        assert Outcome(destination, records[:1]).delivered == ["run.1.1"]
        server.stop_listening()
        assert Outcome(destination, records[1:]).receipts == []
        run.stored = {"best": BEST}
        server.listen_again()
        Outcome(destination, records[1:])

    (completion,) = server.posts("/training/jobs/7/callback/completion")
    assert completion["best_checkpoint_path"] == BEST.uri


def test_a_key_of_any_run_name_fits_into_a_header(server: PlatformServer, tmp_path: Path) -> None:
    run = Run(tmp_path, run="nächster lauf")
    outcome = try_once(server, run)
    run.close()

    assert len(outcome.delivered) == 1
    assert posts(server)[0].headers["Idempotency-Key"] == "n%C3%A4chster%20lauf.1.1"


# Redirects


def test_a_redirect_to_a_login_page_is_named_and_not_followed(server: PlatformServer, run: Run) -> None:
    server.always(Reply(redirect="/login?next=1"), path="logs")

    outcome = try_once(server, run)

    assert "points to /login?next=1" in outcome.reason
    assert "is CALLBACK_URL right?" in outcome.reason
    assert not any("login" in request.path for request in server.requests)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_post_is_followed(server: PlatformServer, run: Run, status: int) -> None:
    server.script([Reply(status, redirect=server.url + PROGRESS)], path="logs")
    server.always(Reply(200, body=b"{}"), path="progress")

    outcome = try_once(server, run, token=SECRET)

    assert outcome.delivered == ["run.1.1"]
    before, after = posts(server)
    assert after.path.endswith("/progress")
    assert after.body == before.body
    assert after.headers["Idempotency-Key"] == "run.1.1"
    assert after.headers["Authorization"] == f"Bearer {SECRET}"


def test_a_redirect_to_another_server_takes_no_credentials_along(
    server: PlatformServer, batch_server: PlatformServer, run: Run
) -> None:
    server.always(Reply(307, redirect=batch_server.url + LOGS), path="logs")

    outcome = try_once(server, run, token=SECRET)

    assert outcome.delivered == ["run.1.1"]
    assert "Authorization" in posts(server)[0].headers
    assert "Authorization" not in posts(batch_server)[0].headers


def test_redirects_in_a_circle_come_to_an_end(server: PlatformServer, run: Run) -> None:
    server.always(Reply(307, redirect=server.url + LOGS), path="logs")

    outcome = try_once(server, run)

    assert "answered 307" in outcome.reason
    assert len(posts(server)) == 4


# Credentials


def test_the_token_goes_along_with_every_request(server: PlatformServer, run: Run) -> None:
    server.require_token = SECRET

    assert try_once(server, run, token=f"{SECRET}\n").delivered == ["run.1.1"]
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {SECRET}"}


def test_the_token_wins_over_credentials_in_the_address(server: PlatformServer, run: Run) -> None:
    server.require_token = SECRET
    with run.destination(server.url.replace("://", "://user:password@"), token=SECRET) as destination:
        assert Outcome(destination, hello(run)).delivered == ["run.1.1"]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_for_later_and_the_setting_is_named(
    server: PlatformServer, run: Run, status: int
) -> None:
    server.always(Reply(status))

    outcome = try_once(server, run, token=SECRET)

    assert outcome.receipts == []
    assert "TRAINER_HOOKS_TOKEN" in outcome.reason
    assert SECRET not in outcome.reason


def test_a_rotated_token_is_read_again(server: PlatformServer, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    server.require_token = "first-token"
    records = hello(run, 2)
    with run.destination(server.url, token_file=str(file)) as destination:
        assert Outcome(destination, records[:1]).delivered == ["run.1.1"]
        server.require_token = "second-token"
        refused = Outcome(destination, records[1:])
        file.write_text("second-token\n")
        taken = Outcome(destination, records[1:])

    assert "401" in refused.reason
    assert taken.delivered == ["run.1.2"]


def test_a_token_file_that_is_not_there_yet_is_for_later(server: PlatformServer, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "token"
    records = hello(run)
    with run.destination(server.url, token_file=str(file)) as destination:
        missing = Outcome(destination, records)
        file.write_text(SECRET)
        there = Outcome(destination, records)

    assert "TRAINER_HOOKS_TOKEN_FILE" in missing.reason
    assert there.delivered == ["run.1.1"]


@pytest.mark.parametrize("token", ["tök-3f9a7c51e2", "tok-3f9a\r\nX-Other: 1"])
def test_a_token_that_no_header_can_carry_is_said_without_being_shown(
    server: PlatformServer, run: Run, token: str
) -> None:
    outcome = try_once(server, run, token=token)

    assert "no header can carry" in outcome.reason
    assert token not in outcome.reason
    assert server.requests == []


def test_credentials_in_the_address_are_never_shown(server: PlatformServer, run: Run) -> None:
    url = server.url.replace("://", "://user:hunter2222@")
    server.stop_listening()
    with run.destination(url) as destination:
        outcome = Outcome(destination, hello(run))
    server.listen_again()

    assert "127.0.0.1" in outcome.reason
    assert "hunter2222" not in outcome.reason


# One by one


def test_records_go_in_order_one_request_each(server: PlatformServer, run: Run) -> None:
    outcome = try_once(server, run, count=20)

    assert [body["message"] for body in server.posts(LOGS)] == [f"hello {number}" for number in range(20)]
    assert outcome.delivered == [f"run.1.{number}" for number in range(1, 21)]
    assert questions(server) == 1


def test_each_receipt_is_given_before_the_next_request(server: PlatformServer, run: Run) -> None:
    with run.destination(server.url) as destination:
        receipts = destination.deliver(hello(run, 3))
        next(receipts)
        assert len(posts(server)) == 1
        next(receipts)
        assert len(posts(server)) == 2


def test_trouble_keeps_what_was_delivered_and_stops(server: PlatformServer, run: Run) -> None:
    server.script([Reply(), Reply(503)], path="logs")

    outcome = try_once(server, run, count=3)

    assert outcome.delivered == ["run.1.1"]
    assert "503" in outcome.reason
    assert len(posts(server)) == 2


def test_a_courier_that_wants_to_end_waits_for_one_request_at_most(server: PlatformServer, run: Run) -> None:
    run.stopping = True

    outcome = try_once(server, run, count=3)

    assert outcome.delivered == ["run.1.1"]
    assert outcome.reason == "the courier is ending"


def test_deliveries_log_through_the_quiet_loggers_only(
    server: PlatformServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with run.destination(server.url) as destination, caplog.at_level(logging.DEBUG):
        Outcome(destination, hello(run))

    assert {record.name.partition(".")[0] for record in caplog.records} == {"httpx", "httpcore"}


# In batches


def test_a_server_with_the_batch_protocol_gets_all_in_one_request(batch_server: PlatformServer, run: Run) -> None:
    events = (
        RunStarted(total_epochs=2, params={"lr": 0.1}),
        EpochEnded(epoch=1, metrics={"loss": "NaN", "acc": 0.5}),
        InferenceCompleted(total_images=1, total_time_ms=1.0, results=[{"any": "form"}]),
        RunCompleted(),
    )
    records = run.add(*events)
    with run.destination(batch_server.url) as destination:
        outcome = Outcome(destination, records)

    assert outcome.delivered == [record.id for record in records]
    assert len(posts(batch_server)) == 1
    assert list(batch_server.events.values()) == [
        {
            "id": record.id,
            "run": "run",
            "attempt": 1,
            "segment": 1,
            "seq": record.seq,
            "time": record.time,
            "event": msgspec.to_builtins(record.event),
        }
        for record in records
    ]


def test_a_batch_stays_within_the_number_that_the_server_takes(batch_server: PlatformServer, run: Run) -> None:
    batch_server.max_events = 3

    outcome = try_once(batch_server, run, count=8)

    assert len(outcome.delivered) == 8
    assert [len(body["events"]) for body in batch_server.posts(EVENTS)] == [3, 3, 2]


def test_a_batch_stays_within_the_bytes_that_the_server_takes(batch_server: PlatformServer, run: Run) -> None:
    batch_server.max_bytes = 700

    outcome = try_once(batch_server, run, count=20)

    assert outcome.delivered == [f"run.1.{number}" for number in range(1, 21)]
    sizes = [len(request.body) for request in posts(batch_server)]
    assert len(sizes) < 10
    assert max(sizes) <= 700
    assert {request.answered for request in posts(batch_server)} == {200}


def test_an_event_too_large_for_any_batch_is_refused_alone(batch_server: PlatformServer, run: Run) -> None:
    batch_server.max_bytes = 700
    records = run.add(
        Logged(level="INFO", message="small"),
        Logged(level="INFO", message="x" * 2000),
        Logged(level="INFO", message="small"),
    )
    with run.destination(batch_server.url) as destination:
        outcome = Outcome(destination, records)

    assert outcome.delivered == ["run.1.1", "run.1.3"]
    assert "413" in outcome.refused["run.1.2"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_halved_until_the_culprit_stands_alone(
    batch_server: PlatformServer, run: Run, status: int
) -> None:
    batch_server.script([Reply(status, body=HTML, content_type="text/html")] * 3, path="events")

    outcome = try_once(batch_server, run, count=4)

    # All four, the first two, the first: refused; then the second, the last two.
    assert list(outcome.refused) == ["run.1.1"]
    assert outcome.delivered == ["run.1.2", "run.1.3", "run.1.4"]
    assert [len(request.json["events"]) for request in posts(batch_server)] == [4, 2, 1, 1, 2]


def test_events_that_the_server_rejects_are_refused_with_its_reason(batch_server: PlatformServer, run: Run) -> None:
    batch_server.reject_types = {"logged": "no logs here"}
    records = run.add(RunStarted(), Logged(level="INFO", message="x"), RunCompleted())
    with run.destination(batch_server.url) as destination:
        outcome = Outcome(destination, records)

    assert outcome.refused == {"run.1.2": "no logs here"}
    assert outcome.delivered == ["run.1.1", "run.1.3"]


@pytest.mark.parametrize(
    ("stored", "acknowledged"),
    [(["run.1.1"], 1), (["run.1.1", "run.1.3"], 1), (["run.1.2"], 0), ([], 0), (["other.1.1"], 0)],
)
def test_only_what_is_acknowledged_counts_and_the_rest_is_sent_again(
    batch_server: PlatformServer, run: Run, stored: list[str], acknowledged: int
) -> None:
    body = msgspec.json.encode({"stored": stored, "rejected": {}})
    batch_server.script([Reply(200, body=body)], path="events")
    records = hello(run, 3)
    with run.destination(batch_server.url) as destination:
        first = Outcome(destination, records)
        second = Outcome(destination, records[acknowledged:])

    assert len(first.delivered) == acknowledged
    assert f"acknowledged only {acknowledged} of 3" in first.reason
    assert second.delivered == [record.id for record in records[acknowledged:]]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"stored": 3}', b'{"stored": ["run.1.1"], "rejected": []}'])
def test_an_answer_to_a_batch_that_names_no_event_acknowledges_none(
    batch_server: PlatformServer, run: Run, body: bytes
) -> None:
    batch_server.script([Reply(200, body=body)], path="events")

    outcome = try_once(batch_server, run, count=2)

    assert outcome.receipts == []
    assert outcome.reason != ""


def test_a_batch_whose_answer_was_lost_is_stored_once(batch_server: PlatformServer, run: Run) -> None:
    batch_server.script([Reply(commit_then_drop=True)], path="events")
    records = hello(run, 3)
    with run.destination(batch_server.url) as destination:
        first = Outcome(destination, records)
        second = Outcome(destination, records)

    assert first.receipts == []
    assert len(second.delivered) == 3
    assert set(batch_server.arrivals.values()) == {2}
    assert len(batch_server.events) == 3


def test_an_unknown_job_refuses_a_whole_batch(batch_server: PlatformServer, run: Run) -> None:
    batch_server.jobs = ()

    outcome = try_once(batch_server, run, count=3)

    assert len(outcome.refused) == 3
    assert len(posts(batch_server)) == 1


def test_a_courier_that_wants_to_end_sends_one_batch_at_most(batch_server: PlatformServer, run: Run) -> None:
    batch_server.max_events = 2
    run.stopping = True

    outcome = try_once(batch_server, run, count=5)

    assert len(outcome.delivered) == 2
    assert outcome.reason == "the courier is ending"


def test_a_batch_for_a_job_with_any_id(tmp_path: Path) -> None:
    run = Run(tmp_path, job="a/b ü")
    with PlatformServer(jobs=("a/b ü",), batch=True, integer_jobs=False) as server:
        outcome = try_once(server, run, count=2)
    run.close()

    assert len(outcome.delivered) == 2


# Which protocol


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404),
        Reply(404, body=HTML, content_type="text/html"),
        Reply(405),
        Reply(501),
        Reply(422),
        Reply(200, body=HTML, content_type="text/html"),
        Reply(204, body=b""),
        Reply(200, body=b"[]"),
        Reply(200, body=b'{"protocol": "trainer-hooks/2", "max_events": 10, "max_bytes": 1000}'),
        Reply(200, body=b'{"protocol": "trainer-hooks/1", "max_events": 0, "max_bytes": 1000}'),
        Reply(200, body=b'{"protocol": "trainer-hooks/1"}'),
    ],
)
def test_a_server_that_does_not_offer_batches_is_one_of_bs(
    batch_server: PlatformServer, run: Run, reply: Reply
) -> None:
    batch_server.always(reply, path="trainer-hooks")

    outcome = try_once(batch_server, run, count=2)

    assert outcome.delivered == ["run.1.1", "run.1.2"]
    assert len(batch_server.posts(LOGS)) == 2
    assert questions(batch_server) == 1


@pytest.mark.parametrize("reply", [Reply(500), Reply(429), Reply(redirect="/login"), Reply(reset=True)])
def test_the_protocol_is_not_guessed_while_the_server_is_in_trouble(
    batch_server: PlatformServer, run: Run, reply: Reply
) -> None:
    batch_server.script([reply], path="trainer-hooks")
    records = hello(run, 2)
    with run.destination(batch_server.url) as destination:
        first = Outcome(destination, records)
        second = Outcome(destination, records)

    assert first.receipts == []
    assert first.reason != ""
    assert second.delivered == ["run.1.1", "run.1.2"]
    assert len(posts(batch_server)) == 1


def test_a_gateway_that_forbids_unknown_addresses_does_not_stop_b(server: PlatformServer, run: Run) -> None:
    server.always(Reply(403), path="trainer-hooks")
    records = hello(run, 2)
    with run.destination(server.url) as destination:
        first = Outcome(destination, records[:1])
        second = Outcome(destination, records[1:])

    assert first.delivered + second.delivered == ["run.1.1", "run.1.2"]
    assert questions(server) == 2


def test_a_server_that_was_replaced_by_an_older_one_is_noticed(batch_server: PlatformServer, run: Run) -> None:
    records = hello(run, 3)
    with run.destination(batch_server.url) as destination:
        assert Outcome(destination, records[:1]).delivered == ["run.1.1"]
        batch_server.batch = False
        noticed = Outcome(destination, records[1:])
        after = Outcome(destination, records[1:])

    assert noticed.receipts == []
    assert "no longer speaks trainer-hooks/1" in noticed.reason
    assert after.delivered == ["run.1.2", "run.1.3"]
    assert len(batch_server.posts(LOGS)) == 2


def test_a_server_that_has_learned_batches_is_noticed_after_trouble(server: PlatformServer, run: Run) -> None:
    records = hello(run, 3)
    with run.destination(server.url) as destination:
        assert Outcome(destination, records[:1]).delivered == ["run.1.1"]
        server.batch = True
        server.stop_listening()
        Outcome(destination, records[1:])
        server.listen_again()
        after = Outcome(destination, records[1:])

    assert after.delivered == ["run.1.2", "run.1.3"]
    assert len(server.events) == 2
