"""What the benchmarks share: rows of figures beside their budgets, and the ways to get figures that can be trusted.

Times are taken with the garbage collector as Python sets it: a training pays for it, too. What is compared is measured
in turn within each round, in rotating order; a figure is the median over the rounds, its range stands behind it.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainer_hooks.delivery import load_courier
from trainer_hooks.process import is_alive
from trainer_hooks.run import Run, open_run
from trainer_hooks.settings import ENVIRONMENT, Settings

ROOT = Path(__file__).resolve().parents[1]
_T = TypeVar("_T")
_SETTINGS = {variable for env in ENVIRONMENT.values() for variable in env.names}
# An installed package has its byte code cached: compiling it anew would be measured instead of importing it.
_NO_CACHES = {"PYTHONDONTWRITEBYTECODE"}
_CACHES = Path(tempfile.gettempdir()) / f"trainer_hooks_benchmarks-{os.getuid()}"
_PAUSE = 0.002
_never = threading.Event()


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `kept`: whether it keeps its budget; None for a figure that is told for information."""

    what: str
    measured: str
    budget: str = ""
    kept: bool | None = None


def main(measure: Callable[[Path], Iterator[Row]]) -> None:
    """The command line of a benchmark: prints its rows, and with `--rows FILE` writes them there, too."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--rows", type=Path, help="a JSON file to write the rows to")
    parser.add_argument("--folder", type=Path, help="where to work (default: among the temporary files)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    # Registered ahead of any run, so that it comes after what runs do at the exit: they look into their directories.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = []
    for row in measure(folder):
        rows.append(row)
        print(shown(row), flush=True)
        if given.rows:
            given.rows.write_text(json.dumps([asdict(row) for row in rows]))


def shown(row: Row) -> str:
    """The row as a line of text."""
    budget = f"  [{row.budget}: {verdict(row)}]" if row.budget else ""
    return f"{row.what}: {row.measured}{budget}"


def verdict(row: Row) -> str:
    """In a word, whether the budget is kept."""
    return "" if row.kept is None else "kept" if row.kept else "missed"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of the values don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def with_range(values: Sequence[float], unit: str, scale: float = 1.0) -> str:
    """The median of the rounds, and their range."""
    middle, least, most = (_number(value * scale) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} {unit}" if least == most else f"{middle} {unit} ({least} to {most})"


def timed_calls(call: Callable[[int], object], count: int, spacing: float = 0.0) -> list[int]:
    """How long each of `count` calls takes, in ns; `spacing` seconds between them."""
    clock = time.perf_counter_ns
    taken = []
    for number in range(count):
        if spacing:
            _never.wait(spacing)
        begun = clock()
        call(number)
        taken.append(clock() - begun)
    return taken


def rotated(cases: Mapping[str, _T], by: int) -> list[tuple[str, _T]]:
    """The cases, beginning with another one in each round."""
    items = list(cases.items())
    start = by % len(items)
    return items[start:] + items[:start]


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without any setting of trainer_hooks, and with these variables."""
    inherited = {name: value for name, value in os.environ.items() if name not in _SETTINGS | _NO_CACHES}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**inherited, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(_CACHES), "YOLO_OFFLINE": "1", **variables}


def open_quiet_run(folder: Path, **settings: str) -> Run:
    """A real run that is kept in `folder` and forwards no log records."""
    return open_run(Settings.load(environ={}, directory=str(folder), log_level="OFF", **settings))


def end_quietly(run: Run) -> None:
    """Complete the run without its summary on the screen, and wait until its courier is gone."""
    with contextlib.redirect_stderr(io.StringIO()):
        run.complete()
    if run.directory is not None and run.settings.delivery == "process":
        wait_for_courier(run.directory)


def wait_for_courier(run_directory: Path, within: float = 600.0) -> None:
    """Wait until a courier has been at work on that run and is gone."""

    def is_gone() -> bool:
        courier = load_courier(run_directory)
        return courier is not None and is_alive(courier.process) is False

    wait_until(is_gone, within)


def wait_until(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: after `within` seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited for more than {within:g} s")  # noqa: EM102
        _never.wait(_PAUSE)


@contextlib.contextmanager
def platform_server(*, batch: bool) -> Iterator[str]:
    """The tests' platform in a process of its own; its address, as CALLBACK_URL wants it."""
    command = [sys.executable, str(Path(__file__).with_name("platform_process.py")), *(["--batch"] if batch else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield _first_line(server)
        finally:
            server.terminate()


def directory_of(run: Run) -> Path:
    """The run's directory.

    Raises:
        RuntimeError: if it is not recorded.
    """
    if run.directory is None:
        raise RuntimeError("the run is not recorded: there is nothing to measure")
    return run.directory


def _first_line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
