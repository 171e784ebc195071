"""A real MMDetection training, `make test-mmdet`: its registry, config inheritance, COCO dataset and metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.downstream.parts import ROOT, UNDER_RUN, Package, told
from tools.synthetic import make_coco
from trainer_hooks.events import TERMINAL, EpochEnded, RunFailed, RunStarted, Validated
from trainer_hooks.history import list_runs, read_history

pytestmark = [pytest.mark.framework, pytest.mark.timeout(300)]

MMDET = Package("mmdet", ROOT / "examples" / "mmdet" / "yolox_tiny_shapes.py")
PLAIN = "custom_hooks = [_base_.custom_hooks[0]]"
SHORT_NAME = """
custom_imports = dict(imports=["trainer_hooks.integrations.mmengine"], allow_failed_imports=False)
custom_hooks = [_base_.custom_hooks[0], dict(type="TrainerHook")]
"""
WITH_US = {
    "as the example has it": ((), ""),
    "by its short name": ((), SHORT_NAME),
    "under run": (UNDER_RUN, PLAIN),
    "under run and in the config": (UNDER_RUN, ""),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_coco(tmp_path / "data")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("way", WITH_US)
def test_a_training_is_told_once_and_whole(way: str, tmp_path: Path, own_environment: Path) -> None:
    under, changes = WITH_US[way]
    storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/storage", "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
    done = MMDET.train(tmp_path, changes, under, **storage)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    (attempt,) = read_history(run).attempts
    assert attempt.status == "completed"
    assert len(told(run, TERMINAL)) == 1
    assert_start_is_told(run, tmp_path)
    assert_epochs_are_told(run)
    assert_checkpoints_are_stored(attempt.state.stored, tmp_path)


def assert_start_is_told(run: Path, folder: Path) -> None:
    (started,) = told(run, RunStarted)
    assert (started.framework, started.operation, started.total_epochs) == ("mmengine", "training", 2)
    assert started.class_names == ["rectangle", "trapezoid"]
    assert Path(started.output_dir) == folder / "work_dir"
    assert started.params["train_dataloader"]["batch_size"] == 4
    assert started.params["model"]["type"] == "YOLOX"


def assert_epochs_are_told(run: Path) -> None:
    epochs = told(run, EpochEnded)
    assert [(event.epoch, event.total_epochs) for event in epochs] == [(1, 2), (2, 2)]
    for event in epochs:
        losses = ["train/loss", "train/loss_cls", "train/loss_bbox", "train/loss_obj"]
        total, *parts = [event.metrics[name] for name in losses]
        assert total == pytest.approx(sum(parts))
        assert "train/lr" in event.metrics
    validations = told(run, Validated)
    assert [event.epoch for event in validations] == [1, 2]
    for event in validations:
        assert {"coco/bbox_mAP", "coco/bbox_mAP_50"} <= event.metrics.keys()


def assert_checkpoints_are_stored(stored: dict[str, Any], folder: Path) -> None:
    assert {"last", "best"} <= stored.keys()
    (theirs,) = (folder / "work_dir").glob("epoch_2.pth")
    for name in ("last", "best"):
        path = Path(stored[name].uri.removeprefix("file://"))
        # MMEngine's checkpoints hold its own objects beside the weights; the file was written a moment ago.
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        assert "backbone.stem.conv.conv.weight" in checkpoint["state_dict"]
        assert checkpoint["meta"]["epoch"] == stored[name].epoch
    assert Path(stored["last"].uri.removeprefix("file://")).read_bytes() == theirs.read_bytes()


def test_annotations_that_are_missing_fail_the_run_by_name(data: Path, tmp_path: Path, own_environment: Path) -> None:
    (data / "annotations" / "train.json").unlink()
    done = MMDET.train(tmp_path, PLAIN, UNDER_RUN)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    (run,) = list_runs(own_environment)
    (failed,) = told(run, TERMINAL)
    assert isinstance(failed, RunFailed)
    assert (failed.error, failed.exception) == ("DatasetError", "FileNotFoundError")
    assert "annotations/train.json" in failed.message
    assert "load_data_list" in failed.traceback


@pytest.mark.usefixtures("data")
def test_the_training_without_us_works_and_is_not_told(tmp_path: Path, own_environment: Path) -> None:
    done = MMDET.train(tmp_path, PLAIN)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "work_dir").glob("best_coco_bbox_mAP_epoch_*.pth"))
    assert not own_environment.exists()
