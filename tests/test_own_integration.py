"""An integration in a package of its own, installed as pip does, and found by its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import COMMAND
from trainer_hooks.events import CheckpointSaved, EpochEnded, RunCompleted, RunFailed
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parent.parent / "examples" / "own_integration"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: the framework, the integration, and what an installer notes of it."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for name in ("tinytrain.py", "trainer_hooks_tinytrain.py"):
        (folder / name).write_text((PROJECT / name).read_text())
    noted = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{n} = {o}" for n, o in points.items()))]
    (noted / "entry_points.txt").write_text("\n".join(lines))
    return folder


def run(site: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


def told(root: Path, kind: type) -> list[Any]:
    (found,) = list_runs(root)
    return [record.event for record in read_records(found) if isinstance(record.event, kind)]


def test_its_trainings_are_recorded(site: Path, tmp_path: Path, own_environment: Path) -> None:
    done = run(site, tmp_path, sys.executable, str(PROJECT / "train.py"))
    assert done.returncode == 0, done.stderr
    assert [(event.epoch, event.metrics["loss"]) for event in told(own_environment, EpochEnded)] == [
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
    ]
    assert [event.epoch for event in told(own_environment, CheckpointSaved)] == [1, 2, 3]
    assert told(own_environment, RunCompleted)


def test_their_failures_go_on_to_the_user_and_are_told(site: Path, tmp_path: Path, own_environment: Path) -> None:
    script = (PROJECT / "train.py").read_text().replace("1 / (epoch + 1)", "1 / (1 - epoch)")
    done = run(site, tmp_path, sys.executable, "-c", script)
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    (failed,) = told(own_environment, RunFailed)
    assert (failed.exception, failed.epoch) == ("ZeroDivisionError", 1)


def test_no_line_is_needed_below_the_command(site: Path, tmp_path: Path, own_environment: Path) -> None:
    script = "import tinytrain; tinytrain.Trainer(epochs=2).fit(float)"
    done = run(site, tmp_path, *COMMAND, "run", "--", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    (found,) = list_runs(own_environment)
    assert read_history(found).latest.state.epoch == 2
    assert read_history(found).latest.state.started.framework == "tinytrain"


def test_the_check_up_names_it(site: Path, tmp_path: Path) -> None:
    assert "tinytrain" in run(site, tmp_path, *COMMAND, "doctor").stdout


def test_a_framework_that_is_not_there_is_said_with_the_mend(site: Path, tmp_path: Path) -> None:
    (alone := tmp_path / "alone").mkdir()
    for path in site.rglob("*"):
        if path.is_file() and path.name != "tinytrain.py":
            copy = alone / path.relative_to(site)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(path.read_text())
    done = run(alone, tmp_path, sys.executable, "-c", "import trainer_hooks; trainer_hooks.autolog('tinytrain')")
    assert done.stderr.splitlines()[-1].endswith(
        "'tinytrain' can't be imported: No module named 'tinytrain'; "
        "install it, or a newer one: pip install --upgrade tinytrain"
    )
