"""`trainer-hooks runs watch`: runs of this machine and of a receiver, on a terminal and without one."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trainer_hooks
from tests.cli.parts import COMPLETED, TRAINING, invoke, write_run
from tests.receiver.serving import Receiver, envelope
from tests.waiting import wait_until
from trainer_hooks.cli.watching.screen import sparkline
from trainer_hooks.events import EpochEnded, Logged, RunCompleted, RunFailed, RunStarted

WATCH = [sys.executable, "-m", "trainer_hooks.cli", "runs", "watch"]
FAILED = RunFailed(error="DatasetError", message="no images", exception="FileNotFoundError")


class Watching:
    """A `runs watch` in a process of its own, and what it has said so far."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen([*WATCH, *arguments], env={**os.environ, **environ}, **options)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def until(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.said), 30, f"{text!r} in {self.said}")

    def end(self) -> int:
        status = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stdout
        self.process.stdout.close()
        return status

    def _listen(self) -> None:
        assert self.process.stdout
        self.said.extend(self.process.stdout)


@pytest.fixture
def watching() -> Iterator[Any]:
    begun: list[Watching] = []

    def begin(*arguments: str, **environ: str) -> Watching:
        begun.append(Watching(*arguments, **environ))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.end()


def test_a_run_that_has_completed(own_environment: Path) -> None:
    write_run(own_environment, "a", [*TRAINING, Logged(level="INFO", message="said"), COMPLETED[-1]])
    result = invoke("runs", "watch", "a")
    assert result.exit_code == 0
    assert "INFO said" in result.output
    assert "a completed: " in result.output


def test_a_run_that_has_failed_says_why(own_environment: Path) -> None:
    write_run(own_environment, "a", [RunStarted(), FAILED])
    result = invoke("runs", "watch", "a")
    assert result.exit_code == 1
    assert "DatasetError: no images" in result.output


def test_records_below_the_level_are_left_out(own_environment: Path) -> None:
    logs = [Logged(level="INFO", message="not this"), Logged(level="ERROR", message="this")]
    write_run(own_environment, "a", [*TRAINING, *logs, COMPLETED[-1]])
    output = invoke("runs", "watch", "a", "--level", "WARNING").output
    assert "ERROR this" in output
    assert "not this" not in output


def test_a_run_that_is_not_there(own_environment: Path) -> None:
    result = invoke("runs", "watch", "none")
    assert result.exit_code == 2
    assert f"there is no run 'none' in {own_environment}" in result.output


def test_it_is_about_one_place() -> None:
    assert invoke("runs", "watch", "--url", "http://127.0.0.1:9", "--dir", ".").exit_code == 2


def test_the_next_run_is_waited_for_and_followed_to_its_end(own_environment: Path, watching: Any) -> None:
    watch = watching()
    watch.until("no run is open; waiting for one")
    with trainer_hooks.start_run(run_id="b", total_epochs=2) as run:
        watch.until("b running: 0 of 2 epochs")
        run.log_metrics({"loss": 0.25}, epoch=1)
        watch.until("b running: 1 of 2 epochs; loss 0.25")
        run.log_metrics({"loss": 0.125}, epoch=2)
    assert watch.end() == 0
    assert "b completed: 2 of 2 epochs" in watch.said[-1]
    assert own_environment.exists()


def test_a_run_of_a_receiver_also_over_its_restart(tmp_path: Path, watching: Any) -> None:
    token = "0123456789abcdef-token"
    with Receiver(tmp_path / "runs", token=token) as receiver:
        _tell(receiver, {"type": "run_started", "total_epochs": 2}, {"type": "epoch_ended", "epoch": 1}, first=1)
        address = receiver.url.removesuffix("/api/v1")
        watch = watching("--url", address, TRAINER_HOOKS_TOKEN=token)
        watch.until("7 running: 1 of 2 epochs")
        _, port = receiver.place
    watch.until("can't be reached, trying again")
    with Receiver(tmp_path / "runs", token=token, port=port) as receiver:
        ending = {"type": "run_completed"}
        _tell(receiver, {"type": "logged", "level": "ERROR", "message": "one thing"}, ending, first=3)
        assert watch.end() == 0
    assert sum("ERROR one thing" in line for line in watch.said) == 1


def test_of_very_many_log_records_of_a_receiver_the_newest_are_shown(tmp_path: Path) -> None:
    with Receiver(tmp_path / "runs") as receiver:
        logs = [{"type": "logged", "level": "INFO", "message": f"number {n}"} for n in range(1200)]
        _tell(receiver, {"type": "run_started"}, *logs, {"type": "run_completed"}, first=1)
        output = invoke("runs", "watch", "7", "--url", receiver.url).output
    assert "number 1199" in output


def test_another_token_is_asked_for(tmp_path: Path) -> None:
    with Receiver(tmp_path / "runs", token="0123456789abcdef-token") as receiver:
        result = invoke("runs", "watch", "7", "--url", receiver.url)
    assert result.exit_code == 2
    assert "TRAINER_HOOKS_TOKEN" in result.output


def test_on_a_terminal_it_is_a_picture(own_environment: Path) -> None:
    epochs = [EpochEnded(epoch=epoch, metrics={"train/loss": 1 / epoch}) for epoch in range(1, 9)]
    write_run(own_environment, "a", [RunStarted(model="yolo11n", total_epochs=8), *epochs, RunCompleted(epochs=8)])
    ours, theirs = pty.openpty()
    done = subprocess.run([*WATCH, "a"], stdout=theirs, env={**os.environ, "TERM": "xterm"}, timeout=60, check=False)
    os.close(theirs)
    drawn = re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", os.read(ours, 1 << 16)).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "a  completed  yolo11n" in drawn
    assert "█▄▃" in drawn


def _tell(receiver: Receiver, *events: dict[str, Any], first: int) -> None:
    batch = [envelope("7", seq, event) for seq, event in enumerate(events, first)]
    assert receiver.post("/training/jobs/7/events", {"events": batch}).status_code == 200


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1], 10, "▁█"),
        ([0, None, 7], 10, "▁ █"),
        ([3, 3, 3], 10, "▁▁▁"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([None], 10, " "),
        ([], 10, ""),
    ],
)
def test_a_line_of_bars(values: list[float | None], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
