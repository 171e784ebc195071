"""What happens in a pod, with real processes: a training, the receiver, and `sync --watch` over the run directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.receiver.serving import ROOT, Receiver
from tests.waiting import wait_until
from trainer_hooks.delivery import load_courier
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_records

TRAINING = """
import sys, threading, trainer_hooks
with trainer_hooks.start_run(total_epochs=2) as run:
    run.log_metrics({"loss": 0.5}, epoch=1)
    if sys.argv[1:] == ["hangs"]:
        threading.Event().wait(60)
    run.log_metrics({"loss": 0.25}, epoch=2)
"""
SIDECAR = ("-m", "trainer_hooks.cli", "sync", "--watch")


class Pod:
    """The environment that both containers have."""

    def __init__(self, url: str, runs: Path) -> None:
        self.run = runs / "7"
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CALLBACK_URL": url,
            "JOB_ID": "7",
            "TRAINER_HOOKS_DIR": str(runs),
            "TRAINER_HOOKS_FLUSH_TIMEOUT": "20",
        }

    @contextmanager
    def starts(self, *command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """A container: ended at the latest with the test."""
        with subprocess.Popen(
            [sys.executable, *command],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def is_told(self, receiver: Receiver) -> bool:
        """Whether the receiver has all that the training's journal has."""
        told = [record.id for record in read_records(self.run) if record.seq]
        return told == [record.id for record in read_records(receiver.directory / "7") if record.seq]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "received") as running:
        yield running


@pytest.fixture
def pod(receiver: Receiver, tmp_path: Path) -> Pod:
    return Pod(receiver.url, tmp_path / "runs")


def test_a_container_that_is_killed_with_all_in_it_is_told_lost_by_the_sidecar(receiver: Receiver, pod: Pod) -> None:
    with pod.starts(*SIDECAR) as sidecar:
        with pod.starts("-c", TRAINING, "hangs") as training:
            wait_until(lambda: "epoch_ended" in receiver.kinds("7"), what="the first epoch at the receiver")
            courier = courier_of(pod.run)
            for process in (training.pid, courier):
                os.kill(process, signal.SIGKILL)
        wait_until(lambda: "run_lost" in receiver.kinds("7"), what="the last word at the receiver")
        assert sidecar.poll() is None
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(20) == 0
    assert pod.is_told(receiver)
    assert receiver.run("7")["summary"]["status"] == "lost"


def test_what_a_training_leaves_undelivered_is_delivered_at_the_sidecars_sigterm(receiver: Receiver, pod: Pod) -> None:
    with pod.starts(*SIDECAR) as sidecar:
        with pod.starts("-c", TRAINING, TRAINER_HOOKS_DELIVERY="none") as training:
            assert training.wait(60) == 0
        assert read_history(pod.run).latest.status == "completed"
        wait_until(lambda: heeds(sidecar, signal.SIGTERM), what="the sidecar's handler")
        sidecar.send_signal(signal.SIGTERM)  # as Kubernetes does once the training's container is gone
        assert sidecar.wait(30) == 0
    assert pod.is_told(receiver)
    assert receiver.run("7")["summary"]["status"] == "completed"


def test_while_the_trainings_own_courier_delivers_the_sidecar_stands_back(receiver: Receiver, pod: Pod) -> None:
    with pod.starts(*SIDECAR[:-1], "--until-ended") as sidecar, pod.starts("-c", TRAINING) as training:
        assert training.wait(60) == 0
        assert sidecar.wait(60) == 0
    assert pod.is_told(receiver)
    assert len(receiver.events("7")) == 4


def heeds(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def courier_of(run: Path) -> int:
    found: Any = wait_until(lambda: load_courier(run), what="the training's courier")
    return int(found.process.pid)
