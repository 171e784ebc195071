"""A real training in an action, in a process of its own: below `trainer-hooks run`, which attaches to it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.actions.parts import PLUGIN, told
from tests.hosts.ultralytics import MODEL, SETTINGS
from tools.synthetic import make_dataset
from trainer_hooks.actions.executors import run
from trainer_hooks.actions.executors.local import LocalExecutor
from trainer_hooks.actions.executors.process import ProcessExecutor
from trainer_hooks.events import EpochEnded, RunCompleted, RunStarted

pytestmark = [pytest.mark.framework, pytest.mark.timeout(180)]


@pytest.mark.parametrize("executor", [LocalExecutor, ProcessExecutor])
def test_an_ultralytics_training_in_an_action_is_told_in_its_run(
    executor: Any, tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    data = str(make_dataset(tmp_path / "data"))
    options = {**SETTINGS, "data": data, "project": str(tmp_path / "out"), "epochs": 2}
    params = {"model": str(MODEL), "options": options}
    assert run(executor(), "detector:Train", params, folder=PLUGIN, settings={"run_id": "one"}) == {"epochs": 2}
    assert [directory.name for directory in own_environment.iterdir() if directory.is_dir()] == ["one"]
    events = told(own_environment / "one", RunStarted, EpochEnded, RunCompleted)
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [1, 2]
    assert (events[-2].__class__, events[-1].__class__) == (EpochEnded, RunCompleted)
    assert [event.framework for event in events if isinstance(event, RunStarted)][-1] == "ultralytics"
