"""Server-sent events, as a browser's EventSource reads them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver, envelope


class Stream:
    """The events of an answer that goes on."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, str | None, Any]:
        """The next event: its kind, its id, its data."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line and not line.startswith(":"):
                fields[name] = value
            elif "data" in fields:
                return fields["event"], fields.get("id"), json.loads(fields["data"])
        raise AssertionError("the stream has ended")


@contextlib.contextmanager
def listening(receiver: Receiver, path: str, **headers: str) -> Iterator[Stream]:
    with receiver.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


def tell(receiver: Receiver, run: str, seq: int, event: dict[str, Any], **place: Any) -> None:
    body = {"events": [envelope(run, seq, event, **place)]}
    assert receiver.post(f"/training/jobs/{run}/events", body).json()["rejected"] == {}


def log(receiver: Receiver, run: str, seq: int, message: str) -> None:
    tell(receiver, run, seq, {"type": "logged", "level": "INFO", "message": message})


def test_a_runs_changes_and_its_logs_come_as_they_happen(shared: Receiver) -> None:
    tell(shared, "live", 1, {"type": "run_started", "total_epochs": 3})
    log(shared, "live", 2, "before")
    with listening(shared, "/runs/live/events") as stream:
        kind, _, run = stream.next()
        assert (kind, run["run"], run["status"], run["done"]) == ("run", "live", "running", 0)
        tell(shared, "live", 3, {"type": "epoch_ended", "epoch": 1})
        assert stream.next()[2]["done"] == 1
        log(shared, "live", 4, "a\nb <script>")
        told = [stream.next(), stream.next()]
        (found,) = [event for event in told if event[0] == "log"]
        assert (found[1], found[2]["message"]) == (str(found[2]["id"]), "a\nb <script>")


def test_a_listener_that_comes_again_gets_what_it_has_missed(shared: Receiver) -> None:
    for seq in (1, 2, 3):
        log(shared, "again", seq, f"line {seq}")
    first = shared.get("/runs/again/logs")["records"][0]["id"]
    with listening(shared, "/runs/again/events?after=0", **{"Last-Event-ID": str(first)}) as stream:
        assert [stream.next()[2].get("message") for _ in range(3)] == [None, "line 2", "line 3"]
    with listening(shared, f"/runs/again/events?after={first}") as stream:
        assert [stream.next()[2].get("message") for _ in range(3)] == [None, "line 2", "line 3"]


def test_changes_are_those_of_all_runs_and_begin_with_what_there_is(shared: Receiver) -> None:
    tell(shared, "old", 1, {"type": "run_started"}, time=1.8e9)
    with listening(shared, "/changes") as stream:
        assert "old" in iter(lambda: stream.next()[2]["run"], "nothing else")
        tell(shared, "new", 1, {"type": "run_started"})
        assert "new" in iter(lambda: stream.next()[2]["run"], "nothing else")
        tell(shared, "old", 2, {"type": "run_completed"})
        _, _, run = stream.next()
        assert (run["run"], run["status"]) == ("old", "completed")


def test_a_run_that_is_removed_ends_its_stream(shared: Receiver) -> None:
    tell(shared, "gone", 1, {"type": "run_started"})
    with listening(shared, "/runs/gone/events") as stream:
        stream.next()
        shutil.rmtree(shared.directory / "gone")
        with pytest.raises(AssertionError, match="the stream has ended"):
            stream.next()
    assert "Traceback" not in "".join(shared.said)


def test_what_is_not_there_has_no_events(shared: Receiver) -> None:
    assert shared.http.get("/runs/nowhere/events").status_code == 404


@pytest.mark.parametrize("path", ["/changes", "/runs/7/events"])
def test_only_who_may_read_may_listen(start: Any, path: str) -> None:
    receiver = start(token="a-token-of-the-server's-0123456789")
    assert httpx.get(receiver.url + path, trust_env=False).status_code == 401


def test_those_who_listen_are_counted(start: Any) -> None:
    receiver = start()
    with contextlib.ExitStack() as listeners:
        http = listeners.enter_context(
            httpx.Client(limits=httpx.Limits(max_connections=None), trust_env=False, timeout=60)
        )
        for _ in range(200):
            assert listeners.enter_context(http.stream("GET", f"{receiver.url}/changes")).status_code == 200
        refused = receiver.http.get("/changes")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert receiver.http.get("/runs").status_code == 200


def test_a_server_that_is_asked_to_end_waits_for_nobody_who_listens(start: Any) -> None:
    receiver = start()
    tell(receiver, "open", 1, {"type": "run_started"})
    with listening(receiver, "/changes") as all_runs, listening(receiver, "/runs/open/events") as one:
        assert (all_runs.next()[0], one.next()[0]) == ("run", "run")
        receiver.process.terminate()
        receiver.process.wait(4)
    assert "graceful shutdown exceeded" not in "".join(receiver.said)
