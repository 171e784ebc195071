"""How far each destination is, on disk: whole at any time, and no trouble of the disk's makes it unreadable."""

from __future__ import annotations

import threading
from functools import partial

from trainer_hooks.courier.start import _wait_until_delivered
from trainer_hooks.delivery import (
    DeliveryState,
    add_rejected,
    announce_courier,
    behind,
    keep_rejected,
    load_courier,
    load_rejected,
    load_state,
    load_states,
    save_state,
)
from trainer_hooks.events import Logged, MetricsLogged, Record
from trainer_hooks.journal import Journal
from trainer_hooks.process import this_process

STATE = DeliveryState(cursor={1: 100, 2: 7}, delivered=5, rejected=1, superseded=2, reached=1.5, trouble="refused")


def record(seq: int, run: str = "run") -> Record:
    return Record(run, 1, 3, seq, 0.0, MetricsLogged(metrics={}), 10)


def test_a_state_is_read_back_as_it_was_saved(tmp_path):
    save_state(tmp_path, "platform", STATE)
    assert load_state(tmp_path, "platform") == STATE
    save_state(tmp_path, "platform", DeliveryState(delivered=6))
    assert load_state(tmp_path, "platform") == DeliveryState(delivered=6)
    assert [path.name for path in (tmp_path / "delivery").iterdir()] == ["platform.json"]


def test_a_state_that_is_missing_or_torn_is_a_fresh_one(tmp_path):
    assert load_state(tmp_path, "platform") == DeliveryState()
    save_state(tmp_path, "platform", STATE)
    path = tmp_path / "delivery" / "platform.json"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert load_state(tmp_path, "platform") == DeliveryState()


def test_all_states_are_those_of_destinations_only(tmp_path):
    assert load_states(tmp_path) == {}
    save_state(tmp_path, "platform", STATE)
    save_state(tmp_path, "checkpoints", DeliveryState())
    announce_courier(tmp_path, 1, ["platform"])
    add_rejected(tmp_path, "platform", record(1), "no")
    (tmp_path / "delivery" / "courier.lock").touch()
    assert load_states(tmp_path) == {"platform": STATE, "checkpoints": DeliveryState()}


def test_refused_records_are_kept_once_each_with_the_latest_reason(tmp_path):
    assert load_rejected(tmp_path, "platform") == []
    save_state(tmp_path, "platform", STATE)
    add_rejected(tmp_path, "platform", record(1), "422: no")
    add_rejected(tmp_path, "platform", record(2, run='a "quoted" {"id": run'), "line\nbreak")
    add_rejected(tmp_path, "platform", record(1), "422: still no")
    first, second = load_rejected(tmp_path, "platform")
    assert (first.id, first.segment, first.seq, first.type) == ("run.3.1", 3, 1, "metrics_logged")
    assert first.reason == "422: still no"
    assert (second.id, second.reason) == ('a "quoted" {"id": run.3.2', "line\nbreak")
    keep_rejected(tmp_path, "platform", [second])
    assert load_rejected(tmp_path, "platform") == [second]
    keep_rejected(tmp_path, "platform", [])
    assert load_rejected(tmp_path, "platform") == []


def test_a_torn_entry_costs_no_other(tmp_path):
    save_state(tmp_path, "platform", STATE)
    for seq in (1, 2, 3):
        add_rejected(tmp_path, "platform", record(seq), "no")
    path = tmp_path / "delivery" / "platform.rejected.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in range(len(lines[1])):
        path.write_bytes(lines[0] + lines[1][:cut] + lines[2])
        assert [entry.seq for entry in load_rejected(tmp_path, "platform")] == [1, 3], cut
        path.write_bytes(lines[0] + lines[2] + lines[1][:cut])
        assert [entry.seq for entry in load_rejected(tmp_path, "platform")][:2] == [1, 3], cut


def test_the_type_of_a_refused_record_is_its_name_on_the_wire(tmp_path):
    save_state(tmp_path, "platform", STATE)
    refused = Record("run", 1, 1, 1, 0.0, Logged(level="INFO", message="x"), 10)
    add_rejected(tmp_path, "platform", refused, "no")
    assert load_rejected(tmp_path, "platform")[0].type == "logged"


def test_a_courier_announces_itself(tmp_path):
    assert load_courier(tmp_path) is None
    announce_courier(tmp_path, 2, ["platform", "checkpoints"])
    courier = load_courier(tmp_path)
    assert (courier.process, courier.attempt) == (this_process(), 2)
    assert courier.destinations == ["platform", "checkpoints"]
    (tmp_path / "delivery" / "courier.json").write_text("{")
    assert load_courier(tmp_path) is None


def test_a_cursor_is_behind_until_it_has_reached_every_end():
    end = {1: 100, 3: 50}
    assert not behind(iter([]), end)
    assert not behind(iter([{1: 100, 3: 50}, {1: 101, 2: 1, 3: 50}]), end)
    assert behind(iter([{1: 100, 3: 50}, {1: 100, 3: 49}]), end)
    assert behind(iter([{1: 100}]), end)
    assert not behind(iter([{}]), {})


def test_waiting_for_delivery_goes_on_while_the_courier_opens_a_segment(tmp_path):
    open_segment = partial(Journal, tmp_path, run="run", attempt=1, writer="courier")
    open_segment().close()
    opened = threading.Event()

    def open_segments() -> None:
        for _ in range(150):
            open_segment().close()
        opened.set()

    thread = threading.Thread(target=open_segments)
    thread.start()
    # For no destination: each wait looks once, and finds nothing to wait for.
    announce_courier(tmp_path, 1, [])
    waits = 0
    while not opened.is_set():
        assert _wait_until_delivered(tmp_path, 1, {1: 10}, timeout=0, is_working=lambda: True)
        waits += 1
    thread.join()
    assert waits
