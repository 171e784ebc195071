"""A real MMSegmentation training, `make test-mmdet`: counted in iterations, with its own dataset and metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.downstream.parts import ROOT, Package, told
from tools.synthetic import make_masks
from trainer_hooks.events import CheckpointStored, EpochEnded, MetricsLogged, RunCompleted, RunStarted, Validated
from trainer_hooks.history import list_runs

pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]

MMSEG = Package("mmseg", ROOT / "examples" / "mmseg" / "cgnet_shapes.py")


def test_a_training_is_told_in_iterations(tmp_path: Path, own_environment: Path) -> None:
    make_masks(tmp_path / "data")
    storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/storage", "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
    done = MMSEG.train(tmp_path, **storage)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    (started,) = told(run, RunStarted)
    assert (started.task, started.model, started.total_iterations) == ("segment", "EncoderDecoder", 20)
    assert started.class_names == ["background", "rectangle", "trapezoid"]
    assert told(run, EpochEnded) == []
    metrics = told(run, MetricsLogged)
    assert [event.iteration for event in metrics] == [5, 10, 15, 20]
    for event in metrics:
        assert event.metrics["train/loss"] == pytest.approx(event.metrics["train/decode.loss_ce"])
    validations = told(run, Validated)
    assert [event.iteration for event in validations] == [10, 20]
    for event in validations:
        assert {"mIoU", "mAcc", "aAcc"} <= event.metrics.keys()
    (completed,) = told(run, RunCompleted)
    assert completed.iterations == 20
    assert completed.best_iteration in (10, 20)
    stored = {event.name: event for event in told(run, CheckpointStored)}
    assert stored["last"].iteration == 20
    assert stored["best"].iteration == completed.best_iteration
