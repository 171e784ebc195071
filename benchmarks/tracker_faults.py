"""What other trackers do, and trainer_hooks does, when a training is killed, and when their server isn't there.

    make bench-trackers        in an environment of its own, with MLflow, W&B, ClearML, SwanLab and Trackio

Each tracker keeps its run on this disk, in the way that it has for that, and logs steps of five scalars; then its
process gets SIGKILL, and its own format is read: how many steps are there? And each is told of a server at a port
where nobody listens: how long do beginning a run, logging a step, and all of the script take? What isn't over after two
minutes is killed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measuring import Row, clean_environment, main, rotated, wait_until
from trackers import TRACKERS

ROUNDS = 3
STEPS = {"1,000 steps, 5 ms apart": (1000, 0.005), "20 steps, half a second apart": (20, 0.5)}
_MOST = 120.0
_SETTLES = 3.0  # what a process beside the training's still writes
_WORDS = {"begin": "begun", "log": "a step logged"}
_SCRIPT = str(Path(__file__).with_name("trackers.py"))


def measure(folder: Path) -> Iterator[Row]:
    """A row for each tracker and fault."""
    names = ("mlflow", "wandb", "clearml", "swanlab", "trackio")
    yield Row("versions", ", ".join(f"{name} {version(name)}" for name in names))
    for what, (steps, spacing) in STEPS.items():
        yield from _of_killed(folder, what, steps, spacing)
    for name in TRACKERS:
        yield Row(f"{name}, its server not there", _without_server(name, folder))


def _of_killed(folder: Path, what: str, steps: int, spacing: float) -> Iterator[Row]:
    found: dict[str, list[int]] = {name: [] for name in TRACKERS}
    for number in range(ROUNDS):
        for name, _ in rotated(dict.fromkeys(TRACKERS), number):
            found[name].append(_kept(name, folder, steps, spacing))
    for name, counts in found.items():
        yield Row(f"{name}, killed after {what}", f"kept {', '.join(map(str, sorted(counts)))} of {steps}")


def _kept(name: str, folder: Path, steps: int, spacing: float) -> int:
    with _Script(name, folder, "kept", str(steps), str(spacing)) as script:
        script.process.wait(_MOST + steps * spacing)
        time.sleep(_SETTLES)
        return int(script.beside("count")[0]["count"])


def _without_server(name: str, folder: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    began = time.monotonic()
    with _Script(name, folder, "served", "3", "0.5", TRACKER_SERVER=address) as script:
        try:
            status = script.process.wait(_MOST)
        except subprocess.TimeoutExpired:
            status = None
        took = time.monotonic() - began
        told = {key: value for line in script.told() for key, value in line.items()}
        parts = [f"{word} after {told[key]:.2g} s" for key, word in _WORDS.items() if key in told]
        parts.append(f"not over after {_MOST:g} s" if status is None else f"over after {took:.3g} s, status {status}")
        return ", ".join(parts + ([script.last_words()] if status else []))


class _Script:
    """One script, in a folder and a home of its own; what it leaves running is killed with it."""

    def __init__(self, name: str, folder: Path, *arguments: str, **variables: str) -> None:
        self._name = name
        self._place = folder / f"{len(list(folder.iterdir()))}"
        self._place.mkdir()
        homes = {"HOME": str(self._place), "TRACKIO_DIR": str(self._place / "trackio")}
        self._environment = clean_environment(**homes, **variables)
        self._arguments = arguments

    def __enter__(self) -> _Script:
        self._out = (self._place / "out").open("w")
        self._err = (self._place / "err").open("w")
        self.process = subprocess.Popen(
            [sys.executable, _SCRIPT, self._name, *self._arguments],
            cwd=self._place,
            env=self._environment,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["kill", "-9", "--", f"-{self.process.pid}"], capture_output=True, check=False)
        wait_until(lambda: self.process.poll() is not None)
        self._out.close()
        self._err.close()

    def told(self) -> list[dict[str, Any]]:
        """What it has printed as JSON, among whatever the tracker prints."""
        return _json_lines((self._place / "out").read_text())

    def last_words(self) -> str:
        """The end of its stderr."""
        return ((self._place / "err").read_text().strip().splitlines() or [""])[-1][:200]

    def beside(self, mode: str) -> list[dict[str, Any]]:
        """What the same script prints in another mode, in the same folder."""
        done = subprocess.run(
            [sys.executable, _SCRIPT, self._name, mode],
            cwd=self._place,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_MOST,
            check=False,
        )
        return _json_lines(done.stdout) or [{mode: -1, "error": done.stderr[-500:]}]


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    main(measure)
