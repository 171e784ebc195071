"""The last word on a dead attempt: once, whoever says it."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from tests.cli.parts import write_run, write_run_of_a_dead_process
from tests.disks import small_disk
from trainer_hooks.attempts import claim
from trainer_hooks.events import TERMINAL, EpochEnded, MetricsLogged, RunCompleted, RunLost, RunStarted
from trainer_hooks.journal import owner, read_headers, read_records, sizes
from trainer_hooks.last_word import say
from trainer_hooks.settings import Settings

ROUNDS = 60


def terminals(directory: Path, attempt: int = 1) -> list[object]:
    records = read_records(directory)
    return [record.event for record in records if record.attempt == attempt and isinstance(record.event, TERMINAL)]


def header_of(directory: Path):
    return owner(read_headers(directory))


def lost(reason: str):
    return lambda state: RunLost(reason=reason, **state.reached)


def speak(root: Path, writer: str, barrier) -> None:
    """One of those who would say it, in a process of its own, in every round."""
    for number in range(ROUNDS):
        directory = root / f"run {number}"
        header = header_of(directory)
        barrier.wait(60)
        if writer == "next start":
            claim(root, Settings.load(environ={}, run_id=directory.name))
        else:
            say(directory, header, writer, lost(writer))


def test_whoever_is_at_it_at_the_same_instant_one_says_it(tmp_path):
    model = write_run_of_a_dead_process(tmp_path / "models", "model")
    for number in range(ROUNDS):
        shutil.copytree(model, tmp_path / f"run {number}")
    context = multiprocessing.get_context("spawn")
    writers = ["courier", "supervisor", "next start"]
    barrier = context.Barrier(len(writers))
    processes = [context.Process(target=speak, args=(tmp_path, writer, barrier)) for writer in writers]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    said = [terminals(tmp_path / f"run {number}") for number in range(ROUNDS)]
    assert {len(words) for words in said} == {1}
    assert all(read_headers(tmp_path / f"run {number}")[1].attempt == 1 for number in range(ROUNDS))


def test_it_tells_how_far_the_attempt_was(tmp_path):
    directory = write_run_of_a_dead_process(tmp_path, "run")
    say(directory, header_of(directory), "courier", lost("gone"))
    say(directory, header_of(directory), "supervisor", lost("gone twice"))
    assert terminals(directory) == [RunLost(reason="gone", epoch=2)]


def test_it_tells_how_far_the_attempt_was_where_that_stands_far_back_in_a_long_journal(tmp_path):
    epochs = [EpochEnded(epoch=epoch, total_epochs=10) for epoch in range(1, 6)]
    iterations = [MetricsLogged(metrics={"loss": 1.5, "x" * 400: 1}, iteration=number) for number in range(1, 3001)]
    directory = write_run(tmp_path, "run", [RunStarted(total_epochs=10), *epochs, *iterations])
    assert sizes(directory)[1] > 1 << 20
    say(directory, header_of(directory), "courier", lost("gone"))
    assert terminals(directory) == [RunLost(reason="gone", epoch=5, iteration=3000)]


def test_an_attempt_that_has_ended_is_left_as_it_is(tmp_path):
    directory = write_run(tmp_path, "run", [RunCompleted(epochs=1)])
    say(directory, header_of(directory), "courier", lost("gone"))
    assert terminals(directory) == [RunCompleted(epochs=1)]


def test_what_a_full_disk_refuses_has_not_been_said(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        directory = write_run_of_a_dead_process(disk.path, "run")
        disk.fill()
        with pytest.raises(OSError):
            say(directory, header_of(directory), "courier", lost("gone"))
        disk.free()
        assert terminals(directory) == []
        say(directory, header_of(directory), "supervisor", lost("gone"))
        assert terminals(directory) == [RunLost(reason="gone", epoch=2)]
