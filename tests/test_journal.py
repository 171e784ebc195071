"""Nothing accepted is lost, whatever happens to the bytes, the disk, the process or the threads."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.disks import small_disk
from tests.waiting import wait_until
from trainer_hooks.events import (
    CheckpointSaved,
    EpochEnded,
    Logged,
    MetricsLogged,
    ProgressMade,
    Record,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    SegmentOpened,
    Validated,
)
from trainer_hooks.journal import Damage, Journal, Reader, read_headers, read_records, segments, sizes


def open_journal(directory: Path, *, run="run", attempt=1, writer="training", job=None) -> Journal:
    return Journal(directory, run=run, attempt=attempt, writer=writer, job=job)


def metric(number: int) -> MetricsLogged:
    return MetricsLogged(metrics={"loss": number / 8}, iteration=number)


def iterations(directory: Path) -> list[int]:
    return [r.event.iteration for r in read_records(directory) if isinstance(r.event, MetricsLogged)]


def everything(directory: Path) -> list[Record | Damage]:
    reader, found = Reader(directory), []
    while items := reader.read():
        found += items
    return found


def records_and_damages(directory: Path) -> tuple[list[Record], list[Damage]]:
    items = everything(directory)
    return [i for i in items if isinstance(i, Record)], [i for i in items if isinstance(i, Damage)]


def written(directory: Path, count: int) -> Path:
    """A closed journal of `count` metrics; returns its only segment."""
    journal = open_journal(directory)
    for number in range(count):
        journal.append(metric(number))
    journal.close()
    ((_, path),) = segments(directory)
    return path


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


# What is on disk


def test_a_segment_is_json_lines_with_a_checksum_each(tmp_path):
    path = written(tmp_path, 2)
    lines = path.read_bytes().splitlines()
    decoded = [json.loads(line) for line in lines]
    assert [line["seq"] for line in decoded] == [0, 1, 2]
    assert [line["event"]["type"] for line in decoded] == ["segment_opened", "metrics_logged", "metrics_logged"]
    for line, plain in zip(lines, decoded, strict=True):
        body, _, _ = line.rpartition(b',"crc"')
        assert plain["crc"] == f"{zlib.crc32(body):08x}"


def test_a_record_knows_its_run_attempt_segment_and_end(tmp_path):
    journal = open_journal(tmp_path, run="r/1", attempt=3, job="j")
    journal.append(metric(1))
    header, record = everything(tmp_path)
    assert header.event.job == "j"
    assert (record.run, record.attempt, record.segment, record.seq) == ("r/1", 3, 1, 1)
    assert record.id == "r/1.1.1"
    assert record.end == sizes(tmp_path)[1] == journal.position[1]


def test_every_writer_has_a_segment_of_its_own(tmp_path):
    writers = ["training", "courier", "rank 1"]
    journals = [open_journal(tmp_path, writer=writer) for writer in writers]
    for journal in journals:
        journal.append(metric(1))
    assert {n: header.writer for n, header in read_headers(tmp_path).items()} == dict(enumerate(writers, 1))
    assert len({record.id for record in read_records(tmp_path)}) == 6


def test_records_of_several_mebibytes_are_read_back(tmp_path):
    journal = open_journal(tmp_path)
    messages = [letter * (1 << 20) * size for letter, size in (("a", 1), ("b", 2), ("c", 2))]
    for message in messages:
        journal.append(Logged(level="INFO", message=message))
        journal.append(metric(1))
    found = [r.event.message for r in read_records(tmp_path) if isinstance(r.event, Logged)]
    assert found == messages
    assert iterations(tmp_path) == [1, 1, 1]


def test_a_large_segment_is_followed_by_the_next(tmp_path):
    journal = open_journal(tmp_path)
    for number in range(70):
        journal.append(Logged(level="INFO", message="x" * (1 << 20), data={"number": number}))
    records, damages = records_and_damages(tmp_path)
    assert damages == []
    assert [number for number, _ in segments(tmp_path)] == [1, 2]
    assert [r.event.data["number"] for r in records if isinstance(r.event, Logged)] == list(range(70))
    assert journal.position == sizes(tmp_path)
    assert {header.attempt for header in read_headers(tmp_path).values()} == {1}


# What may not be accepted, and what is mended


@pytest.mark.parametrize(
    "event",
    [
        ProgressMade(current=float("nan"), total=10),
        EpochEnded(epoch="3"),
        MetricsLogged(metrics={"loss": None}),
        MetricsLogged(metrics={"loss": object()}),
    ],
)
def test_an_event_that_could_not_be_read_back_is_refused_at_once(tmp_path, event):
    journal = open_journal(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        journal.append(event)
    journal.append(metric(1))
    assert iterations(tmp_path) == [1]
    assert records_and_damages(tmp_path)[1] == []


def test_text_that_is_no_valid_unicode_is_kept_as_well_as_it_can_be(tmp_path):
    journal = open_journal(tmp_path, run="run-\udcff")
    journal.append(CheckpointSaved(names=["last"], path=os.fsdecode(b"/data/\xff.pt"), size=1))
    (record,) = [r for r in read_records(tmp_path) if isinstance(r.event, CheckpointSaved)]
    assert record.event.path == "/data/\\udcff.pt"
    assert record.run == "run-\\udcff"


# Damage


def test_cut_at_every_byte_of_the_last_three_records_what_is_whole_is_found(tmp_path):
    path = written(tmp_path, 6)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[-4], len(whole) + 1):
        path.write_bytes(whole[:cut])
        records, damages = records_and_damages(tmp_path)
        assert [record.end for record in records] == [end for end in ends if end <= cut], cut
        assert damages == []


def test_after_every_cut_the_next_writer_goes_on(tmp_path):
    path = written(tmp_path, 6)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole), 7):
        path.write_bytes(whole[:cut])
        journal = open_journal(tmp_path, attempt=2)
        journal.append(metric(100))
        journal.close()
        assert iterations(tmp_path) == [0, 1, 2, 3, 4, 100]
        ((_, _), (_, second)) = segments(tmp_path)
        second.unlink()


def test_any_single_flipped_bit_costs_one_record_at_most(tmp_path):
    path = written(tmp_path, 3)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    start, end = len(lines[0] + lines[1]), len(lines[0] + lines[1] + lines[2])
    for place in range(start, end):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            records, damages = records_and_damages(tmp_path)
            in_newline = place == end - 1
            assert [r.seq for r in records] == ([0, 1, 2, 3] if in_newline else [0, 1, 3]), (place, bit)
            assert sum(d.size for d in damages) >= len(lines[2]), (place, bit)


def test_a_damaged_header_does_not_cost_the_run(tmp_path):
    path = written(tmp_path, 3)
    broken = bytearray(path.read_bytes())
    broken[20] ^= 1
    path.write_bytes(broken)
    records, damages = records_and_damages(tmp_path)
    assert [(r.run, r.attempt, r.seq) for r in records] == [(tmp_path.name, 1, n) for n in (1, 2, 3)]
    assert len(damages) == 1
    assert read_headers(tmp_path)[1].writer == "unknown"


def test_a_segment_with_a_damaged_header_counts_to_the_attempt_in_front_of_it(tmp_path):
    for attempt in (1, 2, 2):
        open_journal(tmp_path, attempt=attempt).append(metric(attempt))
    path = segments(tmp_path)[2][1]
    path.write_bytes(path.read_bytes().replace(b"segment_opened", b"segment_0pened"))
    assert [r.attempt for r in read_records(tmp_path, {1: 10**6, 2: 10**6})] == [2]


def test_a_tail_of_zeros_is_passed_over(tmp_path):
    path = written(tmp_path, 3)
    with path.open("ab") as file:
        file.write(bytes(5000))
    assert iterations(tmp_path) == [0, 1, 2]
    with path.open("ab") as file:
        file.write(b"\n" + path.read_bytes().splitlines(keepends=True)[1])
    assert iterations(tmp_path) == [0, 1, 2, 0]
    assert [damage.size for damage in records_and_damages(tmp_path)[1]] == [5001]


def test_a_whole_record_behind_the_beginning_of_a_torn_one_is_found(tmp_path):
    path = written(tmp_path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines[2])):
        torn = lines[2][:cut].rstrip(b"\n")
        path.write_bytes(lines[0] + lines[1] + torn + lines[3])
        records, damages = records_and_damages(tmp_path)
        salvaged = [0, 1, 2, 3] if cut >= len(lines[2]) - 1 else [0, 1, 3]
        assert [r.seq for r in records] == salvaged, cut
        assert len(damages) == 1


def test_two_records_saved_from_one_line_are_both_read_however_few_are_asked_for(tmp_path):
    path = written(tmp_path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-1] + b"#" + lines[2] + lines[3])
    reader, found = Reader(tmp_path), []
    while items := reader.read(limit=1):
        found += items
        reader = Reader(tmp_path, reader.cursor)
    assert [item.seq for item in found if isinstance(item, Record)] == [0, 1, 2, 3]


def test_an_event_of_a_newer_version_is_passed_over_and_counted(tmp_path):
    path = written(tmp_path, 2)
    body = b'{"seq":9,"time":1.0,"event":{"type":"epoch_imagined","epoch":3}'
    with path.open("ab") as file:
        file.write(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
        file.write(path.read_bytes().splitlines(keepends=True)[1])
    assert iterations(tmp_path) == [0, 1, 0]
    assert len(records_and_damages(tmp_path)[1]) == 1


def test_a_field_of_a_newer_version_is_ignored(tmp_path):
    path = written(tmp_path, 1)
    body = b'{"seq":9,"time":1.0,"event":{"type":"metrics_logged","metrics":{},"iteration":7,"mood":"good"}'
    with path.open("ab") as file:
        file.write(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
    assert iterations(tmp_path) == [0, 7]


def test_a_long_damaged_line_is_searched_in_linear_time(tmp_path):
    path = written(tmp_path, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"seq":1,"time":' * 60_000 + b',"crc":"' * 60_000 + b"\n" + lines[1])
    assert [r.seq for r in records_and_damages(tmp_path)[0]] == [0, 1]


# Reading


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=4), limits=st.lists(st.integers(1, 9), min_size=1))
def test_reading_resumed_at_any_point_gives_exactly_the_rest(tmp_path_factory, counts, limits):
    directory = tmp_path_factory.mktemp("run")
    for number, count in enumerate(counts):
        journal = open_journal(directory, attempt=number + 1)
        for iteration in range(count):
            journal.append(metric(iteration))
        journal.close()
    expected = [record.id for record in read_records(directory)]
    cursor, found = {}, []
    for limit in itertools.cycle(limits):
        reader = Reader(directory, cursor)
        items = reader.read(limit)
        if not items:
            break
        found += items
        cursor = dict(reader.cursor)
    assert [record.id for record in found] == expected
    assert len(expected) == sum(counts) + len(counts)
    assert cursor == sizes(directory)


def test_a_clock_that_jumps_changes_no_order_within_a_segment(tmp_path):
    path = written(tmp_path, 6)
    beside = open_journal(tmp_path, writer="courier")
    beside.append(Logged(level="INFO", message="beside"))
    beside.close()
    clock = iter([0, 3600, 7200, 315_360_000, -3600, -7200, 1])
    lines = []
    for line in path.read_bytes().splitlines():
        plain = json.loads(line)
        now = plain["time"] + next(clock)
        body = line.rpartition(b',"crc"')[0].replace(b'"time":%.6f' % plain["time"], b'"time":%.6f' % now)
        lines.append(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
    path.write_bytes(b"".join(lines))
    assert iterations(tmp_path) == [0, 1, 2, 3, 4, 5]
    records, damages = records_and_damages(tmp_path)
    assert (len(records), damages) == (9, [])


def test_a_reader_sees_what_is_written_after_it_has_caught_up(tmp_path):
    journal = open_journal(tmp_path)
    reader = Reader(tmp_path)
    assert len(reader.read()) == 1
    assert reader.read() == []
    journal.append(metric(5))
    late = open_journal(tmp_path, attempt=2)
    late.append(metric(6))
    assert [item.attempt for item in reader.read()] == [1, 2, 2]
    assert reader.read() == []


def test_a_segment_that_is_just_being_opened_is_not_mistaken_for_a_damaged_one(tmp_path):
    written(tmp_path, 1)
    header = open_journal(tmp_path / "other", attempt=2).position and segments(tmp_path / "other")[0][1].read_bytes()
    path = tmp_path / "journal" / "000002.jsonl"
    reader = Reader(tmp_path)
    for size in (0, 40):
        path.write_bytes(header[:size])
        assert [item.segment for item in reader.read()] == ([1, 1] if size == 0 else [])
        assert list(read_headers(tmp_path)) == [1]
    path.write_bytes(header)
    assert [(item.segment, item.attempt) for item in reader.read()] == [(2, 2)]


def test_a_directory_without_a_journal_has_no_records(tmp_path):
    assert segments(tmp_path) == []
    assert list(read_records(tmp_path)) == []
    assert sizes(tmp_path / "nowhere") == {}


# Threads, signals, processes


def test_32_threads_may_append_at_once(tmp_path):
    journal = open_journal(tmp_path)
    barrier = threading.Barrier(32)

    def tell(thread: int) -> None:
        barrier.wait()
        for number in range(200):
            journal.append(MetricsLogged(metrics={"thread": thread}, iteration=number))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [r for r in read_records(tmp_path) if isinstance(r.event, MetricsLogged)]
    orders = defaultdict(list)
    for record in records:
        orders[record.event.metrics["thread"]].append(record.event.iteration)
    assert all(orders[thread] == list(range(200)) for thread in range(32))
    assert len({record.id for record in records}) == 32 * 200
    assert [record.seq for record in records] == list(range(1, 32 * 200 + 1))


@pytest.mark.timeout(60, method="thread")  # the timer of the other method is needed here
def test_a_signal_handler_may_append_while_its_own_thread_is_appending(tmp_path):
    journal = open_journal(tmp_path)
    handled, numbers = [], itertools.count()

    def handler(*_):
        number = next(numbers)
        journal.append(ProgressMade(current=number, total=1))
        handled.append(number)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        appended = 0
        while len(handled) < 200:
            journal.append(metric(appended))
            appended += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    records, damages = records_and_damages(tmp_path)
    assert damages == []
    assert iterations(tmp_path) == list(range(appended))
    # Not in order where a signal came while the handler was still at the one before.
    assert sorted(r.event.current for r in records if isinstance(r.event, ProgressMade)) == sorted(handled)
    assert len({record.id for record in records}) == len(records)


def test_a_forked_child_is_silent(tmp_path):
    journal = open_journal(tmp_path)
    journal.append(metric(1))
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            journal.append(metric(2))
            journal.close()
            status = 0 if journal.position == {} else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    journal.append(metric(3))
    journal.close()
    assert iterations(tmp_path) == [1, 3]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_other_threads_append_hangs_nobody(tmp_path):
    journal = open_journal(tmp_path)
    stop = threading.Event()

    def tell() -> None:
        while not stop.is_set():
            journal.append(metric(1))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = _fork_that_touches(journal)
            wait_until(lambda child=child: os.waitpid(child, os.WNOHANG)[0], timeout=10, what="the child's end")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(iterations(tmp_path)) == {1}


def _fork_that_touches(journal: Journal) -> int:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            journal.append(metric(2))
            _ = journal.position
            journal.close()
        os._exit(0)
    return child


RACER = """
import sys
from pathlib import Path
from trainer_hooks.events import MetricsLogged
from trainer_hooks.journal import Journal
directory, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(50):
    journal = Journal(directory, run="run", attempt=1, writer=name)
    journal.append(MetricsLogged(metrics={}, iteration=turn))
    journal.close()
"""


def test_processes_racing_for_segment_numbers_never_share_one(tmp_path):
    racers = [run_python(RACER, tmp_path, f"rank {number}") for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert [finish(racer) for racer in racers] == [0, 0, 0]
    records, damages = records_and_damages(tmp_path)
    assert damages == []
    assert len({record.id for record in records}) == len(records) == 3 * 50 * 2
    headers = read_headers(tmp_path)
    assert list(headers) == list(range(1, 151))
    turns = defaultdict(list)
    for record in records:
        if isinstance(record.event, MetricsLogged):
            turns[headers[record.segment].writer].append(record.event.iteration)
    assert all(turns[f"rank {number}"] == list(range(50)) for number in range(3))


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


VICTIM = """
import os, sys
from pathlib import Path
from trainer_hooks.events import MetricsLogged
from trainer_hooks.journal import Journal
journal = Journal(Path(sys.argv[1]), run="run", attempt=1, writer="training")
number = 0
while True:
    journal.append(MetricsLogged(metrics={"x": 0.1}, iteration=number))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.parametrize("seed", range(6))
def test_sigkill_at_any_moment_loses_nothing_that_was_accepted(tmp_path, seed):
    victim = run_python(VICTIM, tmp_path)
    enough = random.Random(seed).randint(1, 3000)
    told = b""
    while told.count(b"\n") < enough:
        told += os.read(victim.stdout.fileno(), 1 << 16)
    victim.kill()
    while chunk := os.read(victim.stdout.fileno(), 1 << 16):
        told += chunk
    finish(victim)
    count = told.count(b"\n")
    found = iterations(tmp_path)
    assert found[:count] == list(range(count))
    assert len(found) <= count + 1


# The disk


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_a_full_disk_costs_nothing_once_it_has_room_again(disk):
    journal = open_journal(disk.run)
    disk.fill()
    for number in range(400):
        journal.append(metric(number))
    journal.append(RunCompleted(epochs=3))
    assert len(iterations(disk.run)) < 400
    assert journal.at_risk.startswith(f"{401 - len(iterations(disk.run))} (")
    disk.free()
    journal.append(metric(400))
    assert journal.at_risk is None
    assert iterations(disk.run) == list(range(401))
    assert [record.seq for record in read_records(disk.run)] == list(range(403))
    assert journal.position == sizes(disk.run)


def test_a_disk_that_fills_up_again_and_again_keeps_the_order(disk):
    journal = open_journal(disk.run)
    number = 0
    for _ in range(5):
        disk.fill()
        for _ in range(60):
            journal.append(metric(number))
            number += 1
        disk.free()
        for _ in range(number % 7):
            journal.append(metric(number))
            number += 1
    journal.close()
    assert journal.at_risk is None
    assert iterations(disk.run) == list(range(number))
    assert [record.seq for record in read_records(disk.run)] == list(range(number + 1))


def test_what_memory_can_not_hold_is_counted_and_lifecycle_events_are_kept(disk):
    journal = open_journal(disk.run)
    disk.fill()
    for number in range(400):
        journal.append(Logged(level="INFO", message="x" * 64_000, data={"number": number}))
    journal.append(RunFailed(error="UnknownError", message="y" * 70_000))
    assert journal.at_risk.startswith("401 (")
    disk.free()
    journal.append(metric(1))
    assert journal.at_risk is None
    records = list(read_records(disk.run))
    numbers = [r.event.data["number"] for r in records if isinstance(r.event, Logged)]
    (dropped,) = [r.event for r in records if isinstance(r.event, RecordsDropped)]
    assert numbers == list(range(len(numbers)))
    assert 200 < len(numbers) < 400
    assert dropped.count == 400 - len(numbers)
    assert sum(isinstance(r.event, RunFailed) for r in records) == 1
    assert iterations(disk.run) == [1]
    assert len({r.id for r in records}) == len(records)


def test_memory_has_room_again_after_the_disk_had(disk):
    journal = open_journal(disk.run)
    message = "x" * (1 << 20)
    for number in range(3):
        disk.fill()
        for _ in range(10):
            journal.append(Logged(level="INFO", message=message))
        disk.free()
        journal.append(metric(number))
    events = [record.event for record in read_records(disk.run)]
    assert not any(isinstance(event, RecordsDropped) for event in events)
    assert sum(isinstance(event, Logged) for event in events) == 30


# A declared limit


LIMIT = 40_000


def limited(directory: Path, limit: int = LIMIT) -> Journal:
    journal = open_journal(directory)
    journal.limit_to(limit)
    return journal


def dropped(directory: Path) -> int:
    return sum(r.event.count for r in read_records(directory) if isinstance(r.event, RecordsDropped))


def kept(directory: Path, kind: type) -> int:
    return sum(isinstance(record.event, kind) for record in read_records(directory))


def test_beyond_its_limit_a_journal_drops_logs_first_then_iterations_and_counts_them(tmp_path):
    journal = limited(tmp_path)
    for number in range(1000):
        journal.append(Logged(level="INFO", message=f"line {number}"))
    assert sizes(tmp_path)[1] < LIMIT * 0.8, "log records leave room for metrics"
    metrics_began = sizes(tmp_path)[1]
    for number in range(1000):
        journal.append(metric(number))
        journal.append(ProgressMade(current=number, total=1000))
    assert metrics_began < LIMIT <= sizes(tmp_path)[1] < LIMIT * 1.1
    journal.close()
    logs, metrics, progress = (kept(tmp_path, kind) for kind in (Logged, MetricsLogged, ProgressMade))
    assert min(logs, metrics, progress) > 20
    assert logs + metrics + progress + dropped(tmp_path) == 3000


def test_beyond_its_limit_nothing_else_is_dropped(tmp_path):
    journal = limited(tmp_path, limit=1000)
    for epoch in range(1, 101):
        journal.append(Logged(level="ERROR", message="x" * 1000))
        journal.append(EpochEnded(epoch=epoch, metrics={"loss": 1}))
        journal.append(Validated(epoch=epoch, metrics={"map": 1}))
        journal.append(CheckpointSaved(names=["last"], path="/x.pt", size=1, epoch=epoch))
    journal.append(RunCompleted())
    for kind in (EpochEnded, Validated, CheckpointSaved):
        assert kept(tmp_path, kind) == 100
    assert kept(tmp_path, Logged) + dropped(tmp_path) == 100
    assert isinstance(list(read_records(tmp_path))[-1].event, RunCompleted)


def test_what_a_limit_drops_is_on_disk_before_anything_that_follows_and_soon_where_nothing_does(tmp_path):
    journal = limited(tmp_path, limit=1000)
    deadline = time.monotonic() + 30
    count = 0
    while dropped(tmp_path) < 2 and time.monotonic() < deadline:
        journal.append(Logged(level="INFO", message="x" * 200))
        count += 1
    assert dropped(tmp_path) > 1, "a process that is killed has counted all but the last second's"
    assert kept(tmp_path, RecordsDropped) == 2
    journal.append(Logged(level="INFO", message="x" * 200))
    journal.append(RunCompleted())
    assert kept(tmp_path, Logged) + dropped(tmp_path) == count + 1


def test_log_records_dropped_between_metrics_do_not_become_longer_counts(tmp_path):
    journal = limited(tmp_path)
    while sizes(tmp_path)[1] < LIMIT * 0.76:
        journal.append(metric(0))
    began = time.monotonic()
    for number in range(1, 41):
        journal.append(Logged(level="INFO", message=f"line {number}"))
        journal.append(metric(number))
    assert iterations(tmp_path)[-40:] == list(range(1, 41))
    assert kept(tmp_path, RecordsDropped) <= 2 + time.monotonic() - began
    journal.append(EpochEnded(epoch=1, metrics={}))
    assert dropped(tmp_path) == 40, "in front of what is never dropped stands the whole count"
    journal.append(Logged(level="INFO", message="one more"))
    journal.append(metric(41))
    journal.close()
    assert dropped(tmp_path) == 41
    assert kept(tmp_path, Logged) == 0


def test_a_limit_is_warned_of_once(tmp_path, caplog):
    journal = limited(tmp_path, limit=1)
    for number in range(100):
        journal.append(metric(number))
    (warning,) = caplog.records
    assert "TRAINER_HOOKS_JOURNAL_LIMIT=1)" in warning.getMessage()
    assert warning.levelname == "WARNING"


def test_without_a_limit_nothing_is_dropped(tmp_path):
    journal = limited(tmp_path, limit=0)
    for number in range(1000):
        journal.append(metric(number))
    assert iterations(tmp_path) == list(range(1000))


def test_a_count_of_what_was_dropped_waits_for_a_full_disk_like_a_lifecycle_event(disk):
    journal = limited(disk.run, limit=2000)
    disk.fill()
    for _ in range(100):
        journal.append(Logged(level="INFO", message="x" * 1000))
    for epoch in range(400):
        journal.append(EpochEnded(epoch=epoch, metrics={"x" * 100_000: 1}))
    disk.free()
    journal.close()
    logs, epochs = kept(disk.run, Logged), kept(disk.run, EpochEnded)
    assert logs + epochs + dropped(disk.run) == 500
    assert kept(disk.run, RecordsDropped) > 1


def test_a_full_disk_at_the_start_raises_and_leaks_no_file(disk):
    disk.run.mkdir()
    disk.fill()
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match=r"No space left|File too large"):
            open_journal(disk.run)
    assert len(list(descriptors.iterdir())) == before
    disk.free()
    open_journal(disk.run)
    assert [header.attempt for header in read_headers(disk.run).values()] == [1]


def test_a_directory_that_can_not_be_made_raises_at_the_start(tmp_path):
    (tmp_path / "run").write_text("a file where the run should be")
    with pytest.raises(OSError):
        open_journal(tmp_path / "run")


LIMITED = """
import resource, signal, sys
from pathlib import Path
from trainer_hooks.events import MetricsLogged, RunCompleted
from trainer_hooks.events import Record
from trainer_hooks.journal import Journal, Reader, segments
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
directory, turns = Path(sys.argv[1]), int(sys.argv[2])
journal = Journal(directory, run="run", attempt=1, writer="training")
((_, path),) = segments(directory)
reader = Reader(directory)
told = readable = 0

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def tell(event):
    global told, readable
    journal.append(event)
    told += 1
    readable += sum(isinstance(item, Record) and item.seq > 0 for item in reader.read())
    waiting = int((journal.at_risk or "0").split()[0])
    assert readable + waiting == told, (event, readable, waiting, told)

for number in range(1, turns):
    # Room for a part of a record, from nothing at all to all but its newline; then for a part of its second try.
    limit(path.stat().st_size + number % 140)
    tell(MetricsLogged(metrics={"loss": 0.5}, iteration=number))
    limit(path.stat().st_size + number * 7 % 140)
    tell(MetricsLogged(metrics={"loss": 0.5}, iteration=-number))
    limit(resource.RLIM_INFINITY)
    tell(RunCompleted(epochs=number))
    assert journal.at_risk is None, journal.at_risk
journal.close()
"""


def test_a_record_cut_anywhere_by_the_disk_is_written_again_whole(tmp_path):
    turns = 600
    assert finish(run_python(LIMITED, tmp_path, turns)) == 0
    assert iterations(tmp_path) == [signed for number in range(1, turns) for signed in (number, -number)]
    records, damages = records_and_damages(tmp_path)
    assert [r.event.epochs for r in records if isinstance(r.event, RunCompleted)] == list(range(1, turns))
    assert all(damage.size < 140 for damage in damages), "only the parts are damage, no record beside them"


def test_after_close_nothing_is_written_and_nothing_raises(tmp_path):
    journal = open_journal(tmp_path)
    journal.append(metric(1))
    journal.close()
    position = journal.position
    journal.append(metric(2))
    journal.close()
    assert iterations(tmp_path) == [1]
    assert journal.position == position == sizes(tmp_path)


def test_the_writer_is_told_apart_from_other_processes(tmp_path):
    open_journal(tmp_path)
    (header,) = read_headers(tmp_path).values()
    assert isinstance(header, SegmentOpened)
    assert header.process.pid == os.getpid()
