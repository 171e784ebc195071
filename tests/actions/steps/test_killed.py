"""The engine under fault: an error, Ctrl-C and a kill in every step and in every rollback, then the next attempt.

Three steps, which can be rolled back, and a process per attempt. Each writes down what it has begun and finished.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.scripts import ROOT
from trainer_hooks.history import read_history

NAMES = ("load", "train", "upload")
SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.actions.steps.parts import Undoable, work
from trainer_hooks import start_run
from trainer_hooks.actions.context import RuntimeContext
from trainer_hooks.actions.steps.base import StepResult
from trainer_hooks.actions.steps.context import TrainContext
from trainer_hooks.actions.steps.memory import forget_steps

directory, fault, place = sys.argv[1:]
book = open(Path(directory, "book"), "a", buffering=1)

def strike():
    if fault == "error":
        raise ValueError("struck")
    os.kill(os.getpid(), {"ctrl-c": signal.SIGINT, "kill": signal.SIGKILL}[fault])

def acts(what):
    book.write(f"+{what}\\n")
    if what == place:
        strike()
    book.write(f"{what}\\n")

class Step(Undoable):
    def execute(self, ctx):
        acts(self.name)
        ctx.model_path = f"{ctx.model_path or ''}/{self.name}"
        return StepResult(rollback_data={"after": ctx.model_path})

    def rollback(self, ctx, result):
        assert result.rollback_data["after"].endswith(self.name)
        acts(f"undo {self.name}")

class Last(Step):
    def execute(self, ctx):
        if place.startswith("undo") or fault == "fails":
            raise LookupError("no such host")
        return super().execute(ctx)

with start_run(run_id="r", directory=directory, delivery="none") as run:
    context = TrainContext(runtime_ctx=RuntimeContext(run, run.settings))
    work(context, Step("load"), Step("train"), Last("upload"))
    run.complete()
    forget_steps(run)
    book.write(f"path {context.model_path}\\n")
"""


def attempt(directory: Path, fault: str = "none", place: str = "") -> tuple[int, list[str]]:
    """The exit status of a process that makes one attempt, and what it has written."""
    book = directory / "book"
    before = len(book.read_text().splitlines()) if book.exists() else 0
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, directory, fault, place]
    done = subprocess.run(command, env=environ, timeout=60, check=False, capture_output=True)
    return done.returncode, book.read_text().splitlines()[before:]


def remembered(directory: Path) -> list[str]:
    path = directory / "r" / "steps.json"
    return [step["name"] for step in json.loads(path.read_text())["steps"]] if path.exists() else []


def statuses(directory: Path) -> list[Any]:
    return [(one.number, one.status) for one in read_history(directory / "r").attempts]


EXIT = {"error": 1, "ctrl-c": -2, "kill": -9}
ENDED = {"error": "failed", "ctrl-c": "interrupted", "kill": "lost"}
DONE = [*(f"{sign}{name}" for name in NAMES for sign in ("+", "")), "path /load/train/upload"]


@pytest.mark.parametrize("place", NAMES)
@pytest.mark.parametrize("fault", ["error", "ctrl-c", "kill"])
def test_a_fault_in_a_step_and_the_next_attempt(tmp_path, fault, place):
    status, book = attempt(tmp_path, fault, place)
    before = NAMES[: NAMES.index(place)]
    done = [f"{sign}{name}" for name in before for sign in ("+", "")] + [f"+{place}"]
    undone = [f"{sign}undo {name}" for name in reversed(before) for sign in ("+", "")]
    assert status == EXIT[fault]
    assert book == (done if fault == "kill" else done + undone)
    assert remembered(tmp_path) == (list(before) if fault == "kill" else [])
    status, book = attempt(tmp_path)
    skipped = 2 * len(before) if fault == "kill" else 0
    assert (status, book) == (0, DONE[skipped:])
    assert remembered(tmp_path) == []
    assert statuses(tmp_path) == [(1, ENDED[fault]), (2, "completed")]


@pytest.mark.parametrize("place", ["undo train", "undo load"])
@pytest.mark.parametrize("fault", ["error", "ctrl-c", "kill"])
def test_a_fault_in_a_rollback_and_the_next_attempt(tmp_path, fault, place):
    status, book = attempt(tmp_path, fault, place)
    assert status == EXIT[fault]
    struck_first = place == "undo train"
    undone = ["+undo train"] if struck_first else ["+undo train", "undo train", "+undo load"]
    if struck_first and fault != "kill":
        undone += ["+undo load", "undo load"]
    assert book[4:] == undone
    left = ["load"] if struck_first and fault == "kill" else []
    assert remembered(tmp_path) == left
    status, book = attempt(tmp_path)
    assert (status, book) == (0, DONE[2 * len(left) :])
    assert statuses(tmp_path) == [(1, ENDED[fault]), (2, "completed")]


def test_what_a_killed_attempt_has_done_is_rolled_back_by_the_next_that_fails(tmp_path):
    attempt(tmp_path, "kill", "upload")
    status, book = attempt(tmp_path, "fails")
    assert status == 1
    assert book == ["+undo train", "undo train", "+undo load", "undo load"]
