"""What MMEngine does, and what of it is told: real Runners on a tiny model, read back from their journals."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import FlexibleRunner, Runner

import trainer_hooks
from tests.hosts import mmengine as host
from tests.hosts.scripts import ROOT
from trainer_hooks.errors import InvalidSetting
from trainer_hooks.events import (
    TERMINAL,
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    RunCompleted,
    RunFailed,
    RunStarted,
    Validated,
)
from trainer_hooks.history import RunHistory, list_runs, read_history
from trainer_hooks.journal import read_records

pytestmark = pytest.mark.framework

Autolog = Callable[..., Any]
HOOK = {"type": "trainer_hooks.TrainerHook"}
ITERATIONS = {
    "train_cfg": {"by_epoch": False, "max_iters": 10, "val_interval": 4},
    "default_hooks": {
        "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 4, "save_best": "accuracy/sure"},
        "logger": {"type": "LoggerHook", "interval": 2},
    },
    "log_processor": {"by_epoch": False},
}


@pytest.fixture
def autolog() -> Iterator[Autolog]:
    """`autolog("mmengine")`, undone at the end; nobody delivers."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            trainer_hooks.autolog("mmengine", **{"delivery": "none", **settings})
        )


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody delivers, and what a hook in a config has wrapped is unwrapped at the end."""
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    yield
    trainer_hooks.autolog("mmengine").detach()


def built(folder: Path, epochs: int = 2, **parts: Any) -> Runner:
    return Runner.from_cfg(host.config(folder, epochs, **parts))


def train(folder: Path, epochs: int = 2, **parts: Any) -> Runner:
    runner = built(folder, epochs, **parts)
    runner.train()
    return runner


def iterating(**parts: Any) -> dict[str, Any]:
    """A training that is counted in iterations."""
    endless = {"type": "InfiniteSampler", "shuffle": True}
    loader = {**host.config(Path()).train_dataloader.to_dict(), "sampler": endless}
    return {**ITERATIONS, "train_dataloader": loader, **parts}


def checkpointing(**options: Any) -> dict[str, Any]:
    return {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, **options}}}


def histories(folder: Path) -> list[RunHistory]:
    """All runs, the oldest first."""
    found = [read_history(run) for run in list_runs(folder / "trainer_runs")]
    return sorted(found, key=lambda history: history.attempts[0].began)


def told(folder: Path, *kinds: type) -> list[Any]:
    """What the only run told, in order."""
    (run,) = list_runs(folder / "trainer_runs")
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


def staged(folder: Path, saved: CheckpointSaved) -> bytes:
    (run,) = list_runs(folder / "trainer_runs")
    return (run / str(saved.staged)).read_bytes()


def listening(**stages: Callable[..., None]) -> Hook:
    """A hook of the user's that does these things in these stages."""
    methods = {stage: lambda _, runner, _do=do, **more: _do(runner, **more) for stage, do in stages.items()}
    return type("Listening", (Hook,), methods)()


def script(folder: Path, text: str, *under: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of the user's, with the test host at hand, in a process of its own."""
    path = folder / "train.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{textwrap.dedent(text)}")
    command = [*under, sys.executable, str(path)]
    # Before 2.6 torch loaded such checkpoints without being asked to; the host has yet to ask.
    loading = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **loading, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class TestAttaching:
    @pytest.mark.parametrize("ways", [("autolog",), ("hook",), ("autolog", "hook"), ("autolog", "autolog", "hook")])
    def test_each_way_and_all_at_once_tell_the_same_once(
        self, ways: tuple[str, ...], hooked: None, tmp_path: Path
    ) -> None:
        for _ in range(ways.count("autolog")):
            trainer_hooks.autolog("mmengine")
        train(tmp_path, custom_hooks=[HOOK] * ways.count("hook"))
        assert len(told(tmp_path, RunStarted)) == len(told(tmp_path, TERMINAL)) == 1
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2]
        names = [event.names for event in told(tmp_path, CheckpointSaved)]
        assert names == [["last"], ["best"], ["last"]] * 2  # the last is written again once the best is known

    def test_a_hook_twice_in_a_config_tells_once(self, hooked: None, tmp_path: Path) -> None:
        train(tmp_path, custom_hooks=[HOOK, HOOK])
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_only_the_runners_are_told_whose_config_has_the_hook(self, hooked: None, tmp_path: Path) -> None:
        train(tmp_path / "with", 1, custom_hooks=[HOOK])
        train(tmp_path / "without", 1)
        (only,) = histories(tmp_path)
        assert only.latest.state.started.output_dir == str(tmp_path / "with" / "out")

    def test_a_runner_that_exists_already_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        runner = built(tmp_path)
        autolog()
        runner.train()
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_the_hook_takes_settings_before_those_of_autolog(
        self, autolog: Autolog, hooked: None, tmp_path: Path
    ) -> None:
        autolog(run_id="from autolog")
        train(tmp_path, 1, custom_hooks=[{**HOOK, "run_id": "from the hook"}])
        train(tmp_path, 1, custom_hooks=[HOOK])
        assert [history.run for history in histories(tmp_path)] == ["from the hook", "from autolog"]

    @pytest.mark.parametrize("name", ["TrainerHook", "mmengine.TrainerHook", "trainer_hooks.TrainerHook"])
    def test_the_hook_is_found_by_its_name(self, name: str, hooked: None, tmp_path: Path) -> None:
        assert trainer_hooks.TrainerHook  # imported, without which the registry's names are not known
        train(tmp_path, 1, custom_hooks=[{"type": name}])
        assert len(told(tmp_path, RunCompleted)) == 1

    def test_the_hook_is_found_by_its_short_name_where_a_config_file_imports_it(self, tmp_path: Path) -> None:
        imports = {"imports": ["trainer_hooks.integrations.mmengine"]}
        host.config(tmp_path, 1, custom_imports=imports, custom_hooks=[{"type": "TrainerHook"}]).dump(
            tmp_path / "short.py"
        )
        # In a process of its own, which has imported nothing of ours; and only a file's imports are done by the host.
        done = script(
            tmp_path,
            """
            from tests.hosts import mmengine  # registers the model
            from mmengine.config import Config
            from mmengine.runner import Runner
            Runner.from_cfg(Config.fromfile("short.py")).train()
            """,
            TRAINER_HOOKS_DELIVERY="none",
        )
        assert done.returncode == 0, done.stderr
        assert len(told(tmp_path, RunCompleted)) == 1

    def test_the_hook_is_found_under_another_packages_scope(self, hooked: None) -> None:
        from mmengine.registry import Registry

        ours = trainer_hooks.TrainerHook
        theirs = Registry("hook", parent=HOOKS, scope="theirs", locations=[])
        assert isinstance(theirs.build({"type": "TrainerHook"}), ours)
        assert isinstance(theirs.build(HOOK), ours)

    def test_a_runner_built_by_the_registry_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        RUNNERS.build(host.config(tmp_path, 1)).train()
        assert len(told(tmp_path, RunCompleted)) == 1

    def test_a_flexible_runner_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(storage=f"file://{tmp_path}/store")
        config = host.config(tmp_path, 2, launcher="none")
        FlexibleRunner.from_cfg(config).train()
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        saved = told(tmp_path, CheckpointSaved)
        assert [(event.names, event.epoch) for event in saved[-3:]] == [(["last"], 2), (["best"], 2), (["last"], 2)]
        assert told(tmp_path, Logged)

    def test_a_config_as_text_dumps_and_loads_again(self, hooked: None, tmp_path: Path) -> None:
        base = tmp_path / "base.py"
        host.config(tmp_path, 1).dump(base)
        config = tmp_path / "mine.py"
        config.write_text(
            "_base_ = 'base.py'\ncustom_hooks = [dict(type='trainer_hooks.TrainerHook', run_id='text')]\n"
        )
        Runner.from_cfg(Config.fromfile(config)).train()
        dumped = tmp_path / "out" / "mine.py"
        again = Config.fromfile(dumped)
        again.custom_hooks[0].run_id = "dumped"
        again.experiment_name = "again"  # of one name within one second, the host would take both for one
        Runner.from_cfg(again).train()
        assert [history.run for history in histories(tmp_path)] == ["text", "dumped"]

    def test_a_config_in_pure_python_dumps_and_loads_again(self, tmp_path: Path) -> None:
        host.config(tmp_path, 1).dump(tmp_path / "base.py")
        (tmp_path / "lazy.py").write_text(
            "from mmengine.config import read_base\n"
            "with read_base():\n    from .base import *\n"
            "from trainer_hooks import TrainerHook\n"
            "custom_hooks = [dict(type=TrainerHook)]\n"
        )
        done = script(
            tmp_path,
            """
            from tests.hosts import mmengine  # registers the model
            from mmengine.config import Config
            from mmengine.runner import Runner
            Runner.from_cfg(Config.fromfile("lazy.py")).train()
            Runner.from_cfg(Config.fromfile("out/lazy.py")).train()
            """,
        )
        assert done.returncode == 0, done.stderr
        assert [history.latest.status for history in histories(tmp_path)] == ["completed", "completed"]

    @pytest.mark.parametrize(
        "secret", [{"token": "s3cr3t-t0ken"}, {"callback_url": "http://me:s3cr3t-t0ken@host/api/v1"}]
    )
    def test_a_credential_in_a_config_is_refused(self, secret: dict[str, str], hooked: None, tmp_path: Path) -> None:
        with pytest.raises(InvalidSetting, match="is a credential, and configs become files") as refused:
            built(tmp_path, custom_hooks=[{**HOOK, **secret}])
        assert "s3cr3t" not in str(refused.value)
        assert not list((tmp_path / "out").glob("*.py"))  # the host's dump, from which trainings are repeated

    @pytest.mark.parametrize(
        ("settings", "said"),
        [({"storage": "nonsense"}, "not a URI"), ({"intervall": 1}, "'intervall' is not a setting")],
    )
    def test_a_mistake_in_the_hooks_settings_is_said_at_once(
        self, settings: dict[str, Any], said: str, hooked: None, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidSetting, match=said):
            built(tmp_path, custom_hooks=[{**HOOK, **settings}])

    def test_under_run_a_script_is_told_without_a_change(self, tmp_path: Path, own_environment: Path) -> None:
        text = "from tests.hosts import mmengine; from pathlib import Path; mmengine.train(Path('.').absolute(), 1)"
        done = script(tmp_path, text, sys.executable, "-m", "trainer_hooks.cli", "run", "--")
        assert done.returncode == 0, done.stderr
        (run,) = list_runs(own_environment)
        assert read_history(run).latest.status == "completed"

    def test_the_weights_are_the_same_with_the_hook_as_without(self, hooked: None, tmp_path: Path) -> None:
        with_it = host.train(tmp_path / "with", hook=True).weights
        assert with_it == host.train(tmp_path / "without").weights
        assert len(histories(tmp_path)) == 1

    def test_silent_where_it_is_disabled(
        self, autolog: Autolog, hooked: None, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("TRAINER_HOOKS_MODE", "disabled")
        autolog()
        train(tmp_path, 1, custom_hooks=[HOOK])
        assert list(list_runs(tmp_path / "trainer_runs")) == []


class TestWhatIsTold:
    def test_the_start_has_the_config_the_data_and_the_classes(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        config = host.config(tmp_path, 3, api_token="s3cr3t-t0ken")
        Runner.from_cfg(config).train()
        (started,) = told(tmp_path, RunStarted)
        assert (started.operation, started.framework, started.model) == ("training", "mmengine", "SpotClassifier")
        assert (started.total_epochs, started.total_iterations) == (3, None)
        assert started.params["optim_wrapper"]["optimizer"] == {"type": "SGD", "lr": 0.1, "momentum": 0.9}
        assert started.params["api_token"] == "****"
        assert started.dataset == {"type": "SpotDataset"}
        assert started.class_names == ["left", "right"]
        assert started.output_dir == str(tmp_path / "out")
        assert started.versions.keys() >= {"python", "mmengine", "torch"}

    def test_a_dataset_within_wrappers_is_found_and_its_own_classes_come_first(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()
        loader = host.config(tmp_path).train_dataloader.to_dict()
        inner = {"type": "SpotDataset", "length": 8}
        several = {"type": "ConcatDataset", "datasets": [inner]}
        loader["dataset"] = {"type": "RepeatDataset", "times": 2, "dataset": several}
        runner = built(tmp_path, 1, train_dataloader=loader)
        with pytest.raises(AttributeError, match="full_init"):  # the host's wrappers want its own datasets
            runner.train()
        (started,) = told(tmp_path, RunStarted)
        assert started.dataset == inner
        assert started.class_names == ["left", "right"]

    def test_a_runner_of_ready_made_parts_is_described_as_far_as_they_tell(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()
        config = host.config(tmp_path, 2)
        loader = Runner.build_dataloader(config.train_dataloader)
        parts = {
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.5}},
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
        }
        Runner(host.SpotClassifier(), str(tmp_path / "out"), train_dataloader=loader, **parts).train()
        (started,) = told(tmp_path, RunStarted)
        assert started.params["optim_wrapper"] == parts["optim_wrapper"]
        assert (started.model, started.total_epochs) == ("SpotClassifier", 2)
        assert started.class_names == ["left", "right"]

    def test_losses_are_the_means_of_the_epoch_by_name(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

        def note(runner: Any, outputs: dict[str, Any], **_: Any) -> None:
            for name, value in outputs.items():
                found[runner.epoch + 1][f"train/{name}"].append(value.item())

        runner = built(tmp_path, 3, param_scheduler={"type": "ExponentialLR", "gamma": 0.5, "by_epoch": True})
        runner.register_hook(listening(after_train_iter=note))
        runner.train()
        for event in told(tmp_path, EpochEnded):
            for name, values in found[event.epoch].items():
                assert len(values) == 4
                assert event.metrics[name] == pytest.approx(sum(values) / 4)
            assert event.metrics["train/lr"] == pytest.approx(0.1 * 0.5 ** (event.epoch - 1))
            assert event.metrics["train/time"] > 0

    def test_a_loss_that_not_every_iteration_has_is_the_mean_of_those_that_have_it(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()

        def now_and_then(runner: Any, batch_idx: int, **_: Any) -> None:
            if batch_idx % 2:
                runner.message_hub.update_scalar("train/loss_rare", float(runner.epoch + 1))

        runner = built(tmp_path)
        runner.register_hook(listening(after_train_iter=now_and_then))
        runner.train()
        assert [event.metrics["train/loss_rare"] for event in told(tmp_path, EpochEnded)] == [1.0, 2.0]

    def test_validations_have_the_epoch_that_they_validate(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        seen: list[tuple[int, float]] = []
        runner = built(tmp_path, 5, train_cfg={"by_epoch": True, "max_epochs": 5, "val_interval": 2})
        note = lambda runner, metrics: seen.append((runner.epoch, metrics["accuracy/top1"]))  # noqa: E731
        runner.register_hook(listening(after_val_epoch=note))
        runner.train()
        events = told(tmp_path, Validated)
        assert [(event.epoch, event.metrics["accuracy/top1"]) for event in events] == seen
        assert [event.epoch for event in events] == [2, 4, 5]
        assert {event.primary for event in events} == {"accuracy/sure"}
        assert [event.class_names for event in events] == [["left", "right"]] * 3
        best = max(events, key=lambda event: event.metrics["accuracy/sure"])
        assert [event for event in events if event.is_best][-1] == best
        (completed,) = told(tmp_path, RunCompleted)
        assert (completed.epochs, completed.best_epoch, completed.best_metrics) == (5, best.epoch, best.metrics)
        assert completed.metrics.keys() >= {"train/loss", "accuracy/top1", "train/lr"}

    def test_values_that_are_no_numbers_are_named(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()

        def more(_: Any, metrics: dict[str, Any]) -> None:
            metrics |= {"matrix": torch.eye(2), "nan": float("nan"), "undefined": -1.0, "why": "text"}

        runner = built(tmp_path, 1)
        runner.register_hook(listening(after_val_epoch=more), priority="VERY_HIGH")
        runner.train()
        (event,) = told(tmp_path, Validated)
        assert (event.metrics["nan"], event.metrics["undefined"]) == ("NaN", -1.0)
        (skipped,) = told(tmp_path, MetricsSkipped)
        assert skipped.reasons.keys() == {"matrix", "why"}

    def test_iteration_metrics_are_told_when_they_are_wanted(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(iteration_metrics=3)
        found: list[float] = []
        note = lambda _, outputs, **__: found.append(outputs["loss"].item())  # noqa: E731
        runner = built(tmp_path)
        runner.register_hook(listening(after_train_iter=note))
        runner.train()
        events = told(tmp_path, MetricsLogged)
        assert [event.iteration for event in events] == [3, 6]
        for event in events:
            assert event.metrics["train/loss"] == pytest.approx(sum(found[event.iteration - 3 : event.iteration]) / 3)
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_what_the_host_logs_is_forwarded(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        runner = built(tmp_path, 1)
        runner.register_hook(listening(before_train=lambda runner: runner.logger.warning("a word of the user's")))
        runner.train()
        logs = [(event.level, event.message, event.source) for event in told(tmp_path, Logged)]
        assert logs.count(("WARNING", "a word of the user's", "mmengine")) == 1
        assert any(message.startswith("Epoch(train) [1][2/4]") for _, message, _ in logs)

    def test_without_the_hosts_own_notes_epochs_are_right_and_there_are_no_losses(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()
        train(tmp_path, default_hooks=dict.fromkeys(("runtime_info", "logger", "timer")))
        assert [(event.epoch, event.metrics) for event in told(tmp_path, EpochEnded)] == [(1, {}), (2, {})]
        assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2]

    def test_an_early_stop_is_a_completion_after_fewer_epochs(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        stop = {"type": "EarlyStoppingHook", "monitor": "accuracy/top1", "min_delta": 2.0, "patience": 1}
        train(tmp_path, 9, custom_hooks=[stop])
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.epochs == len(told(tmp_path, EpochEnded)) == 2


class TestIterations:
    def test_a_training_counted_in_iterations_is_told_in_them(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(storage=f"file://{tmp_path}/store")
        found: list[float] = []
        runner = built(tmp_path, **iterating())
        runner.register_hook(listening(after_train_iter=lambda _, outputs, **__: found.append(outputs["loss"].item())))
        runner.train()
        (started,) = told(tmp_path, RunStarted)
        assert (started.total_epochs, started.total_iterations) == (None, 10)
        assert told(tmp_path, EpochEnded) == []
        metrics = told(tmp_path, MetricsLogged)
        assert [event.iteration for event in metrics] == [2, 4, 6, 8, 10]
        for event in metrics:
            assert event.metrics["train/loss"] == pytest.approx(sum(found[event.iteration - 2 : event.iteration]) / 2)
        assert [(event.epoch, event.iteration) for event in told(tmp_path, Validated)] == [
            (None, n) for n in (4, 8, 10)
        ]
        saved = told(tmp_path, CheckpointSaved)
        assert {event.epoch for event in saved} == {None}
        assert {event.iteration for event in saved} == {4, 8, 10}
        newest = io.BytesIO(staged(tmp_path, saved[-1]))
        assert torch.load(newest, weights_only=False)["meta"]["iter"] == saved[-1].iteration == 10
        (completed,) = told(tmp_path, RunCompleted)
        assert (completed.epochs, completed.iterations) == (0, 10)
        assert completed.best_iteration in (4, 8, 10)
        assert completed.best_epoch is None

    def test_what_comes_after_the_last_log_is_told_at_the_end(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(iteration_metrics=4)
        train(tmp_path, **iterating())
        assert [event.iteration for event in told(tmp_path, MetricsLogged)] == [4, 8, 10]

    def test_a_checkpoint_by_epoch_is_of_the_last_iteration(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        hooks = {"checkpoint": {"type": "CheckpointHook", "by_epoch": True, "interval": 1}}
        train(tmp_path, **iterating(default_hooks=hooks))
        assert [event.iteration for event in told(tmp_path, CheckpointSaved)] == [10]

    def test_a_failure_tells_the_iteration(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        runner = built(tmp_path, **iterating())
        runner.register_hook(listening(before_train_iter=lambda runner, **_: 1 / (runner.iter - 7)))
        with pytest.raises(ZeroDivisionError):
            runner.train()
        (failed,) = told(tmp_path, RunFailed)
        assert (failed.epoch, failed.iteration) == (None, 7)


class TestCheckpoints:
    def test_what_is_stored_is_what_the_host_has_left(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(storage=f"file://{tmp_path}/store", delivery="process", flush_timeout=60, run_id="run")
        ema = {"type": "EMAHook", "momentum": 0.1}
        runner = built(
            tmp_path, 3, custom_hooks=[ema], **checkpointing(save_best="auto", max_keep_ckpts=1, save_optimizer=False)
        )
        runner.train()
        assert trainer_hooks.run.current_run() is None
        (run,) = list_runs(tmp_path / "trainer_runs")
        done = subprocess.run(
            [sys.executable, "-m", "trainer_hooks.cli", "sync", str(run.parent)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (last,) = (tmp_path / "out").glob("epoch_*.pth")
        (best,) = (tmp_path / "out").glob("best_*.pth")
        store = tmp_path / "store/checkpoints/run"
        assert (store / "last.pth").read_bytes() == last.read_bytes()
        assert (store / "best.pth").read_bytes() == best.read_bytes()
        stored = {event.name: event for event in told(tmp_path, CheckpointStored)}
        assert stored["last"].epoch == 3
        assert f"epoch_{stored['best'].epoch}.pth" in best.name
        assert stored["best"].metrics.keys() >= {"accuracy/top1", "train/loss"}
        assert {event.primary for event in told(tmp_path, Validated)} == {"accuracy/top1"}  # the first of them

    def test_files_that_the_host_deletes_are_stored_all_the_same(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(storage=f"file://{tmp_path}/store", delivery="none", run_id="run")
        train(tmp_path, 4)
        left = {path.name for path in (tmp_path / "out").glob("*.pth")}
        assert len(left) == 2  # of eight
        # Only the newest `last` is worth keeping where nobody delivers meanwhile; of each best there is a copy.
        saved = told(tmp_path, CheckpointSaved)
        copies = [event for event in saved if event.staged and (tmp_path / "trainer_runs/run" / event.staged).exists()]
        assert [event.names for event in copies if "best" in event.names] == [
            event.names for event in saved if "best" in event.names
        ]
        assert copies[-1] == saved[-1]

    def test_several_metrics_have_a_best_each(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 1, **checkpointing(save_best=["accuracy/sure", "accuracy/top1"]))
        names = [event.names for event in told(tmp_path, CheckpointSaved)]
        assert names == [["last"], ["best", "best_accuracy_sure"], ["best_accuracy_top1"], ["last"]]
        (event,) = told(tmp_path, Validated)
        assert (event.is_best, event.primary) == (True, "accuracy/sure")

    def test_without_a_best_there_is_none(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 2, **checkpointing())
        assert [event.names for event in told(tmp_path, CheckpointSaved)] == [["last"], ["last"]]
        (completed,) = told(tmp_path, RunCompleted)
        assert (completed.best_epoch, completed.best_metrics) == (None, {})

    def test_checkpoints_every_third_epoch_and_at_the_end(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        hooks = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 3}}}
        train(tmp_path, 4, **hooks)
        assert [(event.names, event.epoch) for event in told(tmp_path, CheckpointSaved)] == [
            (["last"], 3),
            (["last"], 4),
        ]

    def test_a_checkpoint_of_the_users_own_is_not_taken_for_the_hosts(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        runner = built(tmp_path, 1, **checkpointing())
        keep = lambda runner: runner.save_checkpoint(str(tmp_path), "mine.pth")  # noqa: E731
        runner.register_hook(listening(before_train_epoch=keep))
        runner.train()
        assert (tmp_path / "mine.pth").exists()
        assert [event.names for event in told(tmp_path, CheckpointSaved)] == [["last"]]

    def test_checkpoints_that_the_host_keeps_elsewhere_are_left_alone(
        self, autolog: Autolog, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Elsewhere(LocalBackend):
            """Keeps what it is given under another root, as an object store would."""

            def _real(self, path: Any) -> str:
                return str(path).replace("elsewhere:/", f"{tmp_path}/elsewhere/")

            def put(self, obj: bytes, filepath: Any) -> None:
                super().put(obj, self._real(filepath))

            def join_path(self, filepath: Any, *filepaths: Any) -> str:
                return "/".join([str(filepath), *map(str, filepaths)])

            def isfile(self, filepath: Any) -> bool:
                return Path(self._real(filepath)).is_file()

        register_backend("elsewhere", Elsewhere, prefixes="elsewhere", force=True)
        FileClient.register_backend("elsewhere", Elsewhere, prefixes="elsewhere", force=True)
        autolog(storage=f"file://{tmp_path}/store")
        train(tmp_path, 2, **checkpointing(out_dir="elsewhere://bucket"))
        assert list((tmp_path / "elsewhere").rglob("epoch_2.pth"))
        assert told(tmp_path, CheckpointSaved) == []
        said = [record.getMessage() for record in caplog.records if record.name == "trainer_hooks"]
        assert said == ["checkpoints are not stored: those of elsewhere://bucket/out are no files on this machine"]


class TestOtherWorks:
    @pytest.fixture
    def checkpoint(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
        """Of two epochs; torch wants to be asked to load the host's own objects."""
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        folder = tmp_path_factory.mktemp("earlier")
        train(folder)
        return str(folder / "out" / "epoch_2.pth")

    @pytest.mark.parametrize(("method", "operation"), [("val", "validation"), ("test", "test")])
    def test_a_validation_or_test_alone_is_told_as_that(
        self, autolog: Autolog, tmp_path: Path, checkpoint: str, method: str, operation: str
    ) -> None:
        autolog()
        # Where CheckpointHook keeps a best, the host's own `val()` fails with an AttributeError.
        metrics = getattr(built(tmp_path, load_from=checkpoint, **checkpointing()), method)()
        (started,) = told(tmp_path, RunStarted)
        assert (started.operation, started.class_names) == (operation, ["left", "right"])
        assert (started.total_epochs, started.total_iterations) == (None, None)
        (event,) = told(tmp_path, Validated)
        assert (event.epoch, event.metrics["accuracy/top1"]) == (2, metrics["accuracy/top1"])
        assert told(tmp_path, EpochEnded, CheckpointSaved) == []
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.metrics == event.metrics

    def test_a_test_after_the_training_is_a_run_of_its_own(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(job_id="7", callback_url="http://127.0.0.1:9/api/v1")
        runner = train(tmp_path, 1)
        runner.test()
        training, test = histories(tmp_path)
        assert (training.run, test.run) == ("7", "7-2")
        assert (training.latest.state.started.operation, test.latest.state.started.operation) == ("training", "test")
        assert [history.latest.status for history in (training, test)] == ["completed", "completed"]
        (event,) = [r.event for r in read_records(test.directory) if isinstance(r.event, Validated)]
        assert event.epoch == 1

    def test_a_test_within_the_training_belongs_to_it(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        runner = built(tmp_path, 1)
        runner.register_hook(listening(after_train=lambda runner: runner.test()))
        runner.train()
        assert len(told(tmp_path, RunCompleted)) == 1
        assert len(told(tmp_path, Validated)) == 2

    def test_a_training_from_a_checkpoint_is_a_new_one(self, autolog: Autolog, tmp_path: Path, checkpoint: str) -> None:
        autolog()
        train(tmp_path, 1, load_from=checkpoint)
        (started,) = told(tmp_path, RunStarted)
        assert started.resumed_from is None
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1]

    @pytest.mark.parametrize("how", ["resume=True", "resume=True, load_from='out/epoch_2.pth'"])
    def test_a_resumed_training_is_the_next_attempt(self, tmp_path: Path, own_environment: Path, how: str) -> None:
        done = script(
            tmp_path,
            f"""
            import trainer_hooks; trainer_hooks.autolog("mmengine")
            from pathlib import Path
            from mmengine.runner import Runner
            from tests.hosts import mmengine as host
            best = dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="accuracy/sure", rule="less"))
            Runner.from_cfg(host.config(Path().absolute(), 2, default_hooks=best)).train()
            Runner.from_cfg(host.config(Path().absolute(), 4, default_hooks=best, {how})).train()
            """,
        )
        assert done.returncode == 0, done.stderr
        (run,) = list_runs(own_environment)
        first, second = read_history(run).attempts
        assert second.state.started.resumed_from.endswith("epoch_2.pth")
        records = [record for record in read_records(run) if isinstance(record.event, EpochEnded)]
        assert [(record.attempt, record.event.epoch) for record in records] == [(1, 1), (1, 2), (2, 3), (2, 4)]
        # It was least sure after its first epoch, and grew surer: the best lies in the first attempt.
        assert (first.state.best_epoch, second.state.ended.best_epoch) == (1, 1)
        assert second.state.ended.best_metrics == first.state.best_metrics

    def test_resume_with_nothing_to_resume_is_a_new_training(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 1, resume=True)
        (started,) = told(tmp_path, RunStarted)
        assert started.resumed_from is None


class TestFailures:
    def failing(self, folder: Path, error: type[BaseException], **parts: Any) -> RunFailed:
        """The failure that is told; the host's own exception goes on."""
        with pytest.raises(error) as raised:
            train(folder, **parts)
        (failed,) = told(folder, RunFailed)
        assert failed.exception.rpartition(".")[2] == raised.type.__name__
        assert failed.message == str(raised.value)
        assert failed.traceback
        return failed

    @pytest.mark.parametrize("hooks", [[], [HOOK]])
    def test_a_sample_that_cannot_be_read(
        self, autolog: Autolog, hooked: None, tmp_path: Path, hooks: list[Any]
    ) -> None:
        if not hooks:
            autolog()
        loader = host.config(tmp_path).train_dataloader.to_dict()
        loader["dataset"] = {"type": "SpotDataset", "broken": 3}
        failed = self.failing(tmp_path, OSError, train_dataloader=loader, custom_hooks=hooks)
        assert (failed.error, failed.message) == ("DatasetError", "sample 3 can't be read")
        assert "__getitem__" in failed.traceback

    @pytest.mark.parametrize("hooks", [[], [HOOK]])
    def test_a_dataset_that_cannot_be_built(
        self, autolog: Autolog, hooked: None, tmp_path: Path, hooks: list[Any]
    ) -> None:
        if not hooks:
            autolog()
        loader = {**host.config(tmp_path).train_dataloader.to_dict(), "dataset": {"type": "NoSuchDataset"}}
        failed = self.failing(tmp_path, KeyError, train_dataloader=loader, custom_hooks=hooks)
        assert failed.error == "ConfigError"

    def test_a_runner_that_cannot_be_built(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        failed = self.failing(tmp_path, KeyError, model={"type": "NoSuchModel"})
        assert failed.error == "ConfigError"
        (started,) = told(tmp_path, RunStarted)
        assert (started.operation, started.total_epochs) == ("training", 2)
        assert started.params["model"] == {"type": "NoSuchModel"}

    def test_a_checkpoint_that_is_not_there(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        failed = self.failing(tmp_path, FileNotFoundError, load_from=str(tmp_path / "missing.pth"))
        assert failed.error == "CheckpointError"

    def test_another_hooks_type_error_comes_out_as_the_host_rewrites_it(self, tmp_path: Path) -> None:
        def wrong(_: Any, **__: Any) -> None:
            raise TypeError("theirs")

        def run(folder: Path) -> str:
            runner = built(folder, 1)
            runner.register_hook(listening(after_train_iter=wrong))
            with pytest.raises(TypeError) as raised:
                runner.train()
            return str(raised.value).partition(" object at ")[0]

        without = run(tmp_path / "without")
        with trainer_hooks.autolog("mmengine", delivery="none"):
            with_us = run(tmp_path / "with")
        assert with_us == without
        (failed,) = told(tmp_path, RunFailed)
        assert failed.message.startswith("theirs in <tests.")

    def test_the_training_after_a_failed_one_is_told_anew(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        failing = built(tmp_path / "failing", 1)
        failing.register_hook(listening(after_train_epoch=lambda _: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            failing.train()
        train(tmp_path / "next", 1)
        assert [history.latest.status for history in histories(tmp_path)] == ["failed", "completed"]
