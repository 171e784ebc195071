"""The trainings: a host's, or a hand-written loop, as a process; `python -m tests.chaos.training HOST FOLDER RECORD`.

Each keeps a record of its own, a file that is appended to: a line before it tells something, and one after the call has
returned. Only then is what it told accepted. `CHAOS_LAUNCH` numbers the processes of one survival; without it, the
training is as it would be without us.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trainer_hooks

EPOCHS = 3
_STARTS = {"ultralytics": "on_train_epoch_start", "mmengine": "before_train_epoch"}
_ITERATIONS = 10
_SERIALS = 100_000
_WORDS_IN_AN_EPOCH = 6
# Long enough for kills to hit the telling.
_ITERATION_TAKES = 0.04
_work_goes_on = threading.Event()


class Record:
    """What this process tells, by number; no two processes of a survival share one."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._serial = _launch() * _SERIALS

    def write(self, **line: Any) -> None:
        """Write a line, by one call."""
        os.write(self._handle, json.dumps({"pid": os.getpid(), **line}).encode() + b"\n")

    def tell(self, what: str, call: Callable[[int], Any], **more: Any) -> Any:
        """Do the telling, between two lines."""
        self._serial += 1
        self.write(about=self._serial, what=what, **more)
        returned = call(self._serial)
        self.write(told=self._serial)
        return returned


def _launch() -> int:
    return int(os.environ.get("CHAOS_LAUNCH", "0"))


def loop(folder: Path, record: Record) -> None:
    """A training written by hand: its weights come of the global random numbers, its files are rewritten in place."""
    random.seed(7)
    weights = [0.0] * 16
    run = record.tell(
        "started", lambda serial: trainer_hooks.start_run(model="loop", total_epochs=EPOCHS, params={"serial": serial})
    )
    for epoch in range(1, EPOCHS + 1):
        for iteration in range(1, _ITERATIONS + 1):
            _work(weights)
            _tell_iteration(run, record, (epoch - 1) * _ITERATIONS + iteration)
            if iteration == _ITERATIONS // 2:
                _save(folder / "last.bin", run, record, ["last"], epoch, size=60_000)
        _tell_from_a_forked_child(run)
        metrics = {"loss": 1 / epoch, "bad": float("nan")}
        record.tell("epoch", lambda serial: run.log_metrics({"serial": serial, **metrics}, epoch=epoch))  # noqa: B023
        record.tell("validation", lambda serial: run.log_validation({"serial": serial, "loss": 1.0}, epoch=epoch))  # noqa: B023
        # In every other process the best is only ever stored beside a last: what is begun for it alone must not stay.
        names = ["best"] if epoch == EPOCHS - 1 and _launch() % 2 else ["last", "best"]
        _save(folder / "both.bin", run, record, names, epoch, size=300_000)
    record.tell("completed", lambda serial: run.complete({"serial": serial}))
    sys.stdout.write(f"weights {hashlib.sha256(repr(weights).encode()).hexdigest()}\n")


def _work(weights: list[float]) -> None:
    _work_goes_on.wait(_ITERATION_TAKES)
    for _ in range(200):
        for place in range(len(weights)):
            weights[place] += random.random() - 0.5


def _tell_iteration(run: Any, record: Record, iteration: int) -> None:
    record.tell("metrics", lambda serial: run.log_metrics({"serial": serial}, iteration=iteration))
    if iteration % 3 == 0:
        record.tell("log", lambda serial: run.log(f"serial {serial} of chaos", "WARNING", source="chaos"))


def _tell_from_a_forked_child(run: Any) -> None:
    """As a worker of a DataLoader might: nothing of it may be heard, so it is in no record."""
    child = os.fork()
    if child == 0:
        run.log("serial 0 of chaos", source="chaos")
        os._exit(0)
    os.waitpid(child, 0)


def _save(path: Path, run: Any, record: Record, names: list[str], epoch: int, *, size: int) -> None:
    """Write the file where it lies, tell it, and begin at once to write the next content over it."""
    content = random.Random(epoch).randbytes(size) + os.urandom(16)  # not of the training's own numbers
    with path.open("r+b" if path.exists() else "wb") as file:
        for start in range(0, len(content), 50_000):
            file.write(content[start : start + 50_000])
        file.truncate()
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "epoch": epoch, "names": names}
    record.tell(
        "checkpoint",
        lambda serial: run.log_checkpoint(path, names=names, epoch=epoch, metrics={"serial": serial}),
        **facts,
    )
    with path.open("r+b") as file:
        file.write(b"the next content begins" * 1000)


def hosted(name: str, folder: Path, record: Record) -> None:
    """A framework's training with `autolog`, and a callback of the user's that tells something of its own."""
    host = importlib.import_module(f"tests.hosts.{name}")
    if _launch():
        trainer_hooks.autolog(name)
    epochs = 0

    def tell() -> None:
        nonlocal epochs
        epochs += 1
        # The callbacks of the epoch before have all returned: it is accepted.
        record.write(begins=epochs)
        run = trainer_hooks.current_run()
        for _ in range(_WORDS_IN_AN_EPOCH if run else 0):
            record.tell("log", lambda serial: run.log(f"serial {serial} of chaos", source="chaos"))

    trained = host.train(folder, EPOCHS, at=[_STARTS[name]], do=tell)
    if trained.error is not None:
        raise trained.error
    record.write(ended=True)
    sys.stdout.write(f"weights {trained.weights}\n")


if __name__ == "__main__":
    kept = Record(sys.argv[3])
    if sys.argv[1] == "loop":
        loop(Path(sys.argv[2]), kept)
    else:
        hosted(sys.argv[1], Path(sys.argv[2]), kept)
