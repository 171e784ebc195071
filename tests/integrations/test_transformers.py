"""What Hugging Face's Trainer does, and what of it is told: real trainings of a tiny BERT, read from their journals."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    EarlyStoppingCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
)

import trainer_hooks
from tests.hosts import scripts
from tests.hosts import transformers as host
from tests.servers.platform import PlatformServer
from trainer_hooks.errors import CannotResume
from trainer_hooks.events import (
    TERMINAL,
    CheckpointSaved,
    CheckpointStored,
    EpochEnded,
    Logged,
    MetricsLogged,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    Validated,
)
from trainer_hooks.history import RunHistory, list_runs, read_history
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.stopping import ask_to_stop

pytestmark = pytest.mark.framework

Autolog = Callable[..., Any]
BY_STEPS = {
    "logging_strategy": "steps",
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "save_strategy": "steps",
    "save_steps": 3,
}


@pytest.fixture
def autolog() -> Iterator[Autolog]:
    """`autolog("transformers")`, undone at the end; nobody delivers."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            trainer_hooks.autolog("transformers", **{"delivery": "none", **settings})
        )


def train(folder: Path, epochs: int = 2, *callbacks: TrainerCallback, **more: Any) -> Trainer:
    trainer = host.built(folder, epochs, **more)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def histories(folder: Path) -> list[RunHistory]:
    """All runs, the oldest first."""
    found = [read_history(run) for run in list_runs(folder / "trainer_runs")]
    return sorted(found, key=lambda history: history.attempts[0].began)


def told(folder: Path, *kinds: type) -> list[Any]:
    """What the only run told, in order."""
    (run,) = list_runs(folder / "trainer_runs")
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


def logged(trainer: Trainer, name: str) -> list[dict[str, Any]]:
    """What the host has logged with this metric among it, without the point in time."""
    entries = [entry for entry in trainer.state.log_history if name in entry]
    return [{key: value for key, value in entry.items() if key not in ("epoch", "step")} for entry in entries]


def calls(do: Callable[..., Any], *at: str) -> TrainerCallback:
    """A callback of the user's that calls `do` with the host's state, its control and whatever else at these events."""

    def call(_: TrainerCallback, __: Any, state: Any, control: Any, **more: Any) -> None:
        do(state, control, **more)

    return type("Calls", (TrainerCallback,), dict.fromkeys(at, call))()


class TestWhatIsTold:
    def test_the_start_has_the_arguments_the_data_and_the_classes(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 3, hub_token="s3cr3t-t0ken")
        (started,) = told(tmp_path, RunStarted)
        assert (started.operation, started.framework) == ("training", "transformers")
        assert (started.model, started.class_names) == ("BertForSequenceClassification", ["left", "right"])
        assert (started.total_epochs, started.total_iterations) == (3, None)
        assert started.params["learning_rate"] == 0.01
        assert started.params["metric_for_best_model"] == "sure"
        assert "s3cr3t" not in str(started)
        assert started.dataset == {"type": "Sentences", "size": 16, "eval": {"type": "Sentences", "size": 8}}
        assert started.output_dir == str(tmp_path / "out")
        assert started.versions.keys() >= {"python", "transformers", "torch", "accelerate"}

    def test_a_trainer_that_exists_already_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        trainer = host.built(tmp_path)
        autolog()
        trainer.train()
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_epochs_and_evaluations_have_the_values_that_the_host_has_logged(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()
        trainer = train(tmp_path, 3)
        assert [event.metrics for event in told(tmp_path, EpochEnded)] == logged(trainer, "loss")
        assert [event.metrics for event in told(tmp_path, Validated)] == logged(trainer, "eval_loss")
        assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2, 3]
        (completed,) = told(tmp_path, RunCompleted)
        whole = {
            **logged(trainer, "loss")[-1],
            **logged(trainer, "eval_loss")[-1],
            **logged(trainer, "train_runtime")[0],
        }
        del whole["total_flos"]  # which the host's own printer takes out
        assert completed.metrics == whole

    def test_an_epoch_of_several_logs_has_the_newest_of_them(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        trainer = train(tmp_path, 2, logging_strategy="steps", logging_steps=3)  # of four in an epoch
        assert [event.metrics for event in told(tmp_path, EpochEnded)] == logged(trainer, "loss")
        assert told(tmp_path, MetricsLogged)[:-1] == []

    def test_an_epoch_in_which_nothing_is_logged_has_no_metrics(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 2, logging_strategy="no")
        assert [(event.epoch, event.metrics) for event in told(tmp_path, EpochEnded)] == [(1, {}), (2, {})]

    @pytest.mark.parametrize(("every", "steps"), [(1, [2, 4, 6, 8]), (4, [4, 8]), (3, [4, 6])])
    def test_with_iteration_metrics_logs_are_told_with_their_iteration(
        self, autolog: Autolog, tmp_path: Path, every: int, steps: list[int]
    ) -> None:
        autolog(iteration_metrics=every)
        trainer = train(tmp_path, 2, logging_strategy="steps", logging_steps=2)
        of_steps = [event for event in told(tmp_path, MetricsLogged) if event.iteration is not None]
        assert [event.iteration for event in of_steps] == steps
        by_step = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
        assert [event.metrics["loss"] for event in of_steps] == [by_step[step] for step in steps]

    def test_what_the_user_logs_is_told_with_the_epoch(self, autolog: Autolog, tmp_path: Path) -> None:
        class Logging(Trainer):
            def log(self, logs: dict[str, float], *more: Any) -> None:
                super().log({**logs, "mine": 0.5} if "loss" in logs else logs, *more)

        autolog()
        train(tmp_path, 2, kind=Logging)
        assert [event.metrics["mine"] for event in told(tmp_path, EpochEnded)] == [0.5, 0.5]

    def test_the_best_is_what_the_host_takes_for_it(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        best = []
        noting = calls(lambda state, *_, **__: best.append(state.best_metric), "on_save")
        train(tmp_path, 4, noting, metric_for_best_model="loss", greater_is_better=False, learning_rate=0.5)
        found = told(tmp_path, Validated)
        assert {event.primary for event in found} == {"eval_loss"}
        expected = [metric != before for before, metric in zip([None, *best], best, strict=False)]
        assert [event.is_best for event in found] == expected
        assert set(expected) == {True, False}
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.best_epoch == max(event.epoch for event in found if event.is_best)

    def test_without_a_metric_to_choose_by_nothing_is_the_best(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 2, metric_for_best_model=None)
        assert [(event.primary, event.is_best) for event in told(tmp_path, Validated)] == [(None, False)] * 2
        assert [event.names for event in told(tmp_path, CheckpointSaved)] == [["last"]] * 2

    def test_an_evaluation_before_the_first_epoch_is_not_the_best(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 1, eval_on_start=True)
        assert [(event.epoch, event.is_best) for event in told(tmp_path, Validated)] == [(0, False), (1, True)]

    def test_several_evaluation_sets_are_told_by_their_names(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        sets = {"near": host.Sentences(8), "far": host.Sentences(4)}
        train(tmp_path, 1, parts={"eval_dataset": sets}, metric_for_best_model="far_sure")
        near, far = told(tmp_path, Validated)
        assert near.metrics.keys() >= {"eval_near_loss", "eval_near_sure"}
        assert (near.primary, near.is_best) == (None, False)
        assert (far.primary, far.is_best, far.epoch) == ("eval_far_sure", True, 1)

    def test_gradient_accumulation_counts_steps_of_the_optimizer(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(iteration_metrics=1)
        train(tmp_path, 2, gradient_accumulation_steps=3)  # four batches: three, and one
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        assert [event.iteration for event in told(tmp_path, MetricsLogged)] == [2, 4, None]

    def test_half_an_epoch_at_the_end_that_was_wanted_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 1.5)
        assert [(event.epoch, event.total_epochs) for event in told(tmp_path, EpochEnded)] == [(1, 2), (2, 2)]

    def test_an_epoch_that_the_user_cuts_short_is_told_and_the_next_is_the_next(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        def cut(state: Any, control: Any, **_: Any) -> None:
            control.should_epoch_stop = state.global_step == 2

        autolog()
        train(tmp_path, 2, calls(cut, "on_step_end"))
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]

    def test_early_stopping_is_a_completion(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        patient = EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=10.0)
        train(tmp_path, 9, patient, load_best_model_at_end=True)
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.epochs == len(told(tmp_path, EpochEnded)) < 9

    def test_what_the_host_logs_by_pythons_logging_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(log_level="INFO")
        try:
            train(tmp_path, 1, log_level="info")
        finally:
            transformers.logging.set_verbosity_warning()  # of the whole process
        assert any("Running training" in event.message for event in told(tmp_path, Logged))

    @pytest.mark.parametrize("kind", [Seq2SeqTrainer, type("Own", (Trainer,), {})])
    def test_subclasses_are_told(self, autolog: Autolog, tmp_path: Path, kind: type[Trainer]) -> None:
        autolog()
        arguments = host.arguments(tmp_path).to_dict() | {"hub_token": None}
        args = Seq2SeqTrainingArguments(**arguments)
        trainer = kind(host.model(), args, train_dataset=host.Sentences(), eval_dataset=host.Sentences(8))
        trainer.args.metric_for_best_model = "loss"
        trainer.train()
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2]


class TestIterations:
    def test_a_training_of_so_many_steps_is_told_in_iterations(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        trainer = train(tmp_path, max_steps=7, **BY_STEPS)
        (started,) = told(tmp_path, RunStarted)
        assert (started.total_epochs, started.total_iterations) == (None, 7)
        assert told(tmp_path, EpochEnded) == []
        of_steps = [event for event in told(tmp_path, MetricsLogged) if event.iteration is not None]
        assert [event.iteration for event in of_steps] == [2, 4, 6]
        assert [event.metrics for event in of_steps] == logged(trainer, "loss")
        assert [(event.epoch, event.iteration) for event in told(tmp_path, Validated)] == [
            (None, 3),
            (None, 6),
            (None, 7),
        ]
        assert [event.iteration for event in told(tmp_path, CheckpointSaved)] == [3, 6, 7]
        (completed,) = told(tmp_path, RunCompleted)
        assert (completed.epochs, completed.iterations) == (0, 7)
        assert completed.best_iteration in (3, 6, 7)

    def test_a_stream_without_a_length(self, autolog: Autolog, tmp_path: Path) -> None:
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self) -> Iterator[Any]:
                yield from (host.Sentences()[place] for place in range(host.SENTENCES))

        autolog()
        train(tmp_path, max_steps=6, parts={"train_dataset": Stream()}, **BY_STEPS)
        (started,) = told(tmp_path, RunStarted)
        assert started.dataset["type"] == "Stream"
        assert "size" not in started.dataset
        assert [event.iteration for event in told(tmp_path, MetricsLogged)] == [2, 4, 6, None]

    def test_what_lies_within_an_epoch_is_told_with_both(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        train(tmp_path, 2, **BY_STEPS)
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        found = [(event.epoch, event.iteration) for event in told(tmp_path, Validated)]
        assert found == [(0, 3), (1, 6), (2, 8)]
        assert [(event.epoch, event.iteration) for event in told(tmp_path, CheckpointSaved)] == found


class TestOtherWorks:
    @pytest.mark.parametrize(
        ("work", "operation", "prefix"),
        [
            (lambda trainer: trainer.evaluate(), "validation", "eval"),
            (lambda trainer: trainer.predict(host.Sentences(4)), "test", "test"),
            (lambda trainer: trainer.evaluate(host.Sentences(4), metric_key_prefix="mine"), "validation", "mine"),
        ],
    )
    def test_an_evaluation_or_prediction_alone_is_told_as_that(
        self, autolog: Autolog, tmp_path: Path, work: Callable[[Trainer], Any], operation: str, prefix: str
    ) -> None:
        autolog()
        found = work(host.built(tmp_path))
        metrics = found if isinstance(found, dict) else found.metrics
        (started,) = told(tmp_path, RunStarted)
        assert (started.operation, started.total_epochs) == (operation, None)
        assert started.dataset["type"] == "Sentences"
        (event,) = told(tmp_path, Validated)
        assert event.metrics == {name: value for name, value in metrics.items() if name != "epoch"}
        assert f"{prefix}_loss" in event.metrics
        assert (event.class_names, event.is_best) == (["left", "right"], False)
        (completed,) = told(tmp_path, RunCompleted)
        assert completed.metrics == event.metrics

    def test_after_the_training_they_are_runs_beside_it(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(job_id="7", callback_url="http://127.0.0.1:9/api/v1")
        trainer = train(tmp_path, 1)
        trainer.evaluate()
        training, validation = histories(tmp_path)
        assert (training.run, validation.run) == ("7", "7-2")
        assert [history.latest.status for history in (training, validation)] == ["completed", "completed"]
        (event,) = [r.event for r in read_records(validation.directory) if isinstance(r.event, Validated)]
        assert event.epoch == 1

    def test_of_a_best_model_that_was_loaded_it_is_said_of_which_step_it_is(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        autolog()
        best = {"metric_for_best_model": "runtime", "greater_is_better": False, "load_best_model_at_end": True}
        trainer = train(tmp_path, 2, **best)
        trainer.evaluate()
        _, validation = histories(tmp_path)
        (event,) = [r.event for r in read_records(validation.directory) if isinstance(r.event, Validated)]
        assert event.iteration == trainer.state.best_global_step

    def test_within_the_training_they_belong_to_it(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        trainer = host.built(tmp_path, 1)
        trainer.add_callback(calls(lambda *_, **__: trainer.predict(host.Sentences(4)), "on_train_end"))
        trainer.train()
        assert len(told(tmp_path, RunCompleted)) == 1
        assert ["test_loss" in event.metrics for event in told(tmp_path, Validated)] == [False, True]

    def test_one_that_fails_within_the_training_fails_it(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        with pytest.raises(OSError, match="sample 1"):
            train(tmp_path, 1, parts={"eval_dataset": host.Sentences(4, broken=1)})
        assert len(told(tmp_path, *TERMINAL)) == 1
        (failed,) = told(tmp_path, RunFailed)
        assert (failed.error, failed.epoch, failed.iteration) == ("DatasetError", 1, 4)


class TestCheckpoints:
    def test_folders_that_the_host_deletes_are_told_when_they_are_there(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        there = []
        train(tmp_path, 3, calls(lambda *_, **__: there.append(len(told(tmp_path, CheckpointSaved))), "on_save"))
        assert there == [1, 2, 3]  # before the next one deletes the last
        saved = told(tmp_path, CheckpointSaved)
        assert [Path(event.path).name for event in saved] == ["checkpoint-4", "checkpoint-8", "checkpoint-12"]
        assert len(list((tmp_path / "out").glob("checkpoint-*"))) < 3
        for event in saved:
            assert event.metrics.keys() >= {"loss", "eval_sure"}

    def test_the_best_is_named_by_the_host(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        best = {"metric_for_best_model": "loss", "greater_is_better": False, "learning_rate": 0.5}
        trainer = train(tmp_path, 4, **best)
        named = [event for event in told(tmp_path, CheckpointSaved) if "best" in event.names]
        assert 0 < len(named) < 4
        assert named[-1].path == trainer.state.best_model_checkpoint


class TestNothingOfOurs:
    def test_is_among_what_the_host_keeps(self, autolog: Autolog, tmp_path: Path) -> None:
        def kept(folder: Path) -> tuple[list[str], dict[str, Any]]:
            trainer = train(folder)
            state = json.loads((folder / "out" / "checkpoint-8" / "trainer_state.json").read_text())
            for entry in state["log_history"]:
                for name in [name for name in entry if name.endswith(("_runtime", "_per_second"))]:
                    del entry[name]
            # The folder's name is in it.
            return [type(one).__name__ for one in trainer.callback_handler.callbacks], json.loads(
                json.dumps(state).replace(str(folder), "FOLDER")
            )

        without = kept(tmp_path / "without")
        autolog()
        assert kept(tmp_path / "with") == without

    def test_keeps_a_trainer_alive(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        trainer = weakref.ref(train(tmp_path, 1))
        gc.collect()
        assert trainer() is None


class TestEnds:
    def test_ctrl_c_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        done = scripts.ended_by(host, tmp_path, "interrupt", arguments=["--autolog"])
        assert done.returncode == -signal.SIGINT
        (interrupted,) = told(tmp_path, *TERMINAL)
        assert isinstance(interrupted, RunInterrupted)
        assert interrupted.reason == "KeyboardInterrupt"

    def test_sigterm(self, tmp_path: Path) -> None:
        done = scripts.ended_by(host, tmp_path, "terminate", epoch=2, arguments=["--autolog"])
        assert done.returncode == -signal.SIGTERM
        (interrupted,) = told(tmp_path, *TERMINAL)
        assert isinstance(interrupted, RunInterrupted)
        assert (interrupted.reason, interrupted.epoch) == ("SIGTERM", 2)

    def test_under_run_a_script_is_told_without_a_change(self, tmp_path: Path) -> None:
        under = [sys.executable, "-m", "trainer_hooks.cli", "run", "--"]
        done = scripts.run(host, tmp_path, epochs=1, under=under)
        assert done.returncode == 0, done.stderr
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1]
        assert len(told(tmp_path, RunCompleted)) == 1

    def test_an_epoch_that_has_ended_before_a_failure_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ValueError("the user's own")

        autolog()
        with pytest.raises(ValueError, match="the user's own"):
            train(tmp_path, 2, calls(fail, "on_epoch_end"))
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1]
        (failed,) = told(tmp_path, RunFailed)
        assert (failed.epoch, failed.iteration) == (1, 4)

    def test_the_training_after_a_failed_one_is_told_anew(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        failing = host.built(tmp_path, 1, parts={"train_dataset": host.Sentences(broken=3)})
        with pytest.raises(OSError, match="sample 3"):
            failing.train()
        failing.train_dataset = host.Sentences()
        failing.train()
        assert [history.latest.status for history in histories(tmp_path)] == ["failed", "completed"]


class TestStops:
    REASON = "the platform says that the job is 'cancelled'"

    def test_a_cancelled_training_stops_at_the_end_of_the_epoch(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(run_id="run")
        ask = calls(lambda *_, **__: ask_to_stop(tmp_path / "trainer_runs" / "run", 1, self.REASON), "on_step_end")
        train(tmp_path, 9, ask)
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1]
        assert [event.epoch for event in told(tmp_path, CheckpointSaved)] == [1]
        (interrupted,) = told(tmp_path, *TERMINAL)
        assert isinstance(interrupted, RunInterrupted)
        assert (interrupted.reason, interrupted.epoch) == (self.REASON, 1)

    def test_or_where_the_host_logs(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(run_id="run")
        ask = calls(lambda *_, **__: ask_to_stop(tmp_path / "trainer_runs" / "run", 1, self.REASON), "on_step_begin")
        trainer = train(tmp_path, 9, ask, **BY_STEPS)
        assert trainer.state.global_step == 2
        assert told(tmp_path, EpochEnded) == []  # it is broken off
        (interrupted,) = told(tmp_path, *TERMINAL)
        assert (interrupted.reason, interrupted.epoch, interrupted.iteration) == (self.REASON, 0, None)


class TestResume:
    def test_by_the_users_word_it_is_the_next_attempt(self, tmp_path: Path) -> None:
        done = script(
            tmp_path,
            """
            import trainer_hooks; trainer_hooks.autolog("transformers", delivery="none")
            from pathlib import Path
            from tests.hosts import transformers as host
            host.built(Path("."), 2).train()
            host.built(Path("."), 4).train(resume_from_checkpoint=True)
            """,
        )
        assert done.returncode == 0, done.stderr
        (run,) = list_runs(tmp_path / "trainer_runs")
        assert [attempt.status for attempt in read_history(run).attempts] == ["completed", "completed"]
        (started,) = [r.event for r in read_records(run) if r.attempt == 2 and isinstance(r.event, RunStarted)]
        assert started.resumed_from.endswith("checkpoint-8")
        assert (started.epoch, started.total_epochs) == (2, 4)
        epochs = [(r.attempt, r.event.epoch) for r in read_records(run) if isinstance(r.event, EpochEnded)]
        assert epochs == [(1, 1), (1, 2), (2, 3), (2, 4)]

    def test_with_nothing_to_resume_the_hosts_own_error_is_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog()
        with pytest.raises(ValueError, match="No valid checkpoint"):
            host.built(tmp_path).train(resume_from_checkpoint=True)
        (failed,) = told(tmp_path, RunFailed)
        assert failed.exception == "ValueError"

    @pytest.mark.parametrize("how", ["train()", "train(None)", "train(resume_from_checkpoint=False)"])
    def test_from_an_empty_disk_it_ends_with_the_weights_of_a_training_that_was_never_stopped(
        self, tmp_path: Path, how: str
    ) -> None:
        text = f"""
            import sys, trainer_hooks
            from pathlib import Path
            from tests.hosts import transformers as host
            if sys.argv[1:] != ["alone"]:
                trainer_hooks.autolog("transformers", resume="auto", run_id="run", flush_timeout=60)
            trainer = host.built(Path("."), 4)
            if sys.argv[1:] == ["fail"]:
                trainer.add_callback(host.calling(lambda _: 1 / 0, ["on_step_end"], 3))
            trainer.{how}
            print("weights", host.digest(trainer.model))
        """
        store = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
        folders = {name: tmp_path / name for name in ("alone", "fail", "again")}
        for folder in folders.values():
            folder.mkdir()
        done = {name: script(folder, text, name, **store) for name, folder in folders.items()}
        assert [one.returncode for one in done.values()] == [0, 1, 0], done["again"].stderr
        assert done["again"].stdout.splitlines()[-1] == done["alone"].stdout.splitlines()[-1]
        run = folders["again"] / "trainer_runs" / "run"
        assert [event.epoch for event in read_all(run, EpochEnded)] == [3, 4]
        (started,) = read_all(run, RunStarted)
        assert (started.epoch, started.iteration) == (2, None)
        assert Path(started.resumed_from).parent == run / "restored"
        assert read_history(run).latest.number == 2
        # The best so far was put back where the host has noted it: the same place, in the new folder.
        assert "does not exist anymore" not in done["again"].stderr

    def test_the_best_is_put_back_where_the_host_looks_for_it(self, tmp_path: Path) -> None:
        text = """
            import sys, trainer_hooks
            from pathlib import Path
            from tests.hosts import transformers as host
            trainer_hooks.autolog("transformers", resume="auto", run_id="run", flush_timeout=60)
            best = dict(metric_for_best_model="runtime", greater_is_better=True, load_best_model_at_end=True)
            def measure(found):
                measure.calls += 1
                return {"place": measure.calls}
            measure.calls = int(sys.argv[1])
            best = dict(metric_for_best_model="place", greater_is_better=False, load_best_model_at_end=True)
            trainer = host.built(Path("."), 3, parts={"compute_metrics": measure}, **best)
            if sys.argv[1] == "0":
                trainer.add_callback(host.calling(lambda _: 1 / 0, ["on_step_end"], 3))
            trainer.train()
            print(trainer.state.best_model_checkpoint)
        """
        store = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store"}
        assert script(tmp_path, text, "0", **store).returncode == 1
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "trainer_runs")
        done = script(tmp_path, text, "2", **store)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].endswith("checkpoint-4")
        host.load_checkpoint(tmp_path / "out" / "checkpoint-4")

    def test_in_the_midst_of_an_epoch_both_are_told(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(run_id="run", resume="auto")
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, 3, calls(lambda state, *_, **__: 1 / (state.global_step - 7), "on_step_end"), **BY_STEPS)
        train(tmp_path, 3, **BY_STEPS)
        run = tmp_path / "trainer_runs" / "run"
        _, started = read_all(run, RunStarted)
        assert (started.epoch, started.iteration) == (1, 6)
        assert [event.epoch for event in read_all(run, EpochEnded)] == [1, 2, 3]

    def test_a_checkpoint_of_the_users_own_goes_before(self, autolog: Autolog, tmp_path: Path) -> None:
        autolog(run_id="run", resume="auto")
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, 3, calls(lambda state, *_, **__: 1 / (state.global_step - 9), "on_step_end"))
        mine = tmp_path / "mine"
        shutil.copytree(tmp_path / "out" / "checkpoint-8", mine)
        host.built(tmp_path, 3).train(str(mine))
        _, started = read_all(tmp_path / "trainer_runs" / "run", RunStarted)
        assert started.resumed_from == str(mine)

    def test_where_the_checkpoint_cannot_be_had_the_training_does_not_begin_anew(
        self, autolog: Autolog, tmp_path: Path
    ) -> None:
        nobody = {"storage": "s3://bucket", "storage_endpoint": "http://127.0.0.1:9"}
        autolog(run_id="run", resume="auto", storage_access_key="key", storage_secret_key="secret", **nobody)
        with pytest.raises(CannotResume, match="TRAINER_HOOKS_RESUME=never"):
            host.built(tmp_path).train()
        (failed,) = told(tmp_path, *TERMINAL)
        assert failed.exception == "trainer_hooks.errors.CannotResume"
        assert not (tmp_path / "out" / "checkpoint-4").exists()


class TestRanks:
    pytestmark = pytest.mark.timeout(200)

    def test_two_ranks_are_one_run_with_one_voice_and_their_checkpoint_is_of_both(
        self, tmp_path: Path, own_environment: Path
    ) -> None:
        storage = {"TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store", "TRAINER_HOOKS_RUN_ID": "run"}
        done = torchrun(tmp_path, "--autolog", TRAINER_HOOKS_FLUSH_TIMEOUT="60", **storage)
        assert done.returncode == 0, done.stderr
        assert [event.epoch for event in told(tmp_path, EpochEnded)] == [1, 2]
        assert [event.epoch for event in told(tmp_path, Validated)] == [1, 2]
        assert len(told(tmp_path, RunStarted)) == len(told(tmp_path, *TERMINAL)) == 1
        assert {event.name for event in told(tmp_path, CheckpointStored)} == {"last", "best"}
        (run,) = list_runs(own_environment)
        assert {header.writer for header in read_headers(run).values()} == {"training", "courier"}
        with tarfile.open(tmp_path / "store" / "checkpoints" / "run" / "last.tar") as archive:
            assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(archive.getnames())

    def test_a_rank_that_fails_is_told_with_its_rank_and_traceback(self, tmp_path: Path) -> None:
        done = torchrun(tmp_path, "--autolog", "--do", "raise in rank 1", "--at", "on_epoch_begin", "--epoch", "2")
        assert done.returncode == 1
        assert 1 in {event.rank for event in told(tmp_path, RankFailed)}
        (failed,) = told(tmp_path, *TERMINAL)
        assert (failed.rank, failed.message, failed.epoch) == (1, "the user's own error", 1)
        assert "_fail_in_rank_1" in failed.traceback

    @pytest.mark.long
    def test_the_launch_is_the_same_without_us(self, tmp_path: Path) -> None:
        done = [torchrun(tmp_path / "with", "--autolog"), torchrun(tmp_path / "alone")]
        assert [one.returncode for one in done] == [0, 0]
        with_us, alone = ({line for line in one.stdout.splitlines() if "weights " in line} for one in done)
        assert with_us == alone
        assert alone

    @pytest.mark.long
    def test_the_ranks_of_a_cancelled_job_leave_their_loops_together(self, tmp_path: Path) -> None:
        with PlatformServer(jobs=("7",)) as server:
            environment = {"CALLBACK_URL": server.url, "JOB_ID": "7", "TRAINER_HOOKS_FLUSH_TIMEOUT": "60"}
            with launched(tmp_path, 1000, "--autolog", **environment) as process:
                server.wait_for(lambda server: server.job("7").validations, timeout=100)
                server.job_status = "cancelled"
                out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        assert out.count("weights ") == 2  # each rank has come to its own end
        (ended,) = told(tmp_path, *TERMINAL)
        assert isinstance(ended, RunInterrupted)
        assert ended.epoch == [event.epoch for event in told(tmp_path, EpochEnded)][-1] < 1000

    @pytest.mark.long
    def test_the_ranks_of_a_launch_resume_together(self, tmp_path: Path, own_environment: Path) -> None:
        environment = {
            "TRAINER_HOOKS_STORAGE": f"file://{tmp_path}/store",
            "TRAINER_HOOKS_RESUME": "auto",
            "JOB_ID": "7",
        }
        failing = ["--do", "raise in rank 1", "--at", "on_epoch_begin", "--epoch", "2"]
        assert torchrun(tmp_path, "--autolog", *failing, **environment).returncode == 1
        done = torchrun(tmp_path, "--autolog", **environment)
        assert done.returncode == 0, done.stderr
        history = read_history(own_environment / "7")
        assert [attempt.status for attempt in history.attempts] == ["failed", "completed"]
        second = [r.event for r in read_records(own_environment / "7") if r.attempt == 2]
        assert [event.epoch for event in second if isinstance(event, EpochEnded)] == [2]


def read_all(run: Path, kind: type) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def script(folder: Path, text: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of the user's, with the test host at hand, in a process of its own and a folder of its own."""
    path = folder / "train.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(scripts.ROOT)!r})\n{textwrap.dedent(text)}")
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env={**os.environ, "TRAINER_HOOKS_DIR": str(folder / "trainer_runs"), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def torchrun(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with launched(folder, 2, *arguments, **environment) as process:
        out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def launched(folder: Path, epochs: int, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Two ranks, while they run."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    process = subprocess.Popen(
        [*command, "-m", "tests.hosts.transformers", str(folder), str(epochs), *arguments],
        cwd=scripts.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()  # torchrun stops its ranks
