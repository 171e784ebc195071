"""The examples run as they are, and the pages that are made from the code are current."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.clearml import ClearMLServer
from tests.servers.s3 import moto_server
from tools import reliability_page, settings_page
from tools.synthetic import TASKS, make_coco, make_dataset
from trainer_hooks.history import list_runs, read_history

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False)


def test_a_loop_of_ones_own(tmp_path: Path, own_environment: Path) -> None:
    done = run_example("own_loop.py", tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    latest = read_history(run).latest
    assert (latest.status, latest.state.epoch, latest.state.started.model) == ("completed", 5, "line")
    assert "epochs       5 of 5" in done.stderr
    assert "best         epoch 5, loss" in done.stderr


def test_a_loop_that_goes_on_where_it_was_stopped(tmp_path: Path, own_environment: Path) -> None:
    assert run_example("resume.py", tmp_path, "2").returncode != 0
    done = run_example("resume.py", tmp_path)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["epoch 3", "epoch 4", "epoch 5"], done.stderr
    attempts = read_history(own_environment / "nightly").attempts
    assert [attempt.status for attempt in attempts] == ["interrupted", "completed"]


def test_a_mirror_in_clearml(tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_FLUSH_TIMEOUT", "30")
    monkeypatch.setenv("CLEARML_CONFIG_FILE", str(tmp_path / "none.conf"))
    with ClearMLServer().serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        done = run_example("clearml_mirror.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [scalar[:3] for scalar in server.scalars()[-2:]] == [("loss", "train", 5), ("loss", "val", 5)]
    assert server.task["status"] == "completed"
    (run,) = list_runs(own_environment)
    assert read_history(run).linked["clearml"].id == server.task["id"]


@pytest.mark.framework
def test_ultralytics_in_two_lines(tmp_path: Path, own_environment: Path) -> None:
    done = run_example("ultralytics_minimal.py", tmp_path, str(make_dataset(tmp_path / "data")), "1")
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    assert read_history(run).latest.status == "completed"


@pytest.mark.framework
@pytest.mark.parametrize("task", [pytest.param(task, marks=[pytest.mark.long] * (task != "segment")) for task in TASKS])
def test_every_task_of_ultralytics(task: str, tmp_path: Path, own_environment: Path) -> None:
    data = make_dataset(tmp_path / "data", task)
    done = run_example("ultralytics_tasks.py", tmp_path, task, str(data), "1")
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    latest = read_history(run).latest
    assert (latest.status, latest.state.started.task) == ("completed", task)


@pytest.mark.framework
def test_the_yolo_command(tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    command = ["sh", str(EXAMPLES / "yolo_command.sh"), str(make_dataset(tmp_path / "data")), "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    assert read_history(run).latest.status == "completed"


def test_checkpoints_to_s3_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        done = run_example("s3_checkpoints.py", tmp_path, "s3://bucket/prefix")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 1000000\n"


@pytest.mark.framework
def test_lightning_in_one_line(tmp_path: Path, own_environment: Path) -> None:
    pytest.importorskip("lightning", reason="Lightning has an environment of its own: make test-hosts")
    done = run_example("lightning_minimal.py", tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    latest = read_history(run).latest
    assert (latest.status, latest.state.epoch, [*latest.state.saved]) == ("completed", 5, ["best", "last"])


@pytest.mark.framework
def test_huggingface_in_one_line(tmp_path: Path, own_environment: Path) -> None:
    pytest.importorskip("transformers", reason="transformers has an environment of its own: make test-hosts")
    done = run_example("huggingface.py", tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(own_environment)
    latest = read_history(run).latest
    assert (latest.status, latest.state.epoch, {*latest.state.saved}) == ("completed", 3, {"best", "last"})


@pytest.mark.framework
def test_a_converted_dataset_is_trained_on(tmp_path: Path, own_environment: Path) -> None:
    done = run_example("convert_dataset.py", tmp_path, str(make_coco(tmp_path / "shapes", size=64)), "1")
    assert done.returncode == 0, done.stderr
    assert "8 train, 4 val images, " in done.stdout
    assert (tmp_path / "shapes-yolo-detection" / "data.yaml").exists()
    (run,) = list_runs(own_environment)
    assert read_history(run).latest.status == "completed"


def test_the_page_of_settings_is_current() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page()


def test_the_page_of_reliability_is_current_and_names_tests_that_exist() -> None:
    assert reliability_page.missing_tests() == []
    assert reliability_page.PAGE.read_text() == reliability_page.page(reliability_page.figures())
