"""What `pip install trainer-hooks` gives: built as a release is, and tried in an environment that has nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# All that a plain installation brings; docs/security.md names them.
PULLED = {
    "anyio", "certifi", "click", "h11", "httpcore", "httpx", "idna", "markdown-it-py", "mdurl", "msgspec", "pygments",
    "rich", "trainer-hooks",
}  # fmt: skip
OF_OLDER_PYTHONS = {"exceptiongroup", "tomli", "typing-extensions"}
LOOP = """
import trainer_hooks

with trainer_hooks.start_run(total_epochs=1) as run:
    run.log_metrics({"loss": 0.5}, epoch=1)
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def call(*command: object, folder: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "build", ROOT, "--outdir", folder, folder=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with that wheel and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    call(folder / "bin" / "pip", "install", "--quiet", wheel, folder=folder)
    return folder / "bin"


def test_a_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = call("git", "ls-files", "trainer_hooks", folder=ROOT).splitlines()
    assert inside == set(tracked)
    assert "trainer_hooks/py.typed" in inside


def test_the_source_distribution_holds_every_file_of_the_project_and_nothing_else(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    tracked = call("git", "ls-files", folder=ROOT).splitlines()
    assert inside - {"PKG-INFO"} == {name for name in tracked if not name.startswith(".ci/")}


def test_a_plain_installation_brings_little(installed: Path, tmp_path: Path) -> None:
    found = json.loads(call(installed / "pip", "list", "--format", "json", folder=tmp_path))
    names = {one["name"].lower().replace("_", "-") for one in found} - {"pip", "setuptools"}
    assert names - OF_OLDER_PYTHONS == PULLED


def test_nothing_that_is_installed_wants_what_is_not_there(installed: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in call(installed / "pip", "check", folder=tmp_path)


def test_a_plain_installation_says_which_extra_is_missing(installed: Path, tmp_path: Path) -> None:
    for command, extra in [("ui", "receiver"), ("serve", "receiver")]:
        line = [installed / "trainer-hooks", command]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert f"trainer-hooks[{extra}]" in done.stderr


def test_a_plain_installation_records_a_run(installed: Path, tmp_path: Path) -> None:
    call(installed / "python", "-c", LOOP, folder=tmp_path)
    (run,) = json.loads(call(installed / "trainer-hooks", "runs", "ls", "--json", folder=tmp_path))
    assert run["status"] == "completed"
    assert "trainer_runs" in call(installed / "trainer-hooks", "doctor", folder=tmp_path)
