"""The Pythons that `compatibility.py pythons` tries, each in a fresh environment: the tests that need no framework.

The environment brings the newest boto3 and ClearML. Then the oldest that pyproject.toml allows is put in its place, and
the tests of what uses it are run again.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TITLE = "Python, boto3, ClearML"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
_HEADER = ("Python", "with", "tests", "passed", "skipped", "failed", "on", "note")
_REPOSITORY = Path(__file__).resolve().parent.parent
_WITHIN = 3600  # seconds, for the tests of one row
_STORAGE = "tests/storage"
_CLEARML = "tests/destinations/test_clearml.py"
_OF_A_SERVER = [f"tests/{folder}" for folder in ("actions", "deployment", "pages", "receiver", "servers")]
_NO_FRAMEWORK = "not framework and not long and not browser"


@dataclass(frozen=True, slots=True)
class _Trial:
    """Some of the tests, with the newest of a library or with what is said."""

    library: str
    tests: Sequence[str]
    oldest: Sequence[str] = ()
    marks: str = _NO_FRAMEWORK


_TRIALS = (
    _Trial("", ("tests", *(f"--ignore={path}" for path in (*_OF_A_SERVER, _STORAGE, _CLEARML)))),
    _Trial("", _OF_A_SERVER),
    _Trial("boto3", (_STORAGE,)),
    _Trial("boto3", (_STORAGE,), oldest=("boto3==1.34.0", "botocore==1.34.0")),
    _Trial("clearml", (_CLEARML,)),
    _Trial("clearml", (_CLEARML,), oldest=("clearml==1.16.5",)),
)
_EVERYTHING = "tests/integrations/test_end_to_end.py::test_everything_arrives_at_the_backend_and_in_storage"
_TRAINING = _Trial("torch", (_EVERYTHING,), marks="framework and not long")


def found_on_path() -> list[Path]:
    """The Pythons there are of those to try; what is missing is said. A shim without its Python counts as missing."""
    found = []
    for version in VERSIONS:
        path = shutil.which(f"python{version}")
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            found.append(Path(path))
        else:
            print(f"python{version} is not on PATH", flush=True)
    return found


def section(pythons: Sequence[Path], before: str) -> str:
    """The page's part about them, with the rows of other Pythons as they were `before`."""
    rows = list(_rows_of(before))
    for python in pythons:
        tried = list(_tried(python))
        minors = {_minor(row) for row in tried}
        rows = [row for row in rows if _minor(row) not in minors] + tried
    rows.sort(key=lambda row: [int(part) for part in row[0].split(".")])
    lines = [
        f"## {TITLE}",
        "",
        "Made by `python tools/compatibility.py pythons --output docs/compatibility.md`: for each Python a fresh",
        "environment with the group `core` of pyproject.toml, and in it the tests of a row, as pytest is told them,",
        f"with `-m '{_NO_FRAMEWORK}'`. Files of tests that can't be read without a framework are",
        "left out. Where pip finds a build of torch for the CPU, the group `test` is added, and trainings of a tiny",
        "model are told to a platform and a storage, one with each framework of that group.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in [_HEADER, ["---"] * len(_HEADER), *rows]),
        "",
    ]
    return "\n".join(lines)


def _rows_of(page: str) -> Iterator[list[str]]:
    part = page.partition(f"## {TITLE}\n")[2].partition("\n## ")[0]
    yield from (line.strip("| ").split(" | ") for line in part.splitlines() if re.match(r"\| \d", line))


def _minor(row: Sequence[str]) -> str:
    return row[0].rpartition(".")[0]


def _tried(python: Path) -> Iterator[list[str]]:
    """The rows of this Python; its environment is gone afterwards."""
    version = _output(python, "-c", "import platform; print(platform.python_version())")
    with tempfile.TemporaryDirectory(prefix="compatibility-") as folder:
        bench = _Bench(python, version, Path(folder))
        for row in bench.rows():
            print(" | ".join(row), flush=True)
            yield row


class _Bench:
    """An environment of one Python."""

    def __init__(self, python: Path, version: str, folder: Path) -> None:
        self._base = python
        self._version = version
        self._folder = folder
        self._python = folder / "bin" / "python"

    def rows(self) -> Iterator[list[str]]:
        """One for each trial."""
        if not self._has("core"):
            yield self._row("", note="no environment")
            return
        for trial in _TRIALS:
            if trial.oldest and not _succeeds(self._python, "-m", "pip", "install", "--quiet", *trial.oldest):
                yield self._row(" ".join(trial.oldest), note="can't be installed")
            else:
                yield self._judged(trial)
        if not self._finds_torch():
            yield self._row("torch", note="pip finds no build for the CPU")
        elif self._has("core", "test"):
            yield self._judged(_TRAINING)
        else:
            yield self._row("torch", note="no environment")

    def _has(self, *groups: str) -> bool:
        tool = str(_REPOSITORY / "tools" / "environment.py")
        return _succeeds(self._base, tool, "--venv", str(self._folder), "--groups", *groups)

    def _finds_torch(self) -> bool:
        """Whether there is a build for the CPU of the release that pyproject.toml asks for."""
        release = re.search(r'"torch==([\d.]+)"', (_REPOSITORY / "pyproject.toml").read_text())
        listed = _output(self._python, "-m", "pip", "index", "versions", "torch")
        return release is not None and f" {release[1]}+cpu" in listed

    def _judged(self, trial: _Trial) -> list[str]:
        command = ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider", "--color", "no"]
        try:
            said = _output(self._python, *command, "-m", trial.marks, *trial.tests, within=_WITHIN)
        except subprocess.TimeoutExpired:
            return self._row(self._name_of(trial), trial, note=f"not over within {_WITHIN} s")
        counts = Counter[str]()
        for number, kind in re.findall(r"(\d+) (passed|skipped|failed|error)", said.rstrip().rpartition("\n")[2]):
            counts[kind] += int(number)
        failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        print(*failed, sep="\n", end="\n" * bool(failed), flush=True)
        note = ", ".join(test.rpartition("::")[2] for test in failed) or ("" if counts else "no tests ran")
        return self._row(self._name_of(trial), trial, counts=counts, note=note)

    def _name_of(self, trial: _Trial) -> str:
        if not trial.library:
            return "-"
        version = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        return f"{trial.library} {_output(self._python, '-c', version, trial.library).partition('+')[0]}"

    def _row(
        self, name: str, trial: _Trial | None = None, counts: Counter[str] | None = None, note: str = ""
    ) -> list[str]:
        tests = f"`{' '.join(trial.tests)}`" if trial else "-"
        failed = (counts or Counter())["failed"] + (counts or Counter())["error"]
        numbers = [counts["passed"], counts["skipped"], failed] if counts else ["-"] * 3
        today = dt.datetime.now(tz=dt.timezone.utc).date()
        return [self._version, name or "-", tests, *map(str, numbers), str(today), note.replace("|", "/") or "-"]


def _succeeds(python: Path, *arguments: str) -> bool:
    done = subprocess.run([str(python), *arguments], cwd=_REPOSITORY, env=_environment(), check=False)
    return done.returncode == 0


def _output(python: Path, *arguments: str, within: float | None = None) -> str:
    done = subprocess.run(
        [str(python), *arguments],
        cwd=_REPOSITORY,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=sys.stderr if within is None else subprocess.STDOUT,
        text=True,
        timeout=within,
        check=False,
    )
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """Without what would put another environment's packages into this one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
