"""Lightning: what is its own; what it shares with other hosts is in test_promises, test_end_to_end, test_stop, …"""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import scripts
from tests.hosts.hosting import ENDS
from tests.integrations.test_stop import assert_stopped, cancelled_on_the_way
from tests.servers.platform import PlatformServer
from trainer_hooks import Autolog, autolog, current_run
from trainer_hooks.events import (
    CheckpointSaved,
    EpochEnded,
    MetricsLogged,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

pytest.importorskip("lightning", reason="Lightning has an environment of its own: make test-hosts")

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from tests.hosts import lightning as host

pytestmark = pytest.mark.framework


@pytest.fixture
def attached() -> Iterator[Callable[..., Autolog]]:
    handles: list[Autolog] = []

    def attach(**settings: Any) -> Autolog:
        handles.append(autolog("lightning", delivery="none", **settings))
        return handles[-1]

    yield attach
    for handle in handles:
        handle.detach()


def told(folder: Path, kind: type) -> list[Any]:
    """The events of that kind of the newest run."""
    newest = max(list_runs(folder / "trainer_runs"), key=lambda run: run.stat().st_ctime_ns)
    return [record.event for record in read_records(newest) if isinstance(record.event, kind)]


def test_every_value_is_the_one_that_the_hosts_own_logger_has(attached: Any, tmp_path: Path) -> None:
    attached(iteration_metrics=1)
    logger = CSVLogger(tmp_path, name="csv", version=0)
    host.train(tmp_path, 3, logger=logger, log_every_n_steps=1)
    with (tmp_path / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    theirs = {
        name: [float(row[name]) for row in rows if row[name]]
        for name in ("train_loss_epoch", "train_loss_step", "val_sure")
    }
    epochs = told(tmp_path, EpochEnded)
    iterations = told(tmp_path, MetricsLogged)
    assert [event.iteration for event in iterations] == list(range(1, 13))
    ours = {
        "train_loss_epoch": [event.metrics["train_loss_epoch"] for event in epochs],
        "train_loss_step": [event.metrics["train_loss_step"] for event in iterations],
        "val_sure": [event.metrics["val_sure"] for event in told(tmp_path, Validated)],
    }
    assert {name: pytest.approx(values, rel=1e-5) for name, values in ours.items()} == theirs


def test_a_validation_that_is_not_of_this_epoch_is_not_told_with_it(attached: Any, tmp_path: Path) -> None:
    attached()
    assert host.train(tmp_path, 3, check_val_every_n_epoch=2).error is None
    assert ["val_sure" in event.metrics for event in told(tmp_path, EpochEnded)] == [False, True, False]
    assert [event.epoch for event in told(tmp_path, Validated)] == [2]


def test_what_lies_within_an_epoch_is_told_with_what_is_finished(attached: Any, tmp_path: Path) -> None:
    attached()
    trainer = host.make_trainer(tmp_path, 2, val_check_interval=2)  # of four batches
    trainer.callbacks = [ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=2, save_top_k=-1)]
    trainer.fit(host.Classifier(), host.loader(shuffle=True), host.loader())
    points = [(0, 2), (1, None), (1, 6), (2, None)]
    assert [(event.epoch, event.iteration) for event in told(tmp_path, Validated)] == points
    assert [(event.epoch, event.iteration) for event in told(tmp_path, CheckpointSaved)] == points


def test_the_start_says_what_is_trained_and_how(attached: Any, tmp_path: Path) -> None:
    attached()
    host.train(tmp_path, 2, accumulate_grad_batches=2)
    (started,) = told(tmp_path, RunStarted)
    assert (started.framework, started.model, started.total_epochs) == ("lightning", "Classifier", 2)
    assert started.params["rate"] == 0.1
    assert started.params["trainer"]["accumulate_grad_batches"] == 2
    assert started.output_dir == str(tmp_path / "out")
    assert {"lightning", "torch", "python"} <= started.versions.keys()


def test_a_training_that_is_counted_in_steps_knows_its_epochs_once_it_knows_its_data(
    attached: Any, tmp_path: Path
) -> None:
    attached()
    host.train(tmp_path, -1, max_steps=6)  # four batches an epoch
    assert [event.total_epochs for event in told(tmp_path, RunStarted)] == [None, 2]
    assert [(event.epoch, event.total_epochs) for event in told(tmp_path, EpochEnded)] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("work", "operation"), [("validate", "validation"), ("test", "test"), ("predict", "inference")]
)
def test_work_by_itself_is_a_run(attached: Any, tmp_path: Path, work: str, operation: str) -> None:
    attached()
    trainer = host.make_trainer(tmp_path)
    getattr(trainer, work)(host.Classifier(), host.loader(), **({"verbose": False} if work != "predict" else {}))
    (started,) = told(tmp_path, RunStarted)
    assert started.operation == operation
    assert {name for event in told(tmp_path, Validated) for name in event.metrics} == (
        set() if work == "predict" else {f"{work[:3].replace('tes', 'test')}_sure"}
    )
    assert told(tmp_path, RunCompleted)


def test_a_test_within_a_training_belongs_to_that(attached: Any, tmp_path: Path) -> None:
    attached()
    trainer = host.make_trainer(tmp_path, 2)
    open_afterwards = []
    trainer.callbacks += [
        host.calls(lambda _: trainer.test(host.Classifier(), host.loader()), ["on_fit_end"]),
        host.calls(lambda _: open_afterwards.append(current_run() is not None), ["on_fit_end"]),
    ]
    trainer.fit(host.Classifier(), host.loader(shuffle=True), host.loader())
    (run,) = list_runs(tmp_path / "trainer_runs")
    assert open_afterwards == [True]
    assert len(told(tmp_path, RunStarted)) == len(told(tmp_path, RunCompleted)) == 1
    assert read_history(run).latest.state.epoch == 2


def test_a_failing_test_is_a_failed_run(attached: Any, tmp_path: Path) -> None:
    attached()

    def fail(_: Any) -> None:
        raise ValueError("no test today")

    trainer = host.make_trainer(tmp_path, callbacks=[host.calls(fail, ["on_test_batch_end"])])
    with pytest.raises(ValueError, match="no test today"):
        trainer.test(host.Classifier(), host.loader(), verbose=False)
    (failed,) = told(tmp_path, RunFailed)
    assert failed.message == "no test today"


def test_the_host_keeps_a_sigterm_for_a_good_place_to_stop(tmp_path: Path) -> None:
    done = scripts.ended_by(
        host,
        tmp_path,
        "terminate",
        arguments=["--autolog"],
        environment={"TRAINER_HOOKS_DIR": f"{tmp_path}/trainer_runs"},
    )
    # The host ends the epoch that it is in, and then itself, with this status.
    assert done.returncode == 0, done.stderr
    assert [event.reason for event in told(tmp_path, RunInterrupted)] == ["SIGTERM"]
    assert [event.epoch for event in told(tmp_path, EpochEnded)] in ([1], [])


class TestCheckpoints:
    def names(self, folder: Path) -> list[list[str]]:
        return [event.names for event in told(folder, CheckpointSaved)]

    def trained(self, folder: Path, **options: Any) -> None:
        """One epoch, with one checkpoint callback of these options."""
        keeps = ModelCheckpoint(dirpath=folder / "kept", **options)
        trainer = host.make_trainer(folder, 2)
        trainer.callbacks = [keeps]
        trainer.fit(host.Classifier(), host.loader(shuffle=True), host.loader())

    def test_by_default_the_newest_is_the_last_one(self, attached: Any, tmp_path: Path) -> None:
        attached()
        self.trained(tmp_path)
        assert self.names(tmp_path) == [["last"], ["last"]]

    def test_a_link_to_the_newest_is_no_file_of_its_own(self, attached: Any, tmp_path: Path) -> None:
        attached()
        self.trained(tmp_path, save_last="link", monitor="val_sure", mode="max")
        assert self.names(tmp_path) == [["last", "best"], ["last", "best"]]

    def test_of_several_best_ones_the_best_is_stored(self, attached: Any, tmp_path: Path) -> None:
        attached()
        self.trained(tmp_path, save_last=True, monitor="val_sure", mode="min", save_top_k=2)
        assert self.names(tmp_path) == [["best"], ["last"], ["last"]]

    def test_validations_know_whether_theirs_is_the_best(self, attached: Any, tmp_path: Path) -> None:
        attached()
        self.trained(tmp_path, monitor="val_sure", mode="min")
        assert [(event.is_best, event.primary) for event in told(tmp_path, Validated)] == [
            (True, "val_sure"),
            (False, "val_sure"),
        ]

    def test_files_that_are_written_in_the_background_are_told_when_they_are_whole(
        self, attached: Any, tmp_path: Path
    ) -> None:
        attached(storage=f"file://{tmp_path}/store")
        host.train(tmp_path, 2, plugins=[AsyncCheckpointIO()])
        saved = told(tmp_path, CheckpointSaved)
        assert sorted(name for event in saved for name in event.names) == ["best", "last"]
        (run,) = list_runs(tmp_path / "trainer_runs")
        for event in saved:
            host.load_checkpoint(run / event.staged)


class InFolders(TorchCheckpointIO):
    """Writes each checkpoint as a folder, as sharded ones are."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        super().save_checkpoint(checkpoint, Path(path) / "part-0.pt", storage_options)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> Any:
        return super().load_checkpoint(Path(path) / "part-0.pt", *arguments, **options)


class TestResume:
    def test_a_training_goes_on_from_the_runs_newest_checkpoint(self, attached: Any, tmp_path: Path) -> None:
        attached(run_id="r", storage=f"file://{tmp_path}/store", resume="auto")
        host.train(tmp_path, 4, at=["on_train_epoch_start"], epoch=3, do=ENDS["raise"])
        assert host.train(tmp_path, 4).error is None
        (run,) = list_runs(tmp_path / "trainer_runs")
        first, second = read_history(run).attempts
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2, 3, 4]
        assert (first.status, second.status, second.state.started.epoch) == ("failed", "completed", 2)

    def test_it_does_so_from_a_checkpoint_that_is_a_folder(self, attached: Any, tmp_path: Path) -> None:
        attached(run_id="r", storage=f"file://{tmp_path}/store", resume="auto")
        host.train(tmp_path, 4, at=["on_train_epoch_start"], epoch=3, do=ENDS["raise"], plugins=[InFolders()])
        assert {Path(event.staged).suffix for event in told(tmp_path, CheckpointSaved)} == {".tar"}
        assert host.train(tmp_path, 4, plugins=[InFolders()]).error is None
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2, 3, 4]

    def test_a_test_after_it_does_not_begin_with_that_checkpoint(self, attached: Any, tmp_path: Path) -> None:
        attached(run_id="r", storage=f"file://{tmp_path}/store", resume="auto")
        host.train(tmp_path, 1)
        trainer = host.make_trainer(tmp_path, 2)
        trainer.fit(host.Classifier(), host.loader(shuffle=True), host.loader())
        assert trainer.ckpt_path is None

    def test_what_the_user_resumes_from_is_told(self, attached: Any, tmp_path: Path) -> None:
        attached()
        host.train(tmp_path, 1)
        host.train(tmp_path, 2, ckpt_path=str(tmp_path / "out" / "last.ckpt"))
        *_, started = told(tmp_path, RunStarted)
        assert started.resumed_from == str(tmp_path / "out" / "last.ckpt")
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]  # the same run, its second attempt


class TestRanks:
    def run(self, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        where = {"TRAINER_HOOKS_DIR": f"{folder}/trainer_runs", **environment}
        two = ["--autolog", "--devices", "2", "--strategy", "ddp"]
        return scripts.run(host, folder, *two, *arguments, epochs=2, **where)

    def test_two_ranks_are_one_run_with_one_voice(self, tmp_path: Path) -> None:
        done = self.run(tmp_path)
        assert done.returncode == 0, done.stderr
        (run,) = list_runs(tmp_path / "trainer_runs")
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        assert read_history(run).latest.status == "completed"
        assert told(tmp_path, RunStarted)[0].params["trainer"]["world_size"] == 2

    def test_the_failure_of_a_rank_is_told_with_its_own_traceback(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "--do", "raise in rank 1", "--at", "on_train_epoch_start", "--epoch", "2")
        assert done.returncode != 0
        (failed,) = told(tmp_path, RankFailed)
        assert (failed.rank, failed.message) == (1, "the user's own error")

    def test_both_go_on_from_the_same_checkpoint(self, tmp_path: Path) -> None:
        named = {"TRAINER_HOOKS_RUN_ID": "r", "TRAINER_HOOKS_RESUME": "auto"}
        failing = ["--do", "raise in rank 1", "--at", "on_train_epoch_start", "--epoch", "2"]
        assert self.run(tmp_path, *failing, **named).returncode != 0
        done = self.run(tmp_path, **named)
        assert done.returncode == 0, done.stderr
        assert "is at work in another process" not in done.stderr
        (run,) = list_runs(tmp_path / "trainer_runs")
        first, second = read_history(run).attempts
        assert (first.status, second.status, second.state.epoch) == ("failed", "completed", 2)
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_where_processes_are_spawned_the_start_and_the_end_are_told(self, tmp_path: Path) -> None:
        where = {"TRAINER_HOOKS_DIR": f"{tmp_path}/trainer_runs"}
        spawned = ["--autolog", "--devices", "2", "--strategy", "ddp_spawn"]
        done = scripts.run(host, tmp_path, *spawned, epochs=1, **where)
        assert done.returncode == 0, done.stderr
        (completed,) = told(tmp_path, RunCompleted)
        assert "val_sure" in completed.metrics

    def test_both_stop_where_the_platform_wants_it(self, tmp_path: Path, own_environment: Path) -> None:
        with PlatformServer(jobs=("7",)) as server:
            done = cancelled_on_the_way(server, own_environment, host, tmp_path, "--devices", "2", "--strategy", "ddp")
        assert_stopped(own_environment, done)


def test_the_other_package_is_told_by_its_own_name(tmp_path: Path) -> None:
    text = """
        import trainer_hooks, torch
        trainer_hooks.autolog("pytorch_lightning", delivery="none")
        import pytorch_lightning as pl
        class Model(pl.LightningModule):
            def __init__(self):
                super().__init__(); self.part = torch.nn.Linear(2, 1)
            def training_step(self, batch, _):
                loss = self.part(batch).mean(); self.log("loss", loss, on_epoch=True, on_step=False); return loss
            def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)
        data = torch.utils.data.DataLoader(torch.rand(8, 2), batch_size=4)
        pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False).fit(Model(), data)
    """
    script = tmp_path / "script.py"
    script.write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (started,) = told(tmp_path, RunStarted)
    assert (started.framework, started.model) == ("pytorch_lightning", "Model")
    assert [sorted(event.metrics) for event in told(tmp_path, EpochEnded)] == [["loss", "lr/pg0"]] * 2


def test_a_script_that_imports_the_other_package_is_warned(attached: Any, caplog: pytest.LogCaptureFixture) -> None:
    importlib.import_module("pytorch_lightning")
    attached()
    assert any('autolog("pytorch_lightning")' in record.message for record in caplog.records)
