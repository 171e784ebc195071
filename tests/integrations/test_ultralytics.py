"""What Ultralytics does, and what of it is told: real trainings of a tiny model, read back from their journals."""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import math
import os
import pickle
import pickletools
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.engine.model import Model
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer

import trainer_hooks
from tests.hosts import ultralytics as host
from tools.synthetic import TASKS, make_dataset
from trainer_hooks.events import (
    TERMINAL,
    CheckpointSaved,
    EpochEnded,
    Logged,
    MetricsLogged,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)
from trainer_hooks.history import RunHistory, list_runs, read_history
from trainer_hooks.integrations import ultralytics as integration
from trainer_hooks.journal import read_records

pytestmark = pytest.mark.framework

Autolog = Callable[..., Any]
_PRIMARY = {
    "detect": "metrics/mAP50-95(B)",
    "segment": "metrics/mAP50-95(M)",
    "classify": "metrics/accuracy_top1",
    "pose": "metrics/mAP50-95(P)",
    "obb": "metrics/mAP50-95(B)",
}
_MICRO_RTDETR = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2, 3], 1, RTDETRDecoder, [nc, 16, 10, 2, 2, 1]]
"""


@pytest.fixture
def autolog() -> Iterator[Autolog]:
    """`autolog("ultralytics")`, undone at the end; nobody delivers."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            trainer_hooks.autolog("ultralytics", **{"delivery": "none", **settings})
        )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained detector, of which nothing was told."""
    folder = tmp_path_factory.mktemp("weights")
    train(folder, epochs=1)
    return folder / "out/train/weights/best.pt"


def options(folder: Path, task: str = "detect", **more: Any) -> dict[str, Any]:
    data = str(make_dataset(folder / task, task))
    return {**host.SETTINGS, "data": data, "epochs": 2, "project": str(folder / "out"), "name": "train", **more}


def train(folder: Path, task: str = "detect", *, on: Mapping[str, Any] | None = None, **more: Any) -> YOLO:
    """Train the micro model of the task, with these callbacks of the user's."""
    model = YOLO(host.make_model(folder, task))
    for event, function in (on or {}).items():
        model.add_callback(event, function)
    model.train(**options(folder, task, **more))
    return model


def histories(folder: Path) -> list[RunHistory]:
    """All runs, the oldest first."""
    found = [read_history(run) for run in list_runs(folder / "trainer_runs")]
    return sorted(found, key=lambda history: history.attempts[0].began)


def told(folder: Path, *kinds: type) -> list[Any]:
    """What the only run told, in order."""
    (run,) = list_runs(folder / "trainer_runs")
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


def epochs(folder: Path) -> list[int]:
    return [event.epoch for event in told(folder, EpochEnded)]


def results(folder: Path) -> list[dict[str, float]]:
    """The host's own table, by epoch."""
    with (folder / "out/train/results.csv").open() as file:
        return [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def staged(folder: Path, saved: CheckpointSaved) -> bytes:
    (run,) = list_runs(folder / "trainer_runs")
    return (run / str(saved.staged)).read_bytes()


def load(content: bytes) -> dict[str, Any]:
    return dict(torch.load(io.BytesIO(content), weights_only=False))


def once(function: Callable[[Any], None], at_epoch: int) -> Callable[[Any], None]:
    """A callback that does it at the first announcement in that epoch, counted from 1."""
    done: list[int] = []

    def callback(trainer: Any) -> None:
        if trainer.epoch + 1 == at_epoch and not done:
            done.append(at_epoch)
            function(trainer)

    return callback


def fail(_: Any) -> None:
    raise ValueError("the user's own error")


class Scripted(ClassificationTrainer):
    """A trainer of the user's whose validation gives these fitnesses, epoch by epoch."""

    fitnesses: ClassVar[list[float]] = []

    def validate(self) -> tuple[dict[str, float], float]:
        best = self.best_fitness
        metrics, _ = super().validate()
        fitness = self.fitnesses[self.epoch]
        self.best_fitness = fitness if best is None or best < fitness else best
        return metrics, fitness


@pytest.fixture
def scripted() -> Callable[..., type[Scripted]]:
    return lambda *fitnesses: type("Scripted", (Scripted,), {"fitnesses": list(fitnesses)})


# What is told of an ordinary training


@pytest.mark.parametrize("task", TASKS)
def test_every_value_of_every_epoch_is_the_one_in_the_hosts_own_table(
    autolog: Autolog, tmp_path: Path, task: str
) -> None:
    autolog()
    train(tmp_path, task, epochs=3)
    ended, table = told(tmp_path, EpochEnded), results(tmp_path)
    assert [event.epoch for event in ended] == [row.pop("epoch") for row in table] == [1, 2, 3]
    for event, row in zip(ended, table, strict=True):
        row.pop("time", None)  # older versions have none
        assert event.metrics.keys() == {*row, "fitness"}
        assert any(name.startswith("train/") and value > 0 for name, value in row.items())
        assert {name: event.metrics[name] for name in row} == pytest.approx(row, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_told_with_its_name_its_classes_and_its_judging_metric(
    autolog: Autolog, tmp_path: Path, task: str
) -> None:
    autolog()
    train(tmp_path, task)
    (started,) = told(tmp_path, RunStarted)
    assert (started.task, started.class_names) == (task, ["rectangle", "trapezoid"])
    *during, final = told(tmp_path, Validated)
    assert [(event.epoch, event.final) for event in during] == [(1, False), (2, False)]
    assert (final.epoch, final.final) == (2, True)
    for event in (*during, final):
        assert (event.task, event.primary, event.class_names) == (task, _PRIMARY[task], ["rectangle", "trapezoid"])
        assert event.primary in event.metrics
    assert not any(name.startswith("val/") for name in final.metrics)
    assert final.per_class.keys() == (set() if task == "classify" else {"rectangle", "trapezoid"})
    assert histories(tmp_path)[0].latest.status == "completed"


def test_the_final_metrics_per_class_are_the_validators(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    model = train(tmp_path, "pose")
    (final,) = [event for event in told(tmp_path, Validated) if event.final]
    metrics = model.trainer.validator.metrics
    assert [*final.per_class] == [model.names[index] for index in metrics.ap_class_index]
    for place, values in enumerate(final.per_class.values()):
        assert [*values] == ["precision", "recall", "mAP50", "mAP50-95"]
        assert list(values.values()) == pytest.approx(metrics.class_result(place)[:4])
    assert final.metrics == pytest.approx({name: model.trainer.metrics[name] for name in final.metrics})


def test_rtdetr_is_told_with_its_own_losses(autolog: Autolog, tmp_path: Path) -> None:
    (tmp_path / "micro-rtdetr.yaml").write_text(_MICRO_RTDETR)
    autolog()
    RTDETR(str(tmp_path / "micro-rtdetr.yaml")).train(**options(tmp_path, deterministic=False))
    assert epochs(tmp_path) == [1, 2]
    assert told(tmp_path, EpochEnded)[-1].metrics.keys() >= {"train/giou_loss", "train/cls_loss", "train/l1_loss"}


def test_a_trainer_built_directly_is_told(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    DetectionTrainer(overrides={**options(tmp_path), "model": str(host.MODEL)}).train()
    assert epochs(tmp_path) == [1, 2]
    assert isinstance(told(tmp_path, object)[-1], RunCompleted)


def test_a_model_made_before_autolog_is_told(autolog: Autolog, tmp_path: Path) -> None:
    model = YOLO(host.MODEL)
    autolog()
    model.train(**options(tmp_path))
    assert epochs(tmp_path) == [1, 2]


def test_a_model_has_its_best_once_it_is_trained(autolog: Autolog, tmp_path: Path) -> None:
    found = vars(Model)["__getattr__"]
    attached = autolog()
    model = YOLO(host.MODEL)
    assert not hasattr(model, "best")  # as hosts ask
    with pytest.raises(AttributeError, match=r"has not been trained, and has no best checkpoint: call model\.train"):
        _ = model.best
    with pytest.raises(AttributeError, match="no attribute 'worst'"):
        _ = model.worst
    assert model.stride is model.model.stride
    model.train(**options(tmp_path, epochs=1))
    assert model.best == Path(model.trainer.best)
    assert model.best.exists()
    model.best = "of the user's own"
    assert model.best == "of the user's own"
    del model.best
    attached.detach()
    assert not hasattr(model, "best")
    assert vars(Model)["__getattr__"] is found


def test_callbacks_that_the_user_resets_take_nothing_away(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    model = YOLO(host.MODEL)
    model.reset_callbacks()
    model.clear_callback("on_fit_epoch_end")
    model.train(**options(tmp_path))
    assert epochs(tmp_path) == [1, 2]


def test_two_trainings_of_one_model_are_two_runs(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    model = train(tmp_path, epochs=1)
    model.train(**options(tmp_path, name="again"))
    assert [(run.latest.status, run.latest.state.epoch) for run in histories(tmp_path)] == [
        ("completed", 1),
        ("completed", 2),
    ]


@pytest.mark.parametrize("job", [None, "7"])
def test_several_datasets_are_several_runs(autolog: Autolog, tmp_path: Path, job: str | None) -> None:
    autolog(job_id=job)
    data = [str(make_dataset(tmp_path / "one" / "data")), str(tmp_path / "missing.yaml")]
    # With callbacks of the user's the host trains in this process, else in one of its own for each dataset.
    train(tmp_path, epochs=1, data=data, on={"on_train_start": lambda _: None})
    first, second = histories(tmp_path)
    assert (first.latest.status, first.latest.state.epoch) == ("completed", 1)
    assert isinstance(second.latest.state.ended, RunFailed)
    if job:
        assert [first.run, second.run] == ["7", "7-2"]


@pytest.mark.filterwarnings("ignore")  # of torch about its own tracing, which export uses
@pytest.mark.parametrize(
    "act",
    [
        lambda model, folder: model.val(data=options(folder)["data"], **_quiet(folder)),
        lambda model, folder: model.predict(str(next((folder / "detect").rglob("*.png"))), **_quiet(folder)),
        lambda model, _: model.export(format="torchscript", imgsz=64, device="cpu"),
    ],
    ids=["val", "predict", "export"],
)
def test_what_is_no_training_is_no_run(autolog: Autolog, tmp_path: Path, weights: Path, act: Any) -> None:
    autolog()
    make_dataset(tmp_path / "detect")
    own = tmp_path / "own.pt"
    own.write_bytes(weights.read_bytes())
    act(YOLO(own), tmp_path)
    assert histories(tmp_path) == []


def _quiet(folder: Path) -> dict[str, Any]:
    return {"imgsz": 64, "device": "cpu", "project": str(folder / "out"), "plots": False, "workers": 0}


@pytest.mark.slow
def test_tuning_is_no_run_and_its_trainings_are_processes_that_are_not_attached(
    autolog: Autolog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autolog()
    monkeypatch.chdir(tmp_path)
    tuned: list[Any] = []
    model = YOLO(host.MODEL)
    model.tune(iterations=1, **options(tmp_path, epochs=1))
    tuned += tmp_path.rglob("best_hyperparameters.yaml")
    assert tuned
    assert histories(tmp_path) == []


def test_iterations_are_told_with_their_numbers_and_their_losses(
    autolog: Autolog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_ITERATION_METRICS", "2")
    seen: list[dict[str, float]] = []
    autolog()
    on = {"on_train_batch_end": lambda trainer: seen.append(trainer.label_loss_items(trainer.loss_items))}
    train(tmp_path, batch=2, epochs=3, on=on)
    assert len(seen) == 12
    assert {event.iteration: event.metrics for event in told(tmp_path, MetricsLogged)} == {
        number: seen[number - 1] for number in (2, 4, 6, 8, 10, 12)
    }


def test_iterations_can_be_asked_for_by_a_later_autolog(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    autolog(iteration_metrics=1)
    train(tmp_path, batch=2)
    iterations = told(tmp_path, MetricsLogged)
    assert [event.iteration for event in iterations] == [1, 2, 3, 4, 5, 6, 7, 8]
    for number, epoch in enumerate(told(tmp_path, EpochEnded)):
        own = [event.metrics["train/box_loss"] for event in iterations[4 * number : 4 * number + 4]]
        assert epoch.metrics["train/box_loss"] == pytest.approx(sum(own) / 4, abs=2e-5)


def test_durations_and_the_time_left_are_the_hosts(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    seen: list[float] = []
    train(tmp_path, epochs=3, on={"on_fit_epoch_end": lambda trainer: seen.append(trainer.epoch_time)})
    ended = told(tmp_path, EpochEnded)
    assert [event.duration for event in ended] == seen[:3]
    assert [event.time_left for event in ended] == [2 * seen[0], seen[1], 0]


def test_the_start_is_told_with_hyper_parameters_and_data(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    model = train(tmp_path, lr0=0.02)
    (started,) = told(tmp_path, RunStarted)
    assert started.framework == "ultralytics"
    assert started.total_epochs == 2
    assert started.params.items() >= {"lr0": 0.02, "optimizer": "SGD", "batch": 8, "imgsz": 64}.items()
    assert started.params.keys() == vars(model.trainer.args).keys()
    assert started.dataset["nc"] == 2
    assert started.dataset["train"] == str(tmp_path / "detect/images/train")
    assert started.output_dir == str(tmp_path / "out/train")
    assert started.model == str(tmp_path / "micro-detect.yaml")
    assert started.resumed_from is None
    assert started.versions.keys() >= {"ultralytics", "python", "torch"}


def test_class_names_may_be_a_list(autolog: Autolog, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "detect")
    data.write_text(data.read_text().partition("names:")[0] + "names: [one, two]\n")
    autolog()
    train(tmp_path, data=str(shifted(data)), epochs=1)
    assert told(tmp_path, RunStarted)[0].class_names == ["one", "two"]


def shifted(data: Path) -> Path:
    """The same description under another name, which no helper here writes again."""
    return data.rename(data.with_name("own.yaml"))


def test_secrets_in_hyper_parameters_and_data_are_not_told(
    autolog: Autolog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET_API_KEY", "s3cr3t-of-the-environment")
    data = make_dataset(tmp_path / "detect")
    data.write_text(data.read_text() + "api_key: s3cr3t-of-the-data\nsource: https://me:s3cr3t-of-the-url@host/data\n")
    autolog(storage=f"file://{tmp_path}/store")
    train(tmp_path, data=str(shifted(data)), name="s3cr3t-of-the-environment", epochs=1)
    (started,) = told(tmp_path, RunStarted)
    assert started.dataset["api_key"] == "****"
    assert started.params["name"] == "****"
    assert "s3cr3t" not in repr((started.params, started.dataset))


def test_the_hosts_log_is_told(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, epochs=1)
    assert any("Validating" in event.message for event in told(tmp_path, Logged))


# The end, and what is called an epoch


def test_stopping_early_leaves_no_epoch_more_and_none_less(
    autolog: Autolog, tmp_path: Path, scripted: Callable[..., type[Scripted]]
) -> None:
    autolog()
    train(tmp_path, "classify", epochs=9, patience=2, trainer=scripted(0.1, 0.4, 0.3, 0.2))
    assert epochs(tmp_path) == [row["epoch"] for row in results(tmp_path)] == [1, 2, 3, 4]
    assert [(event.epoch, event.final) for event in told(tmp_path, Validated)][-1] == (2, True)
    (completed,) = told(tmp_path, RunCompleted)
    assert (completed.epochs, completed.best_epoch) == (4, 2)


def test_a_training_by_time_tells_the_epochs_that_were(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, "classify", epochs=1000, time=1e-4)
    ended = told(tmp_path, EpochEnded)
    assert [event.epoch for event in ended] == [row["epoch"] for row in results(tmp_path)]
    assert all(event.total_epochs >= event.epoch for event in ended)
    assert [event.final for event in told(tmp_path, Validated)].count(True) == 1


def test_a_total_that_the_host_guesses_too_low_is_raised_to_what_was_done(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    on = {"on_fit_epoch_end": once(lambda trainer: setattr(trainer, "epochs", 1), 2)}
    train(tmp_path, "classify", on=on)
    assert [(event.epoch, event.total_epochs) for event in told(tmp_path, EpochEnded)] == [(1, 2), (2, 2)]


def test_a_training_that_the_user_stops_is_completed(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, epochs=9, on={"on_train_epoch_end": once(lambda trainer: setattr(trainer, "stop", True), 2)})
    assert epochs(tmp_path) == [1, 2]
    assert isinstance(told(tmp_path, object)[-1], RunCompleted)


def test_a_host_that_did_not_validate_has_measured_nothing(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, "classify", epochs=3, val=False)
    first, second, last = told(tmp_path, EpochEnded)
    for event in (first, second):
        assert event.metrics.keys() == {"train/loss", "lr/pg0", "lr/pg1", "lr/pg2"}
    assert last.metrics.keys() >= {"val/loss", "metrics/accuracy_top1", "fitness"}
    assert [(event.epoch, event.final) for event in told(tmp_path, Validated)] == [(3, False), (3, True)]


# Checkpoints


def test_checkpoints_have_the_names_and_the_bytes_of_the_hosts(
    autolog: Autolog, tmp_path: Path, scripted: Callable[..., type[Scripted]]
) -> None:
    autolog(storage=f"file://{tmp_path}/store")
    train(tmp_path, "classify", epochs=4, save_period=2, trainer=scripted(0.1, 0.4, 0.3, 0.2))
    *during, final = told(tmp_path, CheckpointSaved)
    assert [(event.epoch, event.names) for event in during] == [
        (1, ["last", "best", "epoch_1"]),
        (2, ["last", "best"]),
        (3, ["last", "epoch_3"]),
        (4, ["last"]),
    ]
    for event in during:
        content = load(staged(tmp_path, event))
        assert content["epoch"] + 1 == event.epoch
        assert content["optimizer"] is not None
        assert content["train_metrics"].items() <= event.metrics.items()
    folder = tmp_path / "out/train/weights"
    assert staged(tmp_path, during[0]) == (folder / "epoch0.pt").read_bytes()
    assert staged(tmp_path, during[2]) == (folder / "epoch2.pt").read_bytes()
    assert (final.names, final.epoch, final.final) == (["best"], 2, True)
    assert staged(tmp_path, final) == (folder / "best.pt").read_bytes()


def test_a_host_that_saves_only_at_its_end_tells_only_that(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, "classify", epochs=3, save=False)
    assert [(event.epoch, event.names, event.final) for event in told(tmp_path, CheckpointSaved)] == [
        (3, ["last", "best"], False),
        (3, ["best"], True),
    ]


def test_the_best_of_an_earlier_training_in_the_same_folder_is_not_told_as_this_ones(
    autolog: Autolog, tmp_path: Path, scripted: Callable[..., type[Scripted]]
) -> None:
    train(tmp_path, "classify", epochs=1)
    autolog()
    train(tmp_path, "classify", save=False, trainer=scripted(0.4, 0.3))
    assert (tmp_path / "out/train/weights/best.pt").exists()
    assert [(event.names, event.final) for event in told(tmp_path, CheckpointSaved)] == [(["last"], False)]
    assert not any(event.final for event in told(tmp_path, Validated))
    assert epochs(tmp_path) == [1, 2]


def test_without_validation_the_hosts_best_is_always_the_newest(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, "classify", epochs=3, val=False)
    assert [event.names for event in told(tmp_path, CheckpointSaved)] == [["last", "best"]] * 3 + [["best"]]
    assert told(tmp_path, RunCompleted)[0].best_epoch == 3


def test_nothing_of_ours_is_in_the_callbacks_or_in_a_checkpoint(autolog: Autolog, tmp_path: Path) -> None:
    found: list[str] = []

    def look(trainer: Any) -> None:
        found.extend(function.__module__ for functions in trainer.callbacks.values() for function in functions)

    autolog()
    train(tmp_path, on={"on_pretrain_routine_end": look, "on_model_save": look, "on_train_end": look})
    assert found
    assert not [module for module in found if module.startswith("trainer_hooks")]
    for name in ("last.pt", "best.pt"):
        path = tmp_path / "out/train/weights" / name
        with zipfile.ZipFile(path) as archive:
            (pickled,) = [member for member in archive.namelist() if member.endswith("data.pkl")]
            arguments = [argument for _, argument, _ in pickletools.genops(archive.read(pickled))]
        mentioned = {text for text in arguments if isinstance(text, str) and "trainer_hooks" in text}
        # The host keeps the last commit of the repository that it finds itself in: this one.
        assert mentioned <= set(load(path.read_bytes())["git"].values())


# Trouble that the host overcomes


def test_an_epoch_that_is_repeated_after_a_nan_is_told_once(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    begun: list[int] = []
    on = {
        "on_train_epoch_start": lambda trainer: begun.append(trainer.epoch + 1),
        "on_train_epoch_end": once(lambda trainer: setattr(trainer, "loss", torch.tensor(math.nan)), 2),
    }
    train(tmp_path, epochs=3, on=on)
    assert begun == [1, 2, 2, 3]
    assert epochs(tmp_path) == [1, 2, 3]
    assert [event.final for event in told(tmp_path, Validated)] == [False, False, False, True]


def test_a_nan_that_persists_is_a_failure_of_the_validation(autolog: Autolog, tmp_path: Path) -> None:
    autolog()

    def spoil(trainer: Any) -> None:
        if trainer.epoch == 1:
            trainer.loss = torch.tensor(math.nan)

    with pytest.raises(RuntimeError, match="NaN persisted"):
        train(tmp_path, epochs=3, on={"on_train_epoch_end": spoil})
    assert epochs(tmp_path) == [1]
    assert [event.error for event in told(tmp_path, RunFailed)] == ["ValidationError"]


def test_what_is_nan_is_told_as_nan(autolog: Autolog, tmp_path: Path, scripted: Callable[..., type[Scripted]]) -> None:
    def spoil(trainer: Any) -> None:
        for parameter in trainer.model.parameters():
            parameter.data.fill_(math.nan)

    autolog()
    train(tmp_path, "classify", epochs=1, trainer=scripted(math.nan), on={"on_train_start": spoil})
    (ended,) = told(tmp_path, EpochEnded)
    assert (ended.metrics["train/loss"], ended.metrics["fitness"]) == ("NaN", "NaN")
    (saved,) = told(tmp_path, CheckpointSaved)
    assert saved.names == ["last"]
    assert [event.is_best for event in told(tmp_path, Validated)] == [False]
    assert isinstance(told(tmp_path, object)[-1], RunCompleted)


def test_an_epoch_that_is_begun_anew_with_smaller_batches_is_told_once(autolog: Autolog, tmp_path: Path) -> None:
    autolog(iteration_metrics=1)
    batches: list[int] = []

    def run_out_of_memory(trainer: Any) -> None:
        def check(_: Any, arguments: tuple[Any, ...]) -> None:
            batches.append(len(arguments[0]["img"]))
            if batches == [4, 4]:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

        trainer.model.register_forward_pre_hook(check)

    train(tmp_path, batch=4, on={"on_train_start": run_out_of_memory})
    assert batches[:6] == [4, 4, 2, 2, 2, 2]
    assert epochs(tmp_path) == [1, 2]
    # The first iteration of the first try, then those that count.
    assert [event.iteration for event in told(tmp_path, MetricsLogged)] == [1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert [type(event) for event in told(tmp_path, *TERMINAL)] == [RunCompleted]


# Failures


def test_a_missing_dataset_is_a_failure_before_training(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    with pytest.raises(RuntimeError, match=r"missing\.yaml") as raised:
        train(tmp_path, data="missing.yaml")
    started, failed = told(tmp_path, RunStarted, RunFailed)
    assert (started.task, started.total_epochs, started.dataset) == ("detect", 2, {"data": "missing.yaml"})
    assert (failed.error, failed.message) == ("DatasetError", str(raised.value))


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_failing_callback_of_the_users_is_a_failure_of_the_training(
    autolog: Autolog, tmp_path: Path, epoch: int
) -> None:
    autolog()
    with pytest.raises(ValueError, match="the user's own error"):
        train(tmp_path, on={"on_train_epoch_end": once(fail, epoch)})
    (failed,) = told(tmp_path, RunFailed)
    assert (failed.exception, failed.epoch) == ("ValueError", epoch - 1)


@pytest.mark.parametrize("end", ["killed", "exited"])
def test_a_data_loading_worker_that_dies_is_a_failure_of_the_resources(
    autolog: Autolog, tmp_path: Path, end: str
) -> None:
    autolog()

    def kill_the_worker(trainer: Any) -> None:
        (worker,) = trainer.train_loader.iterator._workers
        os.kill(worker.pid, signal.SIGKILL)

    def let_it_exit(trainer: Any) -> None:
        trainer.train_loader.dataset.transforms.append(lambda _: os._exit(1))
        trainer.train_loader.reset()  # the next worker has it

    on = {
        "on_pretrain_routine_start": lambda trainer: setattr(
            trainer.args, "workers", 1
        ),  # on a CPU, the host takes none
        "on_train_epoch_start": once(kill_the_worker if end == "killed" else let_it_exit, 2),
    }
    # "DataLoader worker (pid …) is killed", or what the connection to it says that is cut.
    with pytest.raises((RuntimeError, OSError, EOFError)):
        train(tmp_path, batch=4, on=on)
    (failed,) = told(tmp_path, RunFailed)
    assert (failed.error, failed.epoch) == ("ResourceError", 1)


def test_an_argument_that_is_none_of_the_hosts_is_a_failure(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    with pytest.raises(SyntaxError):
        DetectionTrainer(overrides={**options(tmp_path), "learning_rate": 1})
    assert [event.error for event in told(tmp_path, RunFailed)] == ["ConfigError"]


def test_a_model_that_cannot_be_built_is_a_failure_once_there_is_a_training(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    bad = tmp_path / "bad.yaml"
    bad.write_text("nc: 2\nbackbone: [[-1, 1, NoSuchLayer, [64]]]\nhead: []\n")
    with pytest.raises(KeyError):
        YOLO(bad)
    assert histories(tmp_path) == []
    with pytest.raises(KeyError):
        DetectionTrainer(overrides={**options(tmp_path), "model": str(bad)}).train()
    assert [event.exception for event in told(tmp_path, RunFailed)] == ["KeyError"]


def test_ctrl_c_is_an_interruption_at_the_epoch_where_it_came(autolog: Autolog, tmp_path: Path) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    autolog()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, epochs=3, on={"on_train_batch_start": once(interrupt, 3)})
    assert [(event.reason, event.epoch) for event in told(tmp_path, RunInterrupted)] == [("KeyboardInterrupt", 2)]


def test_only_the_main_process_of_a_job_speaks(
    autolog: Autolog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    autolog()
    train(tmp_path)
    assert histories(tmp_path) == []


# Resuming


@pytest.mark.parametrize("job", [None, "7"])
def test_a_resumed_training_is_the_next_attempt_of_its_run(
    autolog: Autolog, tmp_path: Path, scripted: Callable[..., type[Scripted]], job: str | None
) -> None:
    autolog(job_id=job)
    trainer = scripted(0.1, 0.4, 0.3, 0.2)
    with pytest.raises(ValueError, match="the user's own error"):
        train(tmp_path, "classify", epochs=4, trainer=trainer, on={"on_train_epoch_start": once(fail, 4)})
    last = tmp_path / "out/train/weights/last.pt"
    YOLO(last).train(resume=True, trainer=trainer)
    (history,) = histories(tmp_path)
    assert [(attempt.number, attempt.status) for attempt in history.attempts] == [(1, "failed"), (2, "completed")]
    assert job is None or history.run == job
    assert epochs(tmp_path) == [1, 2, 3, 4]
    first, second = told(tmp_path, RunStarted)
    assert (first.resumed_from, second.resumed_from) == (None, str(last))
    # The best was found before: its epoch lies in the first attempt.
    assert [(event.epoch, event.final) for event in told(tmp_path, Validated)][-1] == (2, True)
    assert (told(tmp_path, CheckpointSaved)[-1].names, told(tmp_path, CheckpointSaved)[-1].epoch) == (["best"], 2)
    (completed,) = told(tmp_path, RunCompleted)
    assert completed.best_epoch == 2
    assert completed.best_metrics.keys() >= {"metrics/accuracy_top1", "val/loss"}


@pytest.mark.slow
@pytest.mark.parametrize("job", [None, "7"])
def test_another_process_resumes_the_run_of_one_that_was_killed(
    autolog: Autolog, tmp_path: Path, job: str | None
) -> None:
    command = [sys.executable, "-m", "tests.hosts.ultralytics", str(tmp_path), "4", "--autolog"]
    environment = {**os.environ, "TRAINER_HOOKS_DELIVERY": "none", **({"JOB_ID": job} if job else {})}
    killed = subprocess.run(
        [*command, "--do", "kill", "--at", "on_fit_epoch_end", "--epoch", "2"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9
    autolog(job_id=job)
    YOLO(tmp_path / "out/train/weights/last.pt").train(resume=True)
    (history,) = histories(tmp_path)
    assert [attempt.status for attempt in history.attempts] == ["lost", "completed"]
    assert job is None or history.run == job
    # Killed in the user's own callback, which hears of the second epoch's end first; its checkpoint was told before.
    assert epochs(tmp_path) == [1, 3, 4]
    assert [event.epoch for event in told(tmp_path, CheckpointSaved)][:3] == [1, 2, 3]


def test_a_resume_that_finds_no_checkpoint_is_a_failed_run_of_its_own(autolog: Autolog, tmp_path: Path) -> None:
    autolog()
    train(tmp_path, epochs=1)
    with pytest.raises(FileNotFoundError):
        DetectionTrainer(overrides={"model": str(host.MODEL), "resume": str(host.MODEL)})
    assert [run.latest.status for run in histories(tmp_path)] == ["completed", "failed"]


# The callbacks, for whom wrapping is not wanted


def with_callbacks(folder: Path, **more: Any) -> YOLO:
    return train(folder, on=integration.callbacks(), **more)


def test_the_callbacks_alone_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autolog: Autolog) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    monkeypatch.setenv("TRAINER_HOOKS_ITERATION_METRICS", "1")
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    for name in ("callbacks", "wrapped"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("TRAINER_HOOKS_DIR", str(folder / "trainer_runs"))
        if name == "callbacks":
            with_callbacks(folder, epochs=3)
        else:
            autolog()
            train(folder, epochs=3)
    kinds = (EpochEnded, MetricsLogged, Validated, CheckpointSaved, RunCompleted)
    by_callbacks, by_wrapping = (told(tmp_path / name, *kinds) for name in ("callbacks", "wrapped"))
    assert [type(event) for event in by_callbacks] == [type(event) for event in by_wrapping]
    for one, other in zip(by_callbacks, by_wrapping, strict=True):
        assert one.metrics == other.metrics


def test_the_callbacks_tell_each_training_of_a_trainer_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    trainer = DetectionTrainer(overrides={**options(tmp_path, epochs=1), "model": str(host.MODEL)})
    for event, function in integration.callbacks().items():
        trainer.add_callback(event, function)
    trainer.train()
    trainer.train()
    assert [(run.latest.status, run.latest.state.epoch) for run in histories(tmp_path)] == [("completed", 1)] * 2


def test_beside_autolog_the_callbacks_double_nothing(autolog: Autolog, tmp_path: Path) -> None:
    autolog(iteration_metrics=1)
    with_callbacks(tmp_path, epochs=2)
    assert epochs(tmp_path) == [1, 2]
    assert [event.iteration for event in told(tmp_path, MetricsLogged)] == [1, 2]
    assert len(told(tmp_path, Validated)) == 3
    assert len(told(tmp_path, CheckpointSaved)) == 3
    assert len(told(tmp_path, RunStarted, RunCompleted)) == 2


def test_the_callbacks_can_be_copied_and_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    model = with_callbacks(tmp_path, epochs=1)
    assert pickle.loads(pickle.dumps(integration.callbacks())) == integration.callbacks()  # noqa: S301 - our own
    copied = copy.deepcopy(model.callbacks)
    for event, function in integration.callbacks().items():
        assert function in copied[event]


def test_callbacks_that_are_given_something_else_than_a_trainer_do_nothing(tmp_path: Path, weights: Path) -> None:
    make_dataset(tmp_path / "detect")
    model = YOLO(weights)
    given: list[Any] = []
    for event in ("on_val_start", "on_val_end"):
        model.add_callback(event, given.append)
        for name, function in integration.callbacks().items():
            if name != "on_train_start":
                model.add_callback(event, function)
    model.val(data=options(tmp_path)["data"], **_quiet(tmp_path))
    assert len(given) == 2
    assert histories(tmp_path) == []


def test_with_callbacks_alone_a_failure_that_the_user_catches_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    with pytest.raises(ValueError, match="the user's own error"):
        train(tmp_path, on={**integration.callbacks(), "on_train_epoch_end": once(fail, 2)})
    (failed,) = told(tmp_path, RunFailed)
    assert (failed.message, failed.epoch) == ("the user's own error", 1)
    assert "in fail" in failed.traceback


@pytest.mark.slow
def test_with_callbacks_alone_a_failure_is_told_when_it_leaves_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from pathlib import Path
            from tests.integrations.test_ultralytics import fail, once, train
            from trainer_hooks.integrations.ultralytics import callbacks

            on = {**callbacks(), "on_train_epoch_end": once(fail, 2)}
            del on["teardown"]  # before 8.4.130 the host does not announce it after a failure
            train(Path(sys.argv[1]), epochs=3, on=on)
        """)
    )
    environment = {**os.environ, "TRAINER_HOOKS_DELIVERY": "none", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: the user's own error")
    (failed,) = told(tmp_path, RunFailed)
    assert (failed.exception, failed.epoch) == ("ValueError", 1)
