"""The batch protocol's own rules: what is stored, what is rejected by its id, what is no batch at all."""

from __future__ import annotations

import shutil
from typing import Any

import httpx
import pytest

from tests.receiver.serving import Receiver, envelope
from trainer_hooks.receiver.seen import Seen

STARTED = {"type": "run_started"}


def store(receiver: Receiver, job: str, *events: Any) -> httpx.Response:
    return receiver.post(f"/training/jobs/{job}/events", {"events": list(events)})


def test_the_offer_is_that_of_the_protocol(shared: Receiver) -> None:
    offer = {
        "protocol": "trainer-hooks/1",
        "max_events": 2000,
        "max_bytes": 4_000_000,
        "heartbeats": True,
        "images": True,
    }
    assert shared.get("/trainer-hooks") == offer


def test_the_first_content_under_an_id_stays_within_a_request_and_across_requests(shared: Receiver) -> None:
    logs = [{"type": "logged", "level": "INFO", "message": text} for text in ("a", "b", "c")]
    one, two, other = (envelope("first", seq, event) for seq, event in ((1, logs[0]), (1, logs[1]), (2, logs[2])))
    assert store(shared, "first", one, two).json()["stored"] == [one["id"]] * 2
    assert store(shared, "first", two, other).json()["stored"] == [one["id"], other["id"]]
    assert [one["message"] for one in shared.get("/runs/first/logs")["records"]] == ["a", "c"]


def test_what_comes_out_of_order_is_stored_and_ends_stay_ends(shared: Receiver) -> None:
    end = envelope("order", 3, {"type": "run_completed", "epochs": 1})
    epoch = envelope("order", 2, {"type": "epoch_ended", "epoch": 1})
    start = envelope("order", 1, STARTED)
    for event in (end, epoch, start, end):
        store(shared, "order", event)
    shown = shared.run("order")["summary"]
    assert (shown["status"], shown["done"]) == ("completed", 1)
    assert len(shared.kinds("order")) == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"event": {"type": "epoch_ended"}}, "missing required field `epoch`"),
        ({"event": {"type": "epoch_ended", "epoch": "x"}}, "Expected `int`"),
        ({"event": {"type": 5}}, "Expected `str`"),
        ({"event": 5}, "Expected `object`"),
        ({"event": {"type": "segment_opened"}}, "the sender's own file"),
        ({"run": ""}, "length >= 1"),
        ({"run": "other"}, "its id is not <run>"),
        ({"segment": 2}, "its id is not <run>"),
        ({"attempt": 0}, "Expected `int` >= 1"),
        ({"attempt": None}, "Expected `int`"),
        ({"time": -1}, ">= 0"),
        ({"id": "rejected.../../x-1.1"}, "its id is not <run>"),
        ({"event": {"type": "logged", "level": "INFO", "message": "x" * 3_200_000}}, "may have 3145728"),
    ],
)
def test_an_event_that_can_not_be_read_back_is_rejected_by_its_id(
    shared: Receiver, changes: dict[str, Any], reason: str
) -> None:
    bad = envelope("rejected", 1, STARTED) | changes
    good = envelope("accepted", 1, STARTED)
    answer = store(shared, "accepted", bad, good).json()
    assert answer["stored"] == [good["id"]]
    assert reason in answer["rejected"][bad["id"]]


def test_an_event_of_a_later_version_is_kept_as_it_is(shared: Receiver) -> None:
    later = envelope("later", 1, {"type": "run_teleported", "to": "élsewhere"})
    assert store(shared, "later", later, envelope("later", 2, STARTED)).json()["rejected"] == {}
    assert "élsewhere" in (shared.directory / "later" / "journal" / "000001.jsonl").read_text()
    assert shared.run("later")["summary"]["status"] == "running"


def test_a_run_that_was_removed_may_be_told_of_again(shared: Receiver) -> None:
    store(shared, "removed", envelope("removed", 1, STARTED))
    shutil.rmtree(shared.directory / "removed")
    again = store(shared, "removed", envelope("removed", 1, STARTED), envelope("removed", 2, STARTED))
    assert len(again.json()["stored"]) == 2
    assert shared.kinds("removed") == ["run_started", "run_started"]


def test_a_segment_is_of_one_attempt(shared: Receiver) -> None:
    store(shared, "attempt", envelope("attempt", 1, STARTED))
    other = envelope("attempt", 2, STARTED, attempt=2)
    assert store(shared, "attempt", other).json()["rejected"] == {other["id"]: "segment 1 is of attempt 1"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"events": 5}', b'{"events": [5]}', b'{"events": [{"id": 5}]}', b'{"events":["\xff"]}']
)
def test_what_is_no_batch_is_answered_with_the_place_of_the_mistake(shared: Receiver, body: bytes) -> None:
    answer = shared.http.post("/training/jobs/7/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


def test_a_heartbeat_for_a_run_that_is_not_there_leaves_nothing_behind(shared: Receiver) -> None:
    beat = {"time": 1.0, "run": "nowhere", "attempt": 1, "state": "starting", "idle": 0.0}
    assert shared.post("/training/jobs/nowhere/heartbeat", beat).status_code == 200
    assert not (shared.directory / "nowhere").exists()
    assert shared.post("/training/jobs/nowhere/heartbeat", {**beat, "state": "odd"}).status_code == 422


def test_a_set_of_numbers_takes_room_for_its_gaps_only() -> None:
    seen, numbers = Seen(), [5, 1, 2, 4, 3, 3, 9, 7, 8, 100]
    for place, number in enumerate(numbers):
        seen.add(number)
        assert all((other in seen) == (other in numbers[: place + 1]) for other in range(12))
    assert (seen._first, seen._last) == ([1, 7, 100], [5, 9, 100])
