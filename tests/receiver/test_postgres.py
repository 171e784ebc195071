"""Several receivers over one PostgreSQL database: what one of them is told, all of them know."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.receiver.serving import ROOT, Receiver, envelope
from tests.servers.postgres import PostgresServer, programs
from tests.waiting import wait_until

WHY = "PostgreSQL has an environment of its own: make test-postgres"
TOKEN = "0123456789abcdef-token"
NO_STORE = {
    "TRAINER_HOOKS_STORAGE": "s3://runs/store",
    "INTERNAL_STORAGE_ENDPOINT": "http://127.0.0.1:9",
    "INTERNAL_STORAGE_ACCESS_KEY": "access",
    "INTERNAL_STORAGE_SECRET_KEY": "secret",
}
pytestmark = pytest.mark.timeout(180)
Begin = Callable[..., Receiver]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg_pool", reason=WHY)
    found = programs()
    if found is None:
        pytest.skip(WHY)
    server = PostgresServer(found)
    yield server
    server.close()


@pytest.fixture
def begin(postgres: PostgresServer, tmp_path: Path) -> Iterator[Begin]:
    """Starts receivers over the one database, each with a directory of its own; the log begins empty."""
    import psycopg

    with psycopg.connect(postgres.url) as connection:
        connection.execute("DROP TABLE IF EXISTS trainer_hooks_log, trainer_hooks_meta")
    with ExitStack() as running:

        def start(name: str) -> Receiver:
            environ = {"TRAINER_HOOKS_SERVE_STORE": postgres.url, **NO_STORE}
            return running.enter_context(Receiver(tmp_path / name, token=TOKEN, **environ))

        yield start


def batch(run: str, first: int, last: int) -> dict[str, Any]:
    events = [{"type": "run_started", "model": "m"}, *({"type": "epoch_ended", "epoch": n} for n in range(1, 1000))]
    return {"events": [envelope(run, seq, events[seq - 1]) for seq in range(first, last + 1)]}


def done(receiver: Receiver, run: str) -> int:
    return receiver.run(run)["summary"]["done"]


def test_what_one_is_told_the_other_shows(begin: Begin) -> None:
    one, other = begin("one"), begin("other")
    one.post("/training/jobs/7/events", batch("7", 1, 3))
    other.post("/training/jobs/7/events", batch("7", 4, 6))
    assert [done(receiver, "7") for receiver in (one, other)] == [5, 5]
    assert one.events("7") == other.events("7")


def test_a_batch_that_comes_to_both_at_once_is_stored_once(begin: Begin) -> None:
    receivers = [begin("one"), begin("other")]
    answers: list[int] = []

    def tell(receiver: Receiver) -> None:
        places = range(1, 200, 10)
        told = (receiver.post("/training/jobs/7/events", batch("7", first, first + 9)) for first in places)
        answers.extend(answer.status_code for answer in told)

    threads = [threading.Thread(target=tell, args=[receiver]) for receiver in receivers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 80
    assert [len(receiver.events("7")) for receiver in receivers if done(receiver, "7")] == [200, 200]


def test_calls_of_the_predecessors_client_too(begin: Begin) -> None:
    one, other = begin("one"), begin("other")
    for epoch in (1, 2):
        told = {"current_epoch": epoch, "total_epochs": 2, "progress_percent": 50.0 * epoch}
        body = {"job_id": 7, "status": "running", **told, "metrics": {"train_loss": 0.5}}
        for receiver in (one, other):  # as one that got no answer from the first
            assert receiver.post("/training/jobs/7/callback/progress", body).status_code == 200
    end = {"job_id": 7, "status": "completed", "exit_code": 0, "total_epochs_completed": 2}
    assert other.post("/training/jobs/7/callback/completion", end).status_code == 200
    assert [receiver.run("7")["summary"]["status"] for receiver in (one, other)] == ["completed", "completed"]
    assert one.kinds("7") == other.kinds("7")
    times = [[record["time"] for record in receiver.get("/runs/7/logs")["records"]] for receiver in (one, other)]
    assert times[0] == times[1]


def test_a_wish_to_stop_is_heard_everywhere(begin: Begin) -> None:
    one, other = begin("one"), begin("other")
    one.post("/training/jobs/7/events", batch("7", 1, 2))
    one.post("/jobs/7/cancel", {"reason": "enough"})
    assert other.post("/training/jobs/7/events", batch("7", 3, 3)).json()["job_status"] == "cancelled"


def test_models_and_data_collections_have_one_number_everywhere(begin: Begin) -> None:
    one, other = begin("one"), begin("other")
    numbers = [
        receiver.post("/trainer-hooks/data-collections", {"name": name, "path": "/data"}).json()["id"]
        for receiver, name in ((one, "a"), (other, "b"))
    ]
    assert len(set(numbers)) == 2
    assert [one.get(f"/trainer-hooks/data-collections/{number}")["name"] for number in numbers] == ["a", "b"]


def test_a_receiver_that_is_killed_takes_nothing_with_it(begin: Begin) -> None:
    one = begin("one")
    for first in range(1, 100, 10):
        assert one.post("/training/jobs/7/events", batch("7", first, first + 9)).status_code == 200
    one.kill()
    assert done(begin("new"), "7") == 99
    assert done(begin("one"), "7") == 99


def test_a_database_that_is_killed_keeps_all_that_was_acknowledged(begin: Begin, postgres: PostgresServer) -> None:
    one = begin("one")
    assert one.post("/training/jobs/7/events", batch("7", 1, 5)).status_code == 200
    postgres.kill()
    try:
        refused = one.post("/training/jobs/7/events", batch("7", 6, 6))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert done(one, "7") == 4, "what is here is shown all the same"
        assert one.http.get("/runs/7", timeout=4).status_code == 200, "and nobody waits for the database"
    finally:
        postgres.start()
    wait_until(
        lambda: one.post("/training/jobs/7/events", batch("7", 6, 6)).status_code == 200,
        30,
        "the database is found again",
    )
    assert done(begin("other"), "7") == 5


def test_a_receiver_that_is_cut_off_in_its_turn_holds_up_the_others_for_a_while_only(
    begin: Begin, postgres: PostgresServer
) -> None:
    import psycopg

    from trainer_hooks.receiver.postgres.log import LOCK

    one = begin("one")
    with psycopg.connect(postgres.url) as cut_off:
        cut_off.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        assert one.http.post("/training/jobs/7/events", json=batch("7", 1, 1), timeout=25).status_code == 503
    assert one.post("/training/jobs/7/events", batch("7", 1, 1)).status_code == 200


def test_a_heartbeat_takes_the_place_of_the_one_before(begin: Begin, postgres: PostgresServer) -> None:
    import psycopg

    one, other = begin("one"), begin("other")
    one.post("/training/jobs/7/events", batch("7", 1, 2))
    beat = {"run": "7", "attempt": 1, "state": "progressing", "idle": 0.0, "time": 1.0}
    for _ in range(5):
        assert one.post("/training/jobs/7/heartbeat", beat).status_code == 200
    assert other.run("7")["heartbeat"]["state"] == "progressing"
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM trainer_hooks_log").fetchone() == (2,)


def test_whoever_waits_at_one_hears_what_the_other_is_told(begin: Begin) -> None:
    one, other = begin("one"), begin("other")
    one.post("/training/jobs/7/events", batch("7", 1, 1))
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(other.get("/runs/7/logs", after=0, wait=20)))
    waiting.start()
    said = {"type": "logged", "level": "INFO", "message": "heard"}
    one.post("/training/jobs/7/events", {"events": [envelope("7", 2, said)]})
    waiting.join(30)
    assert [record["message"] for record in found[0]["records"]] == ["heard"]


def serve(directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer_hooks.cli", "serve", "--port", "0", "--dir", str(directory)]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_what_can_not_be_is_said_at_the_start_without_the_password(
    begin: Begin, postgres: PostgresServer, tmp_path: Path
) -> None:
    assert begin
    (tmp_path / "used" / "7" / "journal").mkdir(parents=True)
    (tmp_path / "used" / "7" / "journal" / "000001.jsonl").write_text("")
    settings = {"TRAINER_HOOKS_SERVE_STORE": postgres.url, **NO_STORE}
    malformed = f"postgresql://u:{postgres.password} x@h/d"  # which the library's own error quotes
    wrong = postgres.url.replace("/runs", "/none")
    cases = {
        "one place for checkpoints and images": (tmp_path / "a", {"TRAINER_HOOKS_SERVE_STORE": postgres.url}),
        "takes postgresql://": (
            tmp_path / "b",
            {**settings, "TRAINER_HOOKS_SERVE_STORE": f"mysql://{postgres.password}@h"},
        ),
        "percent-encoded": (tmp_path / "d", {**settings, "TRAINER_HOOKS_SERVE_STORE": malformed}),
        "can't be had": (tmp_path / "c", {**settings, "TRAINER_HOOKS_SERVE_STORE": wrong}),
        "name an empty directory": (tmp_path / "used", settings),
    }
    for said, (directory, environ) in cases.items():
        refused = serve(directory, **environ)
        assert refused.returncode == 2, refused.stderr
        assert said in refused.stderr
        assert postgres.password not in refused.stderr + refused.stdout


def test_a_directory_of_another_database_is_not_taken(begin: Begin, postgres: PostgresServer, tmp_path: Path) -> None:
    with begin("one") as one:
        one.post("/training/jobs/7/events", batch("7", 1, 1))
    place = tmp_path / "one" / ".#receiver" / "replica.json"
    place.write_text(json.dumps({"log": "another", "position": 3}))
    refused = serve(tmp_path / "one", TRAINER_HOOKS_SERVE_STORE=postgres.url, **NO_STORE)
    assert refused.returncode == 2
    assert "belongs to another database" in refused.stderr
