"""The run and its reporter, as a hand-written loop uses them: real runs, read back from their journals."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hosts.scripts import ROOT
from tests.waiting import wait_until
from trainer_hooks import current_run, start_run
from trainer_hooks.autologging import Autolog
from trainer_hooks.delivery import load_courier
from trainer_hooks.errors import InvalidSetting, SetupError
from trainer_hooks.events import (
    CheckpointSaved,
    EpochEnded,
    ExportCompleted,
    InferenceCompleted,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    RankFailed,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunStarted,
    SegmentOpened,
    Validated,
)
from trainer_hooks.journal import read_records
from trainer_hooks.run import Run, join_run, load_settings, open_run
from trainer_hooks.settings import Settings
from trainer_hooks.stopping import ask_to_stop

TOKEN = "supersecretvalue1"


@pytest.fixture(autouse=True)
def nobody_delivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    yield
    while (run := current_run()) is not None:
        run.interrupt("the test is over")


def told(run: Run | Path) -> list[Any]:
    directory = run if isinstance(run, Path) else run.directory
    return [record.event for record in read_records(directory) if not isinstance(record.event, SegmentOpened)]


@pytest.fixture
def hosts_alarm() -> Iterator[list[int]]:
    """A handler of the host's that raises; the signals that it had."""
    had: list[int] = []

    def handler(number: int, _: Any) -> None:
        had.append(number)
        raise RuntimeError("of the handler")

    found = signal.signal(signal.SIGALRM, handler)
    yield had
    signal.signal(signal.SIGALRM, found)


def only(run: Run | Path, kind: type[Any]) -> Any:
    (event,) = (event for event in told(run) if isinstance(event, kind))
    return event


def in_a_process(script: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def in_a_forked_child(work: Callable[[], None]) -> int:
    """The child's exit status: 0 if the work has come to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


_WITH_A_CHILD = """
import multiprocessing, sys
from trainer_hooks import current_run, start_run

def work():
    sys.exit(current_run() is not None)

if __name__ == "__main__":
    with start_run(run_id="with-a-child"):
        child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
        child.start()
        child.join()
    sys.exit(child.exitcode)
"""


class Mute:
    """An object that can be asked nothing."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        raise RuntimeError("no")


class TestTelling:
    def test_a_whole_training_is_told_in_order(self, tmp_path):
        weights = tmp_path / "last.pt"
        weights.write_bytes(b"x" * 10)
        with start_run(
            run_id="r", framework="mine", task="detect", model="net", total_epochs=2, params={"lr": 0.1}
        ) as run:
            run.log_metrics({"loss": 0.7}, iteration=5)
            run.log_metrics({"loss": 0.5}, epoch=1, duration=2.0)
            run.log_validation({"mAP": 0.4}, epoch=1, primary="mAP", is_best=True)
            run.log_checkpoint(weights, names=["last", "best"], epoch=1, metrics={"mAP": 0.4})
            run.progress(1, 2)
            run.log("half way", "warning", step=3)
            run.log_metrics({"loss": 0.4}, epoch=2)
        kinds = [RunStarted, MetricsLogged, EpochEnded, Validated, CheckpointSaved, ProgressMade, Logged, EpochEnded]
        assert [type(event) for event in told(run)] == [*kinds, RunCompleted]
        first = only(run, RunStarted)
        assert (first.framework, first.task, first.model, first.total_epochs) == ("mine", "detect", "net", 2)
        assert first.params == {"lr": 0.1}
        epoch = told(run)[2]
        assert (epoch.epoch, epoch.total_epochs, epoch.duration, epoch.time_left) == (1, 2, 2.0, 2.0)
        saved = only(run, CheckpointSaved)
        assert (saved.names, saved.path, saved.size, saved.epoch) == (["last", "best"], str(weights), 10, 1)
        log = only(run, Logged)
        assert (log.level, log.message, log.data) == ("WARNING", "half way", {"step": 3})
        end = only(run, RunCompleted)
        assert (end.epochs, end.metrics, end.best_epoch, end.best_metrics) == (2, {"loss": 0.4}, 1, {"mAP": 0.4})
        assert end.duration >= 0

    def test_an_inference_and_an_export_are_told(self):
        run = start_run(operation="inference")
        run.report_inference_completed(
            total_images=np.int64(1),
            total_inference_time_ms=np.float32(2.5),
            results=[{"image_path": Path("/a.png")}],
            result_urls={"all": "s3://b/all"},
        )
        run.report_export_completed(
            export_format="onnx", output_s3_uri="s3://u:hunter22@b/x", file_size_bytes=np.int64(3)
        )
        run.complete()
        inference, export = only(run, InferenceCompleted), only(run, ExportCompleted)
        assert only(run, RunStarted).operation == "inference"
        assert (inference.total_images, inference.total_time_ms) == (1, 2.5)
        assert (inference.results, inference.result_urls) == ([{"image_path": "/a.png"}], {"all": "s3://b/all"})
        assert (export.export_format, export.uri, export.size) == ("onnx", "s3://****@b/x", 3)

    def test_numbers_of_numpy_and_objects_of_any_type_are_told(self, tmp_path):
        class Net:
            def __str__(self) -> str:
                return "Net(3)"

        weights = tmp_path / "x.pt"
        weights.write_bytes(b"x")
        run = start_run(
            total_epochs=np.int64(3),
            model=Net(),
            task=Path("detect"),
            output_dir=tmp_path,
            params=argparse.Namespace(lr=np.float32(0.5), api_key="abcdefgh"),
            class_names={0: "cat", 1: "dog"},
            versions={"mine": 3},
        )
        run.log_metrics({"a": np.float64(1.0)}, epoch=np.int64(1), total_epochs=np.int64(3), duration=np.float32(1))
        run.log_metrics({"a": 1.0}, iteration=np.int32(7))
        run.log_validation({"a": 1.0}, epoch=np.int64(1), is_best=np.bool_(True), images={"pr": Path("/pr.png")})
        run.log_checkpoint(weights, names="best", epoch=np.int64(1))
        first = only(run, RunStarted)
        assert (first.total_epochs, first.model, first.task, first.output_dir) == (3, "Net(3)", "detect", str(tmp_path))
        assert first.params == {"lr": 0.5, "api_key": "****"}
        assert (first.class_names, first.versions) == (["cat", "dog"], {"mine": "3"})
        assert (only(run, EpochEnded).epoch, only(run, EpochEnded).total_epochs) == (1, 3)
        assert only(run, MetricsLogged).iteration == 7
        assert (only(run, Validated).is_best, only(run, Validated).images) == (True, {"pr": "/pr.png"})
        assert (only(run, CheckpointSaved).names, only(run, CheckpointSaved).epoch) == (["best"], 1)

    def test_values_that_can_be_asked_nothing_cost_no_event(self, tmp_path):
        weights = tmp_path / "x.pt"
        weights.write_bytes(b"x")
        mute: Any = Mute()
        run = start_run(model=mute, task=mute, params=mute, dataset=mute, class_names=mute, total_epochs=mute)
        run.log_metrics({"a": mute, "b": 1}, epoch=mute, total_epochs=mute, duration=mute)
        run.log_validation(mute, epoch=mute, primary=mute, is_best=mute, per_class=mute, images=mute)
        run.log_checkpoint(weights, names=mute, epoch=mute, metrics=mute, final=mute)
        run.log(mute, mute, source=mute, extra=mute, data=mute)
        run.report_inference_completed(total_images=mute, total_inference_time_ms=mute, results=mute, result_urls=mute)
        run.report_export_completed(export_format=mute, output_s3_uri=mute, file_size_bytes=mute, metadata=mute)
        run.complete(mute, checkpoints=mute)
        kinds = [RunStarted, MetricsLogged, Validated, CheckpointSaved, Logged, InferenceCompleted, ExportCompleted]
        assert [type(event) for event in told(run) if not isinstance(event, MetricsSkipped)] == [*kinds, RunCompleted]
        assert only(run, MetricsLogged).metrics == {"b": 1}

    def test_a_level_is_known_by_name_or_number(self):
        run = start_run()
        for level in ("debug", 20, "CRITICAL", None):
            run.log("x", level)
        assert [event.level for event in told(run) if isinstance(event, Logged)] == ["DEBUG", "INFO", "ERROR", "ERROR"]

    def test_a_logs_data_may_be_given_as_one_mapping(self):
        run = start_run()
        run.log("x", extra={"level": 1, "source": 2, "more": 3}, more=4)
        assert only(run, Logged).data == {"level": 1, "source": 2, "more": 4}

    def test_a_keyword_that_nobody_knows_is_harmless_in_the_loop(self):
        run = start_run()
        run.started(totl_epochs=3, model="net")
        run.log_validation({"a": 1}, epoch=1, is_bset=True)
        assert told(run)[1].model == "net"
        assert only(run, Validated).metrics == {"a": 1}

    @pytest.mark.swallows
    def test_a_file_that_is_gone_costs_only_its_own_event(self, tmp_path):
        with start_run() as run:
            run.log_checkpoint(tmp_path / "gone.pt")
        assert [type(event) for event in told(run)] == [RunStarted, RunCompleted]

    def test_many_threads_may_tell_at_once(self):
        run = start_run()
        threads = [
            threading.Thread(target=lambda: [run.log_metrics({"a": 1}, iteration=step) for step in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run.complete()
        assert len([event for event in told(run) if isinstance(event, MetricsLogged)]) == 200

    def test_many_threads_may_end_it_and_one_end_is_told(self):
        run = start_run()
        threads = [threading.Thread(target=run.complete), threading.Thread(target=run.fail, args=("x",))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([event for event in told(run) if isinstance(event, (RunCompleted, RunFailed))]) == 1


class TestEpochs:
    """A loop of one's own: `for epoch in run.epochs(total)`."""

    def test_they_are_counted_from_one_and_their_number_is_told(self):
        with start_run(delivery="none") as run:
            assert list(run.epochs(3)) == [1, 2, 3]
        assert [event.total_epochs for event in told(run) if isinstance(event, RunStarted)] == [None, 3]

    def test_what_was_said_at_the_start_is_not_said_again(self):
        with start_run(delivery="none", total_epochs=2) as run:
            assert list(run.epochs(2)) == [1, 2]
        assert only(run, RunStarted).total_epochs == 2

    def test_the_next_attempt_goes_on_behind_the_checkpoint(self, tmp_path):
        weights = tmp_path / "last.pt"
        how = {"run_id": "nightly", "resume": "auto", "delivery": "none"}
        with contextlib.suppress(KeyboardInterrupt), start_run(**how) as run:
            for epoch in run.epochs(4):
                weights.write_bytes(b"weights")
                run.log_validation({"loss": epoch}, epoch=epoch, primary="loss", is_best=epoch == 1)
                run.log_checkpoint(weights, epoch=epoch)
                if epoch == 2:
                    raise KeyboardInterrupt
        with start_run(**how) as run:
            assert list(run.epochs(4)) == [3, 4]
            assert run.state.best_epoch == 1

    def test_they_end_early_where_the_platform_wants_it(self):
        done = []
        with start_run(delivery="none") as run:
            for epoch in run.epochs(4):
                run.log_metrics({"loss": 1}, epoch=epoch)
                done.append(epoch)
                if epoch == 2:
                    ask_to_stop(run.directory, run.attempt, "cancelled")
        assert done == [1, 2]
        assert only(run, RunInterrupted).reason == "cancelled"

    def test_a_silent_run_has_them_all_the_same(self):
        with start_run(mode="disabled") as run:
            assert list(run.epochs(2)) == [1, 2]


class TestOpening:
    @pytest.mark.parametrize("keyword", ["totl_epochs", "runid"])
    def test_a_keyword_that_nobody_knows_is_refused_at_once_by_name(self, keyword, own_environment):
        with pytest.raises(SetupError, match=rf"'{keyword}' is neither .*total_epochs.*run_id"):
            start_run(**{keyword: 3})
        assert not own_environment.exists()

    def test_an_operation_that_nobody_knows_is_refused_at_once(self):
        with pytest.raises(InvalidSetting, match=r"operation is 'traning' \(known: training, validation, "):
            start_run(operation="traning")

    def test_the_current_run_is_the_one_opened_last(self):
        assert current_run() is None
        first = start_run(run_id="first")
        second = start_run(run_id="second")
        assert current_run() is second
        second.complete()
        assert current_run() is first
        first.complete()
        assert current_run() is None

    def test_a_run_knows_its_place(self, own_environment):
        run = start_run(run_id="mine")
        assert (run.id, run.attempt, run.directory) == ("mine", 1, own_environment / "mine")
        assert (run.is_heard, run.is_over) == (True, False)
        run.complete()
        assert (run.is_heard, run.is_over) == (False, True)

    def test_a_disabled_run_is_silent(self, own_environment):
        with start_run(mode="disabled") as run:
            run.log_metrics({"a": 1}, epoch=1)
        assert (run.id, run.directory, run.hand_over(), run.flush()) == (None, None, None, True)
        assert not own_environment.exists()

    def test_another_rank_is_silent(self, own_environment, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        with start_run() as run:
            run.log_metrics({"a": 1}, epoch=1)
        assert run.id is None
        assert not own_environment.exists()

    @pytest.mark.skipif(sys.version_info[:3] == (3, 13, 0), reason="there `import socket` itself fails so")
    def test_a_working_directory_that_is_gone_does_not_stop_a_training(self, tmp_path):
        script = """
import os, trainer_hooks
gone = os.path.join(os.environ["TMPDIR"], "gone")
os.mkdir(gone); os.chdir(gone); os.rmdir(gone)
with trainer_hooks.start_run(run_id="r", token_file="token") as run:
    run.log_metrics({"a": 1}, epoch=1)
print(run.directory)
"""
        variables = {"TMPDIR": str(tmp_path), "TRAINER_HOOKS_DIR": "trainer_runs"}
        done = in_a_process(script, tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        assert "runs can't be kept in trainer_runs" in done.stderr
        assert only(Path(done.stdout.strip()), RunCompleted).epochs == 1

    def test_no_temporary_directory_is_looked_for_where_none_is_needed(self, tmp_path):
        script = """
import tempfile, trainer_hooks
tempfile._candidate_tempdir_list = list  # this machine has none
with trainer_hooks.start_run(run_id="r"): pass
"""
        done = in_a_process(script, tmp_path)
        assert done.returncode == 0, done.stderr

    def test_a_run_that_can_be_kept_nowhere_is_not_recorded(self, tmp_path):
        (tmp_path / "file").write_text("")
        script = """
import tempfile, trainer_hooks
tempfile._candidate_tempdir_list = list
with trainer_hooks.start_run() as run: print(run.id)
"""
        done = in_a_process(script, tmp_path, TRAINER_HOOKS_DIR=str(tmp_path / "file"))
        assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
        assert "this run is not recorded" in done.stderr

    def test_where_no_process_can_be_started_a_thread_delivers(self, tmp_path, own_environment):
        script = """
import sys, threading, trainer_hooks
sys.executable = "/nonexistent/python"
with trainer_hooks.start_run(run_id="r"):
    print([thread.name for thread in threading.enumerate()])
"""
        done = in_a_process(script, tmp_path, TRAINER_HOOKS_DELIVERY="process")
        assert done.returncode == 0, done.stderr
        assert "trainer_hooks courier" in done.stdout
        assert done.stderr.count("no courier can be started as a process") == 1
        assert only(own_environment / "r", RunCompleted)

    def test_where_no_thread_can_be_started_either_the_run_is_kept_for_later(self, tmp_path, own_environment):
        script = """
import sys, threading, trainer_hooks
def refuse(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
with trainer_hooks.start_run(run_id="r", storage="file:///tmp/x") as run: print(run.settings.delivery)
"""
        done = in_a_process(script, tmp_path, TRAINER_HOOKS_DELIVERY="thread")
        assert (done.returncode, done.stdout) == (0, "none\n"), done.stderr
        assert "no courier can be started as a thread" in done.stderr
        assert "Send it with: trainer-hooks sync" in done.stderr
        assert only(own_environment / "r", RunCompleted)

    @pytest.mark.swallows
    def test_a_journal_that_is_no_directory_any_more_lets_nothing_raise(self):
        run = start_run(run_id="r", delivery="thread")
        wait_until(lambda: load_courier(run.directory), what="the courier's announcement")
        journal = run.directory / "journal"
        journal.rename(run.directory / "away")
        journal.write_text("")
        assert run.flush(0.1) is False
        assert Autolog().flush(0.1) is False
        start_run(run_id="other").complete()
        journal.unlink()
        (run.directory / "away").rename(journal)
        run.complete()
        assert only(run, RunCompleted)

    def test_a_run_leaves_no_file_open(self):
        def descriptors() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        start_run().complete()
        before = descriptors()
        runs = [start_run() for _ in range(5)]
        for run in runs:
            run.complete()
        assert descriptors() == before
        assert all(run.flush(0) for run in runs)


class TestEnding:
    def test_the_block_ends_it_completed(self):
        with start_run() as run:
            pass
        assert only(run, RunCompleted)

    def test_the_exception_object_goes_through_untouched_and_is_told(self):
        error = ValueError("broken")
        with pytest.raises(ValueError) as caught, start_run() as run:
            raise error
        assert caught.value is error
        failed = only(run, RunFailed)
        assert (failed.message, failed.exception) == ("broken", "ValueError")
        assert "raise error" in failed.traceback

    def test_ctrl_c_is_told_as_an_interruption(self):
        with pytest.raises(KeyboardInterrupt), start_run() as run:
            raise KeyboardInterrupt
        assert only(run, RunInterrupted).reason == "KeyboardInterrupt"

    @pytest.mark.parametrize("code", [0, None])
    def test_an_exit_without_fault_completes_it(self, code):
        with pytest.raises(SystemExit), start_run() as run:
            sys.exit(code)
        assert only(run, RunCompleted)

    @pytest.mark.parametrize(("code", "status"), [(3, 3), ("no data", 1), (True, 1), ("", 1)])
    def test_an_exit_with_a_status_fails_it(self, code, status):
        with pytest.raises(SystemExit), start_run() as run:
            sys.exit(code)
        assert only(run, RunFailed).exit_status == status

    def test_an_exit_outside_of_a_block_is_no_completion(self):
        run = start_run()
        run.end_with(SystemExit(0))
        assert only(run, RunInterrupted).reason == "the script exited before the work was done"

    def test_the_first_end_stands(self):
        run = start_run()
        run.fail("first")
        run.complete()
        run.interrupt("third")
        run.log("late")
        assert [type(event) for event in told(run)] == [RunStarted, RunFailed]

    def test_a_failure_may_be_told_in_words(self):
        run = start_run()
        run.fail("no images", error_type="DatasetError", traceback_text="line 1", exit_status=np.int64(2))
        failed = only(run, RunFailed)
        assert (failed.error, failed.message, failed.traceback, failed.exit_status) == (
            *("DatasetError", "no images", "line 1"),
            2,
        )

    @pytest.mark.parametrize("hostile", [{"error_type": ["list"]}, {"traceback_text": 5}, {"exit_status": "x"}])
    def test_no_detail_of_a_failure_costs_its_event(self, hostile):
        run = start_run()
        run.fail("broken", **hostile)
        assert only(run, RunFailed).message == "broken"

    def test_an_exception_that_can_not_speak_is_told_by_its_type(self):
        class Silent(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        run = start_run()
        run.fail(Silent())
        assert only(run, RunFailed).message == "Silent"

    @pytest.mark.parametrize("metrics", [5, None, {"a": object()}, {"a": float("nan")}, "text", [1]])
    @pytest.mark.parametrize("checkpoints", [{"best": None, "last": Path("/x")}, 5, None])
    def test_no_value_costs_the_completion(self, metrics, checkpoints):
        run = start_run()
        run.complete(metrics, checkpoints=checkpoints)
        assert only(run, RunCompleted).checkpoints.get("best") is None

    @pytest.mark.swallows
    def test_an_end_that_the_journal_refuses_is_told_as_the_bare_fact(self):
        run = start_run()
        run.state.best_epoch = "a word"  # type: ignore[assignment]
        run.complete({"a": 1})
        assert only(run, RunCompleted) == RunCompleted()
        assert current_run() is None

    def test_a_forked_child_that_leaves_the_block_stays_silent(self, capfd):
        with start_run() as run:

            def leave() -> None:
                run.log("from the child")
                run.__exit__(None, None, None)
                assert run.flush()

            assert in_a_forked_child(leave) == 0
            assert capfd.readouterr().err == ""
            assert not run.is_over
        assert [type(event) for event in told(run)] == [RunStarted, RunCompleted]

    def test_what_a_signal_handler_raises_while_the_end_is_told_does_not_cost_it(self, hosts_alarm):
        class Alarming(Exception):
            def __str__(self):
                if len(hosts_alarm) < 2:  # the first one strikes in `traceback`, which swallows it
                    signal.raise_signal(signal.SIGALRM)
                return "the user's own error"

        with pytest.raises(RuntimeError, match="of the handler"), start_run() as run:
            raise Alarming
        assert only(run, RunFailed).message == "the user's own error"
        assert run.is_over
        assert current_run() is None

    @pytest.mark.parametrize("way", ["spawn", "forkserver"])
    def test_a_child_that_begins_anew_knows_nothing_of_it(self, way, tmp_path, own_environment):
        script = tmp_path / "script.py"
        script.write_text(_WITH_A_CHILD)
        done = subprocess.run(
            [sys.executable, str(script), way], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
        )
        assert done.returncode == 0
        assert [type(event) for event in told(own_environment / "with-a-child")] == [RunStarted, RunCompleted]

    def test_an_error_right_after_a_signal_is_told_as_the_signal(self):
        run = start_run()
        run.on_signal("SIGTERM", fatal=False, waited=0.0)
        run.end_with(RuntimeError("stopped"))
        assert only(run, RunInterrupted).reason == "SIGTERM"

    @pytest.mark.parametrize(
        ("error", "kind"),
        [(RuntimeError("shapes"), RunFailed), (KeyboardInterrupt(), RunInterrupted), (SystemExit(1), RunInterrupted)],
    )
    def test_a_signal_that_was_survived_long_ago_is_not_to_blame_for_an_error(self, error, kind):
        run = start_run()
        run.on_signal("SIGTERM", fatal=False, waited=0.0)
        run._signalled = time.monotonic() - 61
        run.end_with(error)
        assert isinstance(told(run)[-1], kind)

    def test_a_signal_kills_as_it_would_have_and_is_told(self, tmp_path, own_environment):
        script = """
import os, signal, trainer_hooks
with trainer_hooks.start_run(run_id="r"): os.kill(os.getpid(), signal.SIGTERM)
"""
        done = in_a_process(script, tmp_path)
        assert done.returncode == -signal.SIGTERM, done.stderr
        assert only(own_environment / "r", RunInterrupted).reason == "SIGTERM"


class TestHandedOver:
    @staticmethod
    def rank_0_tells_seven_epochs(place: tuple[str, int]) -> None:
        os.environ["RANK"] = "0"
        joined = join_run(*place)
        for epoch in range(1, 8):
            joined.log_metrics({"a": 1}, epoch=epoch, total_epochs=9)
        joined.complete()

    @staticmethod
    def rank_1_fails(place: tuple[str, int]) -> None:
        os.environ["RANK"] = "1"
        join_run(*place).fail(RuntimeError("boom"))

    @pytest.mark.parametrize("end", ["interrupt", "fail", "complete"])
    def test_every_end_counts_the_epochs_that_others_have_told(self, end):
        run = start_run()
        place = run.hand_over()
        assert place == (str(run.directory), 1)
        assert in_a_forked_child(lambda: self.rank_0_tells_seven_epochs(place)) == 0
        {"interrupt": lambda: run.interrupt("SIGTERM"), "fail": lambda: run.fail("x"), "complete": run.complete}[end]()
        last = told(run)[-1]
        assert (last.epochs if end == "complete" else last.epoch) == 7

    def test_a_ranks_failure_is_the_runs_with_the_epochs_of_all(self):
        run = start_run()
        place = run.hand_over()
        assert in_a_forked_child(lambda: self.rank_0_tells_seven_epochs(place)) == 0
        assert in_a_forked_child(lambda: self.rank_1_fails(place)) == 0
        run.fail("a child died")
        assert only(run, RankFailed).rank == 1
        failed = only(run, RunFailed)
        assert (failed.message, failed.rank, failed.epoch) == ("boom", 1, 7)


class TestSecrets:
    def test_a_credential_given_as_an_argument_is_nowhere_in_the_run(self, tmp_path):
        (tmp_path / "token").write_text("fromafile-99\n")
        (tmp_path / TOKEN).mkdir()
        weights = tmp_path / TOKEN / "x.pt"
        weights.write_bytes(b"x")
        keys = {"storage_access_key": "AAAAAAAAAA", "storage_secret_key": "BBBBBBBBBBB"}
        run = start_run(
            run_id="r",
            token=TOKEN,
            token_file=tmp_path / "token",
            **keys,
            model=f"https://user:passw0rd@host/x.pt?X-Amz-Signature={TOKEN}",
            task=TOKEN,
            output_dir="s3://k:s3cr3tpw@b/x",
            resumed_from="https://h/x?X-Amz-Signature=deadbeefdeadbeef",
            params={"note": f"{TOKEN} AAAAAAAAAA BBBBBBBBBBB fromafile-99"},
        )
        run.log(f"calling with {TOKEN} and fromafile-99", source=TOKEN)
        run.log_checkpoint(weights)
        run.fail(RuntimeError(f"refused: {TOKEN}"))
        secrets = (TOKEN, *keys.values(), "fromafile-99", "passw0rd", "s3cr3tpw", "deadbeefdeadbeef")
        for path in run.directory.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not [secret for secret in secrets if secret.encode() in content], path
        assert only(run, RunStarted).model.startswith("https://****@host/x.pt")

    def test_a_path_without_secrets_stays_as_it_is(self, tmp_path):
        weights = tmp_path / "run 1, lr=0.1" / "läst.pt"
        weights.parent.mkdir()
        weights.write_bytes(b"x")
        run = start_run(output_dir=weights.parent)
        run.log_checkpoint(weights)
        assert only(run, CheckpointSaved).path == str(weights)
        assert only(run, RunStarted).output_dir == str(weights.parent)

    def test_the_settings_know_their_credentials(self, tmp_path):
        (tmp_path / "token").write_text("fromafile-99\n")
        assert Settings.load(token=TOKEN, token_file=tmp_path / "token").secrets() == [TOKEN, "fromafile-99"]
        assert Settings.load(token_file=tmp_path / "none").secrets() == []


class TestSummary:
    @pytest.mark.parametrize("how", [{"delivery": "none"}, {"mode": "offline"}])
    def test_where_nobody_stores_it_says_who_will(self, how, tmp_path, capsys):
        weights = tmp_path / "x.pt"
        weights.write_bytes(b"x")
        with start_run(**how, storage=(tmp_path / "store").as_uri()) as run:
            run.log_checkpoint(weights)
        shown = capsys.readouterr().err
        assert f"last         {weights} (to be stored by trainer-hooks sync)" in shown
        assert "being stored" not in shown
        assert str(run.directory) in shown

    @pytest.mark.parametrize(("destination", "hints"), [("{'storage': 'file:///tmp/x'}", 1), ("{}", 0)])
    def test_the_way_to_send_it_is_said_at_the_exit_where_there_is_somewhere(self, destination, hints, tmp_path):
        script = f"import trainer_hooks\nwith trainer_hooks.start_run(**{destination}): pass"
        done = in_a_process(script, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Send it with: trainer-hooks sync") == hints


def test_an_integration_opens_and_ends_a_run_the_same_way():
    run = open_run(load_settings(run_id="r"))
    run.started(framework="x")
    run.forward_logs("a.logger")
    run.complete()
    assert [type(event) for event in told(run)] == [RunStarted, RunCompleted]


DRAWING = """
import random, sys
import trainer_hooks
before = random.getstate()
nobody = "http://127.0.0.1:9"
with trainer_hooks.start_run(delivery="thread", callback_url=nobody + "/api/v1", storage=sys.argv[1]) as run:
    run.log_checkpoint(__file__)
    run.log_metrics({"loss": 1}, epoch=1)
    run.flush(2)
sys.stdout.write(str(random.getstate() == before))
"""


def test_as_a_thread_nothing_of_ours_draws_from_the_global_random_generator(tmp_path):
    """Not even the import of what delivers: rich draws a number, and httpx imports it."""
    script = tmp_path / "script.py"
    script.write_text(DRAWING)
    command = [sys.executable, str(script), f"file://{tmp_path}/store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True"


def test_a_count_of_trainings_that_is_none_makes_no_line_that_can_not_be_read() -> None:
    with start_run(trainings="many") as run:
        pass
    started = [record.event for record in read_records(run.directory) if isinstance(record.event, RunStarted)]
    assert [event.trainings for event in started] == [0]
