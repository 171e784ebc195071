"""Train with many versions of Ultralytics, and judge by the journal what trainer_hooks saw of each.

    python tools/compatibility.py [--versions 8.3.0 8.4.190] [--output docs/compatibility.md]

Each version is put beside this environment by `pip install --target`, in a temporary folder, and trains twice in a
process of its own: two epochs that succeed, and a dataset that is missing. Where a version doesn't train as things
are, it is tried with numpy 1 and with torch's old way of loading checkpoints; the table says which of them it took.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from packaging.requirements import Requirement

from trainer_hooks.events import AnyEvent, CheckpointStored, EpochEnded, RunFailed, Validated
from trainer_hooks.history import list_runs, read_history
from trainer_hooks.journal import read_records
from trainer_hooks.settings import ENVIRONMENT

_REPOSITORY = Path(__file__).parent.parent
# Denser where the host has changed; the newest is asked of pip.
_VERSIONS = {
    "8.0": (100, 150, 196),
    "8.1": (0,),
    "8.2": (0, 50, 103),
    "8.3": (0, 50, 100, 150, 200, 220, 253),
    "8.4": (0, 25, 50, 60, 80, 110, 130, 140, 170),
}
# What older versions import and today's has no use for.
_OLD_LIBRARIES = ("hub-sdk", "pandas<3", "py-cpuinfo", "pytz", "scipy", "seaborn", "setuptools<81", "tqdm", "tzdata")
_OLD_LOADING = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
_EPOCHS = 2
_WITHIN = 300  # seconds, for one training
_WANTED = {"train/box_loss", "train/cls_loss", "train/dfl_loss", "val/box_loss", "metrics/mAP50-95(B)", "lr/pg0"}
_CSV_DIGITS = 1e-4


@dataclass(frozen=True)
class _Help:
    """What a version needs beside itself to train here."""

    numpy1: bool = False
    old_loading: bool = False

    def __str__(self) -> str:
        needs = ["numpy < 2"] if self.numpy1 else []
        needs += [f"{name}={value}" for name, value in _OLD_LOADING.items()] if self.old_loading else []
        return f"needs {' and '.join(needs)}" if needs else ""


_HELPS = (_Help(), _Help(old_loading=True), _Help(numpy1=True), _Help(numpy1=True, old_loading=True))


@dataclass
class _Row:
    """One line of the table."""

    version: str
    numpy: str
    trains: bool = False
    verdicts: dict[str, bool] = field(default_factory=dict)
    note: str = ""

    def cells(self) -> list[str]:
        seen = [_mark(self.verdicts.get(name)) for name in _VERDICTS]
        versions = [self.version, platform.python_version(), torch.__version__.partition("+")[0], self.numpy]
        return [*versions, _mark(self.trains), *seen, self.note]


_VERDICTS = ("epochs right", "final validation", "checkpoints", "failure seen")
_HEADER = ("version", "Python", "torch", "numpy", "trains", *_VERDICTS, "note")


class _Bench:
    """A folder with what is installed beside the environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installed: set[str] = set()

    def judge(self, version: str) -> _Row:
        """Install the version, train with it, and read what was told."""
        row = _Row(version, importlib.metadata.version("numpy"))
        if not self._install(f"ultralytics-{version}", f"ultralytics=={version}"):
            row.note = "can't be installed"
            return row
        for number, help_ in enumerate(sorted(_HELPS, key=self._is_unwanted(version))):
            scene = self._folder / f"scene-{version}-{number}"
            done = self._train(version, help_, scene, "--autolog")
            row.note = row.note or _last_line(done.stderr)
            if done.returncode == 0:
                row.trains = True
                row.note = str(help_)
                row.numpy = self._numpy_version(help_)
                row.verdicts = _verdicts(scene)
                missing = self._folder / f"missing-{version}"
                self._train(version, help_, missing, "--autolog", "--data", "missing.yaml")
                row.verdicts["failure seen"] = _has_failed(missing)
                break
        return row

    def _train(self, version: str, help_: _Help, scene: Path, *options: str) -> subprocess.CompletedProcess[str]:
        scene.mkdir()
        paths = [_REPOSITORY, self._folder / f"ultralytics-{version}", self._folder / "old-libraries"]
        self._install("old-libraries", *_OLD_LIBRARIES)
        if help_.numpy1 and self._install("numpy-1", "numpy<2"):
            paths.insert(1, self._folder / "numpy-1")
        ours = {name for env in ENVIRONMENT.values() for name in env.names}
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "TRAINER_HOOKS_CONFIG": os.devnull,
            "TRAINER_HOOKS_DIR": str(scene / "trainer_runs"),
            "TRAINER_HOOKS_STORAGE": f"file://{scene}/store",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(scene),
            "YOLO_OFFLINE": "1",
        }
        environment |= _OLD_LOADING if help_.old_loading else {}
        command = [sys.executable, "-m", "tests.hosts.ultralytics", str(scene), str(_EPOCHS), *options]
        return subprocess.run(
            command, cwd=scene, env=environment, capture_output=True, text=True, timeout=_WITHIN, check=False
        )

    def _install(self, name: str, *requirements: str) -> bool:
        if name not in self._installed:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            done = subprocess.run([*command, str(self._folder / name), *requirements], capture_output=True, check=False)
            if done.returncode != 0:
                return False
            self._installed.add(name)
        return True

    def _is_unwanted(self, version: str) -> Callable[[_Help], bool]:
        """Whether a help is not what the version itself asks for: the first to try is the numpy of its requirements."""
        (found,) = importlib.metadata.distributions(path=[str(self._folder / f"ultralytics-{version}")])
        required = [one for one in map(Requirement, found.requires or ()) if one.name == "numpy" and one.marker is None]
        fits = all(one.specifier.contains(importlib.metadata.version("numpy")) for one in required)
        return lambda help_: help_.numpy1 == fits

    def _numpy_version(self, help_: _Help) -> str:
        path = [str(self._folder / "numpy-1")] if help_.numpy1 else sys.path
        return next(iter(importlib.metadata.distributions(name="numpy", path=path))).version


def _verdicts(scene: Path) -> dict[str, bool]:
    """Whether the only run of the scene told what the host did."""
    (run,) = list_runs(scene / "trainer_runs")
    told = [record.event for record in read_records(run)]
    completed = read_history(run).latest.status == "completed"
    return {
        "epochs right": completed and _epochs_are_right(told, scene / "out/train/results.csv"),
        "final validation": completed and [v.final for v in told if isinstance(v, Validated)] == [False, False, True],
        "checkpoints": completed and _checkpoints_are_right(told, scene),
    }


def _epochs_are_right(told: list[AnyEvent], results: Path) -> bool:
    """Each once, in order, and each value as in the host's own table."""
    epochs = [event for event in told if isinstance(event, EpochEnded)]
    if [event.epoch for event in epochs] != list(range(1, _EPOCHS + 1)):
        return False
    for event, row in zip(epochs, _read_csv(results), strict=True):
        if not event.metrics.keys() >= _WANTED:
            return False
        for name, value in row.items():
            told_value = event.metrics.get(name)
            if name not in {"epoch", "time"} and (told_value is None or not _is_near(float(told_value), value)):
                return False
    return True


def _is_near(told: float, written: float) -> bool:
    return abs(told - written) <= _CSV_DIGITS * max(1.0, abs(written))


def _read_csv(path: Path) -> Iterator[dict[str, float]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield {name.strip(): float(value) for name, value in row.items()}


def _checkpoints_are_right(told: list[AnyEvent], scene: Path) -> bool:
    """`last` and `best` are stored, and the best is the one that the host has left."""
    stored = {event.name: event for event in told if isinstance(event, CheckpointStored)}
    if stored.keys() != {"last", "best"} or not stored["best"].final:
        return False
    left = (scene / "out/train/weights/best.pt").read_bytes()
    return stored["best"].sha256 == hashlib.sha256(left).hexdigest()


def _has_failed(scene: Path) -> bool:
    runs = list(list_runs(scene / "trainer_runs"))
    return [type(read_history(run).latest.state.ended) for run in runs] == [RunFailed]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:160] if lines else "no reason given"


def _mark(verdict: bool | None) -> str:  # noqa: FBT001 - a value to show, not a switch
    return "-" if verdict is None else ("yes" if verdict else "**no**")


def _chosen() -> list[str]:
    """The versions above and the newest release that pip can see; none of those without a registry."""
    command = [sys.executable, "-m", "pip", "index", "versions", "ultralytics"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"^ultralytics \(([\d.]+)\)", listed, re.MULTILINE)
    chosen = [f"{minor}.{patch}" for minor, patches in _VERSIONS.items() for patch in patches]
    return list(dict.fromkeys([*chosen, found[1]] if found else chosen))


def _page(rows: list[_Row], command: str) -> str:
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    lines = [
        "# Ultralytics versions",
        "",
        f"Made on {today} by `{command}`, on the CPU:",
        "for each version, two epochs of a tiny detector under `autolog` with storage in a folder, and a training",
        "whose dataset is missing; judged by what the runs' journals say.",
        "",
        "- trains: the process ended with status 0.",
        "- epochs right: each epoch is told exactly once and in order, every value as in the host's `results.csv`, and",
        "  the run has completed.",
        "- final validation: the host's extra announcement after the last epoch is told as that, not as an epoch.",
        "- checkpoints: `last` and `best` are in storage, and the stored `best` is byte for byte the file that the",
        "  host has left, stripped and final.",
        "- failure seen: the missing dataset has ended the run as failed.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in [_HEADER, ["---"] * len(_HEADER), *(row.cells() for row in rows)]),
        "",
    ]
    return "\n".join(lines)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Which versions of Ultralytics trainer_hooks works with.")
    parser.add_argument("--versions", nargs="+", help="default: a choice of about twenty, and the newest")
    parser.add_argument("--output", type=Path, help="the page to write; default: only print")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="compatibility-") as folder:
        bench = _Bench(Path(folder))
        for version in options.versions or _chosen():
            try:
                rows.append(bench.judge(version))
            except subprocess.TimeoutExpired:
                rows.append(_Row(version, "-", note=f"not over within {_WITHIN} s"))
            print(" | ".join(rows[-1].cells()), flush=True)
    page = _page(rows, " ".join(["python", *sys.argv]))
    if options.output:
        options.output.write_text(page)


if __name__ == "__main__":
    _main()
