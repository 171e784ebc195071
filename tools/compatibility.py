"""Try trainer_hooks with many versions of what it works with, and write what came of it.

    python tools/compatibility.py [pythons] [--python /path/to/python3.12 …] [--output docs/compatibility.md]
    python tools/compatibility.py [ultralytics] [mmengine] [lightning] [transformers] [--versions 8.3.0 …] [--output …]

With nothing named, all of it: some hours, for a machine at night. `compatibility_pythons.py` says what is done with the
Pythons. Each version of a framework is put beside this environment by `pip install --target`, in a temporary folder.
It trains in processes of its own, as `compatibility_hosts.py` says for its framework; what trainer_hooks saw of it is
judged by the journal. Where it doesn't train as things are, it is tried with what older versions need; the table says
which of that it took. `--output` replaces the sections of what was tried.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions
from importlib.metadata import version as installed
from pathlib import Path

import compatibility_pythons
from compatibility_hosts import HOSTS, Help, Host, Row, Scene

from trainer_hooks.settings import ENVIRONMENT

_REPOSITORY = Path(__file__).parent.parent
_PYTHONS = "pythons"
_WITHIN = 300  # seconds, for one training


class _Bench:
    """A folder with what is installed beside the environment."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._installed: set[str] = set()

    def judge(self, version: str) -> Row:
        """Install the version, train with it, and read what was told."""
        row = Row(version, installed("numpy"))
        place = self._folder / version
        if not self._install(version, self._host.requirement(version)):
            row.note = "can't be installed"
            return row
        libraries = self._host.libraries(place)
        if libraries and not self._install(f"{version}-libraries", *libraries):
            row.note = f"what it needs can't be installed: {', '.join(libraries)}"
            return row
        for number, help_ in enumerate(self._host.helps(place)):
            scene = Scene(self._folder / f"scene-{version.replace('==', '-')}-{number}")
            done = self._train(version, help_, scene, *self._host.succeeding)
            row.note = row.note or _last_line(done.stderr.replace(f"{self._folder}/", ""))
            if done.returncode == 0:
                row.trains = True
                row.note = str(help_)
                row.numpy = self._numpy_version(help_)
                row.verdicts = self._host.verdicts(scene)
                for verdict, options in self._host.others.items():
                    other = Scene(scene.folder.with_name(f"{scene.folder.name}-{len(row.verdicts)}"))
                    self._train(version, help_, other, *options)
                    row.verdicts[verdict] = self._host.judged[verdict](other)
                break
        return row

    def _train(self, version: str, help_: Help, scene: Scene, *options: str) -> subprocess.CompletedProcess[str]:
        scene.folder.mkdir()
        beside = (version, f"{version}-libraries", "old-libraries")
        paths = [_REPOSITORY, *(self._folder / name for name in beside)]
        if self._host.old_libraries:
            self._install("old-libraries", *self._host.old_libraries)
        if help_.numpy1 and self._install("numpy-1", "numpy<2"):
            paths.insert(1, self._folder / "numpy-1")
        ours = {name for env in ENVIRONMENT.values() for name in env.names}
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "TRAINER_HOOKS_CONFIG": os.devnull,
            "TRAINER_HOOKS_DIR": str(scene.runs),
            "TRAINER_HOOKS_STORAGE": f"file://{scene.folder}/store",
            **self._host.environment(scene),
            **help_.environment(),
        }
        command = [sys.executable, "-m", f"tests.hosts.{self._host.name}", str(scene.folder), "2", *options]
        return subprocess.run(
            command, cwd=scene.folder, env=environment, capture_output=True, text=True, timeout=_WITHIN, check=False
        )

    def _install(self, name: str, *requirements: str) -> bool:
        if name not in self._installed:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            done = subprocess.run([*command, str(self._folder / name), *requirements], capture_output=True, check=False)
            if done.returncode != 0:
                return False
            self._installed.add(name)
        return True

    def _numpy_version(self, help_: Help) -> str:
        path = [str(self._folder / "numpy-1")] if help_.numpy1 else sys.path
        return next(iter(distributions(name="numpy", path=path))).version


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:160] if lines else "no reason given"


def _mark(verdict: bool | None) -> str:  # noqa: FBT001 - a value to show, not a switch
    return "-" if verdict is None else ("yes" if verdict else "**no**")


def _chosen(host: Host) -> list[str]:
    """The host's choice of versions, and the newest release that pip can see; not that one without a registry."""
    command = [sys.executable, "-m", "pip", "index", "versions", host.package]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^{host.package} \(([\d.]+)\)", listed, re.MULTILINE)
    return list(dict.fromkeys([*host.versions, found[1]] if found else host.versions))


def _section(host: Host, rows: list[Row]) -> str:
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    names = [*host.explained]
    header = ["version", "Python", "torch", "numpy", "trains", *names, "note"]
    lines = [
        f"## {host.title}",
        "",
        f"Made on {today} by `python tools/compatibility.py {host.name} --output docs/compatibility.md`, on the CPU:",
        "for each version real trainings of a tiny model with storage in a folder, judged by what the journals say.",
        "",
        "- trains: the process ended with status 0.",
        *(f"- {name}: {meaning}" for name, meaning in host.explained.items()),
        "",
        *(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header)]),
        *(f"| {' | '.join(_cells(row, names))} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def _cells(row: Row, names: list[str]) -> list[str]:
    versions = [row.version, platform.python_version(), installed("torch").partition("+")[0], row.numpy]
    return [*versions, _mark(row.trains), *(_mark(row.verdicts.get(name)) for name in names), row.note]


def _replace(page: Path, title: str, section: str) -> None:
    """Put the section into the page, in the place of the one with that title or at its end."""
    parts = re.split(r"(?m)^(?=## )", _text_of(page))
    kept = [section if part.startswith(f"## {title}\n") else part for part in parts]
    if section not in kept:
        kept.append(section)
    page.write_text("\n".join(part.strip("\n") + "\n" for part in kept))


def _text_of(page: Path | None) -> str:
    return page.read_text() if page and page.exists() else "# Versions\n"


def _main() -> None:
    parser = argparse.ArgumentParser(description="Which versions of Python and its libraries trainer_hooks works with.")
    parser.add_argument("tried", nargs="*", choices=[_PYTHONS, *HOSTS, []], help="default: all")
    parser.add_argument("--python", nargs="+", type=Path, help="default: python3.10 and its like, as PATH has them")
    parser.add_argument("--versions", nargs="+", help="of a framework; default: a choice, and the newest")
    parser.add_argument("--output", type=Path, help="the page to write; default: only print")
    options = parser.parse_args()
    for name in options.tried or (_PYTHONS, *HOSTS):
        if name == _PYTHONS:
            pythons = options.python or compatibility_pythons.found_on_path()
            title = compatibility_pythons.TITLE
            section = compatibility_pythons.section(pythons, _text_of(options.output))
        else:
            title, section = HOSTS[name].title, _section(HOSTS[name], _tried(HOSTS[name], options.versions))
        if options.output:
            _replace(options.output, title, section)


def _tried(host: Host, versions: Sequence[str] | None) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="compatibility-") as folder:
        bench = _Bench(host, Path(folder))
        for version in versions or _chosen(host):
            try:
                rows.append(bench.judge(version))
            except subprocess.TimeoutExpired:
                rows.append(Row(version, "-", note=f"not over within {_WITHIN} s"))
            print(" | ".join(_cells(rows[-1], list(host.explained))), flush=True)
    return rows


if __name__ == "__main__":
    _main()
