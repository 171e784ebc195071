"""What a run's next attempt goes on from: the newest whole checkpoint, wherever it lies; hand-written loops use it."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trainer_hooks
from trainer_hooks.delivery import load_state
from trainer_hooks.errors import CannotResume, InvalidSetting
from trainer_hooks.events import CheckpointSaved, RunStarted
from trainer_hooks.folders import pack
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_headers, read_records
from trainer_hooks.restore import Restored

ROOT = Path(__file__).parent.parent


def content(of: object) -> bytes:
    return json.dumps(of).encode()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINER_HOOKS_STORAGE", f"file://{tmp_path}/store")
    monkeypatch.setenv("TRAINER_HOOKS_RUN_ID", "run")
    return tmp_path / "store" / "checkpoints" / "run"


def attempt(tmp_path: Path, epochs: range, *, wait: bool = True, **settings: str) -> trainer_hooks.Run:
    """An attempt that is given up after its last epoch, each of which has written its checkpoint into one file."""
    run = trainer_hooks.start_run(resume="auto", **settings)
    for epoch in epochs:
        file = tmp_path / "last.pt"
        file.write_bytes(content({"epoch": epoch}))
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
        run.log_checkpoint(file, epoch=epoch)
    if wait:
        assert run.flush(30)
    run.interrupt("given up")
    if wait:
        assert run.flush(30)
    return run


def test_the_first_attempt_has_nothing_to_go_on_from(tmp_path: Path, store: Path) -> None:
    run = attempt(tmp_path, range(1, 3))
    assert run.checkpoint is None
    assert (store / "last.pt").exists()


def test_the_next_attempt_goes_on_from_the_newest(tmp_path: Path, store: Path, own_environment: Path) -> None:
    attempt(tmp_path, range(1, 3))
    (tmp_path / "last.pt").unlink()
    second = attempt(tmp_path, range(3, 5))
    assert second.checkpoint is not None
    assert (second.attempt, second.checkpoint.epoch, second.checkpoint.name) == (2, 2, "last")
    assert second.checkpoint.path.read_bytes() == content({"epoch": 2})
    started = [r.event for r in read_records(own_environment / "run") if isinstance(r.event, RunStarted)]
    assert [event.resumed_from for event in started] == [None, str(second.checkpoint.path)]
    assert json.loads((store / "last.pt").read_bytes()) == {"epoch": 4}


def test_what_waits_for_its_upload_is_newer_than_what_is_stored(tmp_path: Path, store: Path) -> None:
    attempt(tmp_path, range(1, 3))
    attempt(tmp_path, range(3, 5), wait=False, delivery="none")
    (tmp_path / "last.pt").unlink()
    assert json.loads((store / "last.pt").read_bytes()) == {"epoch": 2}
    found = trainer_hooks.get_checkpoint()
    assert found is not None
    assert found.epoch == 4
    assert json.loads(found.path.read_bytes()) == {"epoch": 4}


def test_on_an_empty_disk_it_is_the_next_attempt_with_events_of_its_own(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    first = attempt(tmp_path, range(1, 3))
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    second = attempt(tmp_path, range(3, 4))
    assert second.attempt == 2
    assert second.checkpoint is not None
    assert second.checkpoint.epoch == 2
    ids = [{record.id for record in read_records(run.directory)} for run in (first, second)]
    assert not ids[0] & ids[1]
    assert {header.origin for header in read_headers(first.directory).values()} != {""}


def test_the_hosts_file_that_was_rewritten_since_is_the_newest_if_it_is_whole(tmp_path: Path) -> None:
    attempt(tmp_path, range(1, 3), run_id="run")
    found = trainer_hooks.get_checkpoint(run_id="run")
    assert found is not None
    assert (found.path, found.epoch) == (tmp_path / "last.pt", 2)
    (tmp_path / "last.pt").write_bytes(content({"epoch": 3, "told": False}))
    newer = trainer_hooks.get_checkpoint(run_id="run")
    assert newer is not None
    assert (newer.path, newer.epoch) == (tmp_path / "last.pt", None)
    (tmp_path / "last.pt").write_bytes(b"")
    assert trainer_hooks.get_checkpoint(run_id="run") is None


def test_what_is_not_what_its_manifest_says_is_passed_over(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(tmp_path, range(1, 3))
    (store / "last.pt").write_bytes(content({"epoch": 8}))
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    with caplog.at_level(logging.WARNING, "trainer_hooks"):
        assert trainer_hooks.get_checkpoint() is None
    assert "not what its manifest says" in caplog.text
    assert not list((tmp_path / "another disk").rglob("*.pt*"))


def test_a_finished_model_is_no_place_to_go_on_from(tmp_path: Path, store: Path) -> None:
    run = trainer_hooks.start_run()
    (tmp_path / "best.pt").write_bytes(content("stripped"))
    run.log_checkpoint(tmp_path / "best.pt", names="best", final=True)
    run.interrupt("at the very end")
    assert run.flush(30)
    assert (store / "best.pt").exists()
    assert trainer_hooks.get_checkpoint() is None


def test_a_run_that_has_completed_begins_anew(tmp_path: Path, store: Path) -> None:
    assert store
    with trainer_hooks.start_run() as run:
        (tmp_path / "last.pt").write_bytes(content(1))
        run.log_checkpoint(tmp_path / "last.pt", epoch=1)
    assert trainer_hooks.start_run(resume="auto").checkpoint is None
    assert trainer_hooks.get_checkpoint() is not None


def test_a_run_that_is_at_work_elsewhere_is_not_resumed(tmp_path: Path, store: Path) -> None:
    assert not store.exists()
    script = """
import sys, trainer_hooks
run = trainer_hooks.start_run()
open(sys.argv[1], "w").write("1")
run.log_checkpoint(sys.argv[1], epoch=1)
print("open", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "last.pt")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        beside = trainer_hooks.start_run(resume="auto")
        assert (beside.id, beside.checkpoint) == ("run-2", None)
        other.kill()
        other.stdin.close()
    assert trainer_hooks.get_checkpoint() is not None


def test_every_rank_goes_on_from_the_same_checkpoint_though_the_main_one_has_begun(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.exists()
    attempt(tmp_path, range(1, 3))
    script = """
import sys, trainer_hooks
run = trainer_hooks.start_run(resume="auto")
print(run.id, run.checkpoint.epoch, flush=True)
sys.stdin.read()
"""
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as main:
        told.append(main.stdout.readline())
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, input="", capture_output=True, text=True, timeout=60, check=True
        )
        told.append(done.stdout)
        main.stdin.close()
    assert told == ["run 2\n", "None 2\n"]


def test_which_run_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="TRAINER_HOOKS_RUN_ID"):
        trainer_hooks.get_checkpoint()
    with pytest.raises(InvalidSetting, match="JOB_ID"):
        trainer_hooks.start_run(resume="auto", directory=str(tmp_path))
    with pytest.raises(InvalidSetting, match="resume"):
        trainer_hooks.start_run(resume="always", run_id="run")


def test_a_store_that_cannot_be_read_is_said_and_nothing_begins(tmp_path: Path, own_environment: Path) -> None:
    store = {"storage": "s3://bucket", "storage_endpoint": "http://127.0.0.1:9"}
    keys = {"storage_access_key": "key", "storage_secret_key": "secret"}
    with pytest.raises(CannotResume, match=r"to be resumed.* mend that .* TRAINER_HOOKS_RESUME=never"):
        trainer_hooks.start_run(resume="auto", run_id="run", directory=str(tmp_path / "runs"), **store, **keys)
    assert not (tmp_path / "runs" / "run" / "journal").exists()
    assert not own_environment.exists()


def test_restoring_draws_no_random_number_of_the_trainings(tmp_path: Path, store: Path) -> None:
    assert store
    attempt(tmp_path, range(1, 2))
    random.seed(5)
    expected = random.getstate()
    assert trainer_hooks.get_checkpoint() is not None
    assert random.getstate() == expected


def test_an_attempt_that_restores_keeps_what_was_saved_in_its_history(tmp_path: Path, store: Path) -> None:
    assert store
    run = attempt(tmp_path, range(1, 3))
    attempt(tmp_path, range(3, 4))
    history = read_history(run.directory)
    assert [one.state.epoch for one in history.attempts] == [2, 3]
    assert any(isinstance(record.event, CheckpointSaved) for record in read_records(run.directory))


def test_last_is_there_to_go_on_from_though_another_was_written_later(tmp_path: Path, store: Path) -> None:
    run = trainer_hooks.start_run()
    for name in ("last", "best"):
        (tmp_path / f"{name}.pt").write_bytes(content(name))
        run.log_checkpoint(tmp_path / f"{name}.pt", names=name, epoch=3)
    run.interrupt("taken away")
    assert run.flush(30)
    assert (store / "best.pt").exists()
    found = trainer_hooks.get_checkpoint()
    assert found is not None
    assert found.name == "last"


def test_another_run_of_the_same_job_has_checkpoints_of_its_own(tmp_path: Path, store: Path) -> None:
    attempt(tmp_path, range(1, 3), job_id="7")
    assert not store.exists()
    (tmp_path / "last.pt").unlink()
    assert trainer_hooks.get_checkpoint(job_id="7") is not None
    assert trainer_hooks.get_checkpoint(job_id="7", run_id="stage 2") is None


def test_a_checkpoint_whose_manifest_was_never_written_is_taken_if_it_is_whole(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(tmp_path, range(1, 3))
    (store / "last.pt.manifest.json").unlink()
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    found = trainer_hooks.get_checkpoint()
    assert found is not None
    assert json.loads(found.path.read_bytes()) == {"epoch": 2}
    (store / "last.pt").write_bytes(b"")
    with pytest.raises(CannotResume, match="empty"):
        trainer_hooks.get_checkpoint()


def test_a_directory_that_cannot_be_written_does_not_make_it_begin_anew(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(tmp_path, range(1, 3))
    before = (store / "last.pt").read_bytes()
    monkeypatch.setenv("TRAINER_HOOKS_DIR", "/proc/no-directory-can-be-made-here")
    with pytest.raises(CannotResume):
        trainer_hooks.start_run(resume="auto")
    assert (store / "last.pt").read_bytes() == before


def test_a_test_under_the_same_name_does_not_complete_the_training(tmp_path: Path, store: Path) -> None:
    assert not store.exists()
    attempt(tmp_path, range(1, 3))
    trainer_hooks.start_run(operation="test", resume="auto").complete()
    assert trainer_hooks.start_run(resume="auto").checkpoint is not None


def test_a_resumed_attempt_has_done_what_the_one_before_has(tmp_path: Path, store: Path) -> None:
    assert not store.exists()
    attempt(tmp_path, range(1, 3))
    run = attempt(tmp_path, range(0))
    assert run.state.epoch == 2
    assert run.state.ended is not None


def test_what_an_older_disk_delivers_late_takes_no_newer_checkpoints_place(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = attempt(tmp_path, range(1, 3), wait=False, delivery="none")
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    attempt(tmp_path, range(3, 5))
    monkeypatch.delenv("TRAINER_HOOKS_DIR")
    command = [sys.executable, "-m", "trainer_hooks.cli", "sync", str(older.directory.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((store / "last.pt").read_bytes()) == {"epoch": 4}
    assert load_state(older.directory, "checkpoints").superseded == 2


# Checkpoints that are folders


def saved_folder(path: Path, epoch: int) -> Path:
    path.mkdir()
    (path / "state.json").write_text(json.dumps({"epoch": epoch}))
    (path / "shards").mkdir()
    (path / "shards" / "0.pt").write_bytes(b"x" * 3000 * epoch)
    return path


def attempt_with_folders(tmp_path: Path, epochs: range, *, wait: bool = True, **settings: str) -> trainer_hooks.Run:
    """An attempt that is given up after its last epoch, each of which has a folder of its own."""
    run = trainer_hooks.start_run(resume="auto", **settings)
    for epoch in epochs:
        run.log_metrics({"loss": 1 / epoch}, epoch=epoch)
        run.log_checkpoint(saved_folder(tmp_path / f"checkpoint-{epoch}", epoch), epoch=epoch)
    run.interrupt("given up")
    assert run.flush(30) or not wait
    return run


def assert_is_of(found: Restored | None, epoch: int) -> None:
    assert found is not None
    assert found.epoch == epoch
    files = {str(path.relative_to(found.path)): path.read_bytes() for path in found.path.rglob("*") if path.is_file()}
    assert files == {"state.json": content({"epoch": epoch}), "shards/0.pt": b"x" * 3000 * epoch}


def without(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder)


def test_a_folder_comes_back_from_storage_as_a_folder(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_with_folders(tmp_path, range(1, 3))
    assert (store / "last.tar").exists()
    without(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2")
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    second = attempt_with_folders(tmp_path, range(3, 5))
    assert_is_of(second.checkpoint, 2)
    assert second.checkpoint is not None
    folder = second.checkpoint.path.parent
    assert [path.name for path in folder.iterdir()] == [second.checkpoint.path.name]
    without(tmp_path / "checkpoint-3", tmp_path / "checkpoint-4")
    assert_is_of(trainer_hooks.get_checkpoint(), 4)
    assert len(list(folder.iterdir())) == 1  # what the second went on from is gone


def test_a_folder_that_is_here_already_is_not_fetched_again(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_with_folders(tmp_path, range(1, 2))
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    first = trainer_hooks.get_checkpoint()
    (store / "last.tar").unlink()  # it would be missed
    assert_is_of(first, 1)
    assert trainer_hooks.get_checkpoint() == first


def test_a_folder_that_waits_for_its_upload_is_taken_from_there(tmp_path: Path, store: Path) -> None:
    attempt_with_folders(tmp_path, range(1, 3), wait=False, delivery="none")
    assert not store.exists()
    without(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2")
    found = trainer_hooks.get_checkpoint()
    assert_is_of(found, 2)
    assert found is not None
    assert [path.name for path in found.path.parent.iterdir()] == [found.path.name]


def test_without_storage_the_hosts_own_folder_is_taken_where_it_lies(tmp_path: Path) -> None:
    attempt_with_folders(tmp_path, range(1, 3), run_id="run")
    found = trainer_hooks.get_checkpoint(run_id="run")
    assert_is_of(found, 2)
    assert found is not None
    assert found.path == tmp_path / "checkpoint-2"


@pytest.mark.parametrize("lost", ["state.json", "shards/0.pt"])
def test_a_folder_that_was_being_deleted_is_passed_over(tmp_path: Path, lost: str) -> None:
    attempt_with_folders(tmp_path, range(1, 3), run_id="run")
    (tmp_path / "checkpoint-2" / lost).unlink()
    assert_is_of(trainer_hooks.get_checkpoint(run_id="run"), 1)


def test_a_folder_that_has_grown_since_is_of_an_epoch_that_nobody_has_told(tmp_path: Path) -> None:
    attempt_with_folders(tmp_path, range(1, 3), run_id="run")
    (tmp_path / "checkpoint-2" / "rank 1").write_bytes(b"late")
    found = trainer_hooks.get_checkpoint(run_id="run")
    assert found is not None
    assert (found.path, found.epoch) == (tmp_path / "checkpoint-2", None)


def test_a_torn_file_in_the_hosts_own_folder_passes_it_over(tmp_path: Path) -> None:
    attempt_with_folders(tmp_path, range(1, 3), run_id="run")
    (tmp_path / "checkpoint-2" / "shards" / "0.pt").write_bytes(bytes(6000))
    assert_is_of(trainer_hooks.get_checkpoint(run_id="run"), 1)


def test_a_folder_whose_manifest_was_never_written_is_taken_if_it_is_whole(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_with_folders(tmp_path, range(1, 3))
    (store / "last.tar.manifest.json").unlink()
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    found = trainer_hooks.get_checkpoint()
    assert found is not None
    assert json.loads((found.path / "state.json").read_bytes()) == {"epoch": 2}


def test_a_tar_that_the_user_has_saved_comes_back_as_that(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_folder(tmp_path / "mine", 1)
    pack(tmp_path / "mine", tmp_path / "mine.tar")
    run = trainer_hooks.start_run()
    run.log_checkpoint(tmp_path / "mine.tar", epoch=1)
    run.interrupt("given up")
    assert run.flush(30)
    assert (store / "last.tar").exists()
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    found = trainer_hooks.get_checkpoint()
    assert found is not None
    assert found.path.read_bytes() == (tmp_path / "mine.tar").read_bytes()


def test_the_best_folder_is_put_where_the_host_looks_for_it(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.exists()
    run = trainer_hooks.start_run()
    for epoch, names in enumerate([["last", "best"], ["last"]], 1):
        run.log_checkpoint(saved_folder(tmp_path / f"checkpoint-{epoch}", epoch), names=names, epoch=epoch)
    run.interrupt("given up")
    assert run.flush(30)
    monkeypatch.setenv("TRAINER_HOOKS_DIR", str(tmp_path / "another disk"))
    found = trainer_hooks.get_checkpoint()
    assert_is_of(found, 2)
    assert found is not None
    (tmp_path / "out").mkdir()
    assert found.fetch_best(tmp_path / "out" / "checkpoint-1")
    assert json.loads((tmp_path / "out" / "checkpoint-1" / "state.json").read_bytes()) == {"epoch": 1}
    assert not found.fetch_best(tmp_path / "out" / "checkpoint-1")


def test_ranks_that_restore_at_once_have_the_same_folder(tmp_path: Path, store: Path) -> None:
    assert not store.exists()
    attempt_with_folders(tmp_path, range(1, 3), wait=False, delivery="none")
    script = """
import sys, trainer_hooks
sys.stdin.readline()
found = trainer_hooks.get_checkpoint()
print(found.path, sorted(path.name for path in found.path.iterdir()), flush=True)
"""
    command = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(4)]
    for rank in ranks:
        rank.stdin.write("\n")
        rank.stdin.flush()
    told = {rank.communicate(timeout=60)[0] for rank in ranks}
    assert [rank.returncode for rank in ranks] == [0] * 4
    (line,) = told
    assert line.endswith("['shards', 'state.json']\n")
