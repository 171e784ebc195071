"""The Synapse destination and its courier in trouble: nothing is lost, and nothing doubled that can be known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trainer_hooks
from tests.cli.parts import COMPLETED, REPOSITORY, invoke, write_run
from tests.destinations.platform_parts import Run
from tests.destinations.synapse_parts import JOB, Delivery, opened, told
from tests.servers.platform import PlatformServer, Reply
from tests.servers.synapse_jobs import TOKENS, SynapseServer
from trainer_hooks.delivery import load_courier, load_rejected
from trainer_hooks.destinations.synapse import SynapseDestination
from trainer_hooks.events import EpochEnded, Logged, ProgressMade, Record, RunCompleted, RunStarted
from trainer_hooks.ledger import read_ledger

WITH_TOKENS = {
    "synapse_token": TOKENS["Synapse-Access-Token"],
    "synapse_user_token": TOKENS["Authorization"],
    "synapse_tenant": TOKENS["Synapse-Tenant"],
}


@pytest.fixture
def server() -> Iterator[SynapseServer]:
    with SynapseServer() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    yield run
    run.close()


def hello(run: Run, count: int = 3) -> list[Record]:
    return run.add(*(Logged(level="INFO", message=f"hello {number}") for number in range(count)))


def posts(server: SynapseServer) -> int:
    return sum(request.method == "POST" for request in server.requests)


def said(count: int = 3) -> list[str]:
    return [f"hello {number}" for number in range(count)]


# Answers


def test_credentials_are_sent_each_in_its_header(run: Run) -> None:
    with SynapseServer(tokens=TOKENS) as server, opened(run, server, **WITH_TOKENS) as destination:
        assert len(Delivery(destination, hello(run)).delivered) == 3


def test_credentials_that_are_not_taken_make_it_wait_and_stand_in_no_text(run: Run) -> None:
    with SynapseServer(tokens=TOKENS) as server, opened(run, server, synapse_token="sesame-81") as destination:
        outcome = Delivery(destination, hello(run))
    assert outcome.receipts == []
    assert "mend SYNAPSE_ACCESS_TOKEN" in outcome.trouble
    assert "sesame-81" not in outcome.trouble


@pytest.mark.parametrize("status", [307, 308])
def test_credentials_do_not_go_along_to_another_server(server: SynapseServer, run: Run, status: int) -> None:
    with SynapseServer() as elsewhere, opened(run, server, **WITH_TOKENS) as destination:
        server.always(Reply(status, redirect=f"{elsewhere.url}/logs/"), path="/logs/$")
        Delivery(destination, hello(run))
        assert elsewhere.messages() == said()
        assert not any(name in request.headers for request in elsewhere.requests for name in TOKENS)
    with opened(run, server, **WITH_TOKENS) as destination:
        server.normal()
        server.script([Reply(status, redirect=f"{server.url}/logs/")], path="/logs/$")
        Delivery(destination, run.add(Logged(level="INFO", message="at home")))
    assert all(server.requests[-1].headers[name] == f"Token {token}" for name, token in TOKENS.items())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("path", ["/logs/", "/jobs/"])
def test_passing_trouble_is_for_later(server: SynapseServer, run: Run, status: int, path: str) -> None:
    server.always(Reply(status, headers={"Retry-After": "7"}), path=path)
    outcome = told(run, server, RunStarted(), EpochEnded(epoch=1, total_epochs=2, metrics={"loss": 1.0}))
    assert outcome.receipts == []
    assert (f"answered {status}" in outcome.trouble, outcome.after) == (True, 7.0)


def test_an_unknown_job_is_a_refusal(run: Run) -> None:
    with SynapseServer("another") as server:
        outcome = told(run, server, RunStarted(total_epochs=2), EpochEnded(epoch=1), Logged(level="INFO", message="a"))
    assert len(outcome.refused) == 3
    assert "Not found." in next(iter(outcome.refused.values()))


def test_not_found_is_not_its_word_unless_it_is_json(server: SynapseServer, run: Run) -> None:
    server.always(Reply(404, body=b"default backend - 404", content_type="text/plain"), path="/jobs/")
    assert "is SYNAPSE_HOST right?" in told(run, server, RunStarted()).trouble


def test_a_page_that_is_no_json_is_not_believed(server: SynapseServer, run: Run) -> None:
    server.always(Reply(200, body=b"<html>sign in</html>", content_type="text/html"))
    assert "is SYNAPSE_HOST right?" in told(run, server, *[Logged(level="INFO", message="a")]).trouble


# Batches


def test_as_many_as_a_request_may_hold(server: SynapseServer, run: Run) -> None:
    with opened(run, server) as destination:
        outcome = Delivery(destination, hello(run, 450))
    assert [len(request.json) for request in server.requests if request.method == "POST"] == [200, 200, 50]
    assert server.messages() == said(450)
    assert len(outcome.delivered) == 450


def test_large_ones_are_not_put_together(server: SynapseServer, run: Run) -> None:
    told(
        run,
        server,
        *(Logged(level="INFO", message=f"{number}" * 60_000) for number in range(1, 10)),
        *[Logged(level="INFO", message="x" * 60_000) for _ in range(12)],
    )
    sizes = [len(request.body) for request in server.requests if request.method == "POST"]
    assert len(sizes) == 2
    assert max(sizes) <= 1_000_000


def test_the_one_that_is_refused_costs_no_other(server: SynapseServer, run: Run) -> None:
    server.refuse = lambda entry: entry["data"]["content"] == "hello 5"
    with opened(run, server) as destination:
        records = hello(run, 9)
        outcome = Delivery(destination, records)
    assert list(outcome.refused) == [records[5].id]
    assert "invalid entry" in outcome.refused[records[5].id]
    assert server.messages() == [message for message in said(9) if message != "hello 5"]
    assert [receipt.record.id for receipt in outcome.receipts] == [record.id for record in records]


def tries(destination: SynapseDestination, records: list[Record], count: int) -> list[Delivery]:
    """As a courier tries again: each with what the one before has left."""
    found = []
    for _ in range(count):
        found.append(Delivery(destination, records))
        records = records[len(found[-1].receipts) :]
    return found


def test_the_one_that_is_always_answered_with_a_fault_is_left_out_and_named(server: SynapseServer, run: Run) -> None:
    server.stumble = lambda entry: entry["data"]["content"] == "hello 5"
    with opened(run, server) as destination:
        records = hello(run, 9)
        outcomes = tries(destination, records, 4)
    assert [len(outcome.receipts) for outcome in outcomes] == [0, 0, 0, 9]
    assert list(outcomes[-1].refused) == [records[5].id]
    (said_instead,) = [message for message in server.messages() if message not in said(9)]
    assert said_instead.startswith("left out: a message that is answered with a fault: ")
    assert "answered 500" in said_instead
    assert len(server.messages()) == 9


def test_a_log_that_takes_nothing_refuses_nothing(server: SynapseServer, run: Run) -> None:
    server.stumble = lambda _: True
    with opened(run, server) as destination:
        records = hello(run, 9)
        assert [outcome.receipts for outcome in tries(destination, records, 5)] == [[]] * 5
        server.stumble = lambda _: False
        assert len(Delivery(destination, records).delivered) == 9
    assert server.messages() == said(9)


def test_an_end_does_not_wait_for_a_log_that_takes_nothing(server: SynapseServer, run: Run) -> None:
    server.stumble = lambda _: True
    epochs = [EpochEnded(epoch=epoch, total_epochs=2) for epoch in (1, 2)]
    records = run.add(RunStarted(), *epochs, Logged(level="INFO", message="a"), RunCompleted(result={"a": 1}))
    with opened(run, server) as destination:
        assert [outcome.receipts for outcome in tries(destination, records, 5)] == [[]] * 5
        assert server.statuses == ["SUCCEEDED"]
        assert server.job["result"] == {"a": 1}
        server.stumble = lambda _: False
        assert len(Delivery(destination, records).delivered) == 5
    assert server.statuses == ["SUCCEEDED", "SUCCEEDED"]
    assert server.job["progress_record"]["current_progress"]["overall"] == 100.0
    assert server.messages()[-2:] == ["a", "completed"]


def test_of_progress_the_newest_is_shown_and_the_rest_is_superseded(server: SynapseServer, run: Run) -> None:
    outcome = told(
        run,
        server,
        *(ProgressMade(current=number, total=10, category="dataset") for number in range(1, 6)),
        EpochEnded(epoch=1, total_epochs=2, metrics={"loss": 1.0}),
    )
    assert len(server.patches) == 1
    assert (len(outcome.superseded), len(outcome.delivered)) == (4, 2)
    assert server.job["progress_record"]["record"]["steps"]["dataset"]["percent"] == 50.0


def test_progress_is_shown_once_a_second_at_most(server: SynapseServer, run: Run) -> None:
    began = time.monotonic()
    with opened(run, server) as destination:
        for epoch in (1, 2):
            Delivery(destination, run.add(EpochEnded(epoch=epoch, total_epochs=3)))
    assert len(server.progress) == 2
    assert time.monotonic() - began >= 1.0


def test_a_courier_that_ends_does_not_wait_for_its_turn(server: SynapseServer, run: Run) -> None:
    with opened(run, server) as destination:
        Delivery(destination, run.add(EpochEnded(epoch=1, total_epochs=3)))
        run.stopping = True
        assert "ending" in Delivery(destination, run.add(EpochEnded(epoch=2, total_epochs=3))).trouble


# Lost answers


@pytest.mark.parametrize("reply", [Reply(commit_then_drop=True), Reply(truncate=True), Reply(reset=True)])
def test_what_was_taken_without_an_answer_is_not_told_twice(server: SynapseServer, run: Run, reply: Reply) -> None:
    with opened(run, server, total=2.0) as destination:
        assert len(Delivery(destination, hello(run, 1)).delivered) == 1
        server.script([reply], path="/logs/$")
        records = run.add(*(Logged(level="INFO", message=f"again {number}") for number in range(3)))
        assert Delivery(destination, records).receipts == []
        outcome = Delivery(destination, [*records, *run.add(Logged(level="INFO", message="more"))])
    assert len(outcome.delivered) == 4
    assert server.messages() == ["hello 0", "again 0", "again 1", "again 2", "more"]


def test_where_the_log_can_not_be_read_it_is_told_again(server: SynapseServer, run: Run) -> None:
    server.may_list = False
    server.script([Reply(commit_then_drop=True)], path="/logs/$")
    with opened(run, server) as destination:
        records = hello(run)
        assert Delivery(destination, records).receipts == []
        assert len(Delivery(destination, records).delivered) == 3
    assert server.messages() == [*said(), *said()]


def test_a_log_that_can_never_be_read_does_not_hold_up_what_can_be_written(server: SynapseServer, run: Run) -> None:
    server.always(Reply(500), path=r"/logs/\?")
    with opened(run, server) as destination:
        records = hello(run)
        tries = [Delivery(destination, records) for _ in range(5)]
    assert [len(each.delivered) for each in tries] == [0, 0, 0, 0, 3]


def test_an_outage_does_not_let_it_forget_what_it_does_not_know(server: SynapseServer, run: Run) -> None:
    server.script([Reply(commit_then_drop=True)], path="/logs/$")
    with opened(run, server, total=1.0) as destination:
        records = hello(run)
        assert Delivery(destination, records).receipts == []
        server.stop_listening()
        assert all(Delivery(destination, records).trouble for _ in range(7))
        server.listen_again()
        assert len(Delivery(destination, records).delivered) == 3
    assert server.messages() == said()


@pytest.mark.parametrize(("size", "count", "taken"), [(20_000, 120, 2), (200_000, 100, 23)])
def test_long_pages_of_the_log_are_read_too(server: SynapseServer, run: Run, size: int, count: int, taken: int) -> None:
    with opened(run, server) as destination:
        records = run.add(*(Logged(level="INFO", message=f"{number} " + "x" * size) for number in range(count)))
        server.script([*[Reply()] * taken, Reply(commit_then_drop=True)], path="/logs/$")
        first = Delivery(destination, records)
        assert first.trouble
        assert Delivery(destination, records[len(first.receipts) :]).trouble == ""
    assert len(server.logs) == count
    assert any("page_size=10&" in request.path for request in server.requests) == (size == 200_000)


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_log_in_smaller_pages_than_asked_for_is_read(server: SynapseServer, run: Run, newest_first: bool) -> None:
    server.largest_page, server.newest_first = 30, newest_first
    with opened(run, server) as destination:
        assert len(Delivery(destination, hello(run, 550)).delivered) == 550
        server.script([Reply(commit_then_drop=True)], path="/logs/$")
        records = run.add(*(Logged(level="INFO", message=f"again {number}") for number in range(200)))
        assert Delivery(destination, records).receipts == []
        assert len(Delivery(destination, records).delivered) == 200
    assert len(server.logs) == 750


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_newest_pages_of_a_long_log_are_read(server: SynapseServer, run: Run, newest_first: bool) -> None:
    server.newest_first = newest_first
    with opened(run, server) as destination:
        assert len(Delivery(destination, hello(run, 750)).delivered) == 750
        server.script([Reply(commit_then_drop=True)], path="/logs/$")
        records = run.add(*(Logged(level="INFO", message=f"again {number}") for number in range(200)))
        assert Delivery(destination, records).receipts == []
        assert len(Delivery(destination, records).delivered) == 200
    assert len(server.logs) == 950


def test_an_end_whose_answer_was_lost_is_told_again_and_its_words_are_not(server: SynapseServer, run: Run) -> None:
    server.script([Reply(commit_then_drop=True)], path="/jobs/")
    records = run.add(RunCompleted(duration=1.0))
    with opened(run, server) as destination:
        assert Delivery(destination, records).receipts == []
        assert len(Delivery(destination, records).delivered) == 1
    assert server.statuses == ["SUCCEEDED", "SUCCEEDED"]
    assert server.messages() == ["completed in 1.0 s"]


# With a courier


def start(server: SynapseServer, **more: Any) -> trainer_hooks.Run:
    return trainer_hooks.start_run(
        run_id="a", synapse_host=server.url, synapse_job=JOB, total_epochs=3, **{"retry_delay": 0.05, **more}
    )


def test_an_outage_is_waited_out(server: SynapseServer, own_environment: Path) -> None:
    run = start(server)
    server.wait_for(lambda server: server.statuses == ["RUNNING"])
    server.stop_listening()
    run.log_metrics({"loss": 1.0}, epoch=1)
    run.log("while it is away")
    run.complete()
    assert not run.flush(0.3)
    server.listen_again()
    assert run.flush(20)
    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert "while it is away" in server.messages()
    assert server.points() == [("train", "epoch", 1, {"loss": 1.0})]
    ledger = read_ledger(own_environment / "a")
    assert (ledger.pending, ledger.rejected, ledger.is_balanced) == (0, 0, True)


def test_a_killed_courier_doubles_nothing(server: SynapseServer, own_environment: Path) -> None:
    """The one that comes after it can't know what the one before has sent."""
    directory = own_environment / "a"
    run = start(server)
    server.wait_for(lambda server: server.statuses == ["RUNNING"])
    server.always(Reply(commit_then_drop=True), path="/logs/$")
    run.log("before the kill")
    server.wait_for(lambda server: "before the kill" in server.messages())
    courier = load_courier(directory)
    assert courier is not None
    os.kill(courier.process.pid, signal.SIGKILL)
    server.normal()
    run.log("after it")
    run.complete()
    run.flush(0)
    assert invoke("sync", str(directory), "--timeout", "20").exit_code == 0
    assert [text for text in server.messages() if "the kill" in text or "after it" in text] == [
        "before the kill",
        "after it",
    ]
    assert server.statuses[-1] == "SUCCEEDED"


def test_a_training_that_is_killed_has_failed(server: SynapseServer) -> None:
    code = (
        "import os, signal, trainer_hooks; run = trainer_hooks.start_run(run_id='k', total_epochs=3);"
        "run.log_metrics({'loss': 1.0}, epoch=1); run.flush(10); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environ = {**os.environ, "SYNAPSE_HOST": server.url, "SYNAPSE_JOB_ID": JOB}
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environ, check=False)
    server.wait_for(lambda server: server.statuses == ["RUNNING", "FAILED"])
    assert server.job["result"]["error"]
    assert server.job["progress_record"]["current_progress"]["overall"] == pytest.approx(33.33)


def test_both_backends_are_told_at_once(server: SynapseServer) -> None:
    with PlatformServer(jobs=("7",)) as platform:
        run = start(server, job_id="7", callback_url=platform.url)
        server.always(Reply(503), path="/jobs/")
        run.log_metrics({"loss": 1.0}, epoch=1)
        run.complete()
        platform.wait_for(lambda platform: platform.job("7").status == "completed")
        assert server.statuses == []
        server.normal()
        assert run.flush(20)
    assert server.statuses == ["RUNNING", "SUCCEEDED"]


def test_a_second_training_in_one_process_is_not_told_to_the_job(
    server: SynapseServer, own_environment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        run = trainer_hooks.start_run(synapse_host=server.url, synapse_job=JOB)
        run.complete()
        run.flush(10)
    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    assert "job j-1 is another training's" in caplog.text
    assert (own_environment / "j-1-2").is_dir()


# Later


def test_what_was_told_offline_is_delivered_by_sync(
    server: SynapseServer, own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the job that it was told for, whatever the environment says of another."""
    directory = write_run(own_environment, "a", COMPLETED, synapse_host=server.url, synapse_job=JOB)
    monkeypatch.setenv("SYNAPSE_JOB_ID", "another")
    assert invoke("sync").exit_code == 0
    assert server.statuses == ["RUNNING", "SUCCEEDED"]
    ledger = read_ledger(directory)
    assert [account.destination for account in ledger.accounts] == ["synapse"]
    assert ledger.is_balanced
    assert invoke("runs", "show", "a").stdout.count("synapse") == 1


def test_a_run_of_no_job_is_not_told_to_the_environments(
    server: SynapseServer, own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(own_environment, "a", COMPLETED)
    monkeypatch.setenv("SYNAPSE_HOST", server.url)
    monkeypatch.setenv("SYNAPSE_JOB_ID", JOB)
    assert invoke("sync").exit_code == 0
    assert server.requests == []


def test_what_was_refused_is_offered_again(server: SynapseServer, own_environment: Path) -> None:
    server.refuse = lambda entry: entry["data"].get("content") == "odd"
    directory = write_run(
        own_environment,
        "a",
        [*COMPLETED, Logged(level="INFO", message="odd")],
        synapse_host=server.url,
        synapse_job=JOB,
    )
    assert invoke("sync").exit_code == 4
    assert len(load_rejected(directory, "synapse")) == 1
    server.refuse = lambda _: False
    assert invoke("sync", "--retry-rejected").exit_code == 0
    assert server.messages()[-1] == "odd"
    assert read_ledger(directory).is_balanced
