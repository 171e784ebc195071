"""Make the virtual environment that the Makefile's commands run in, from nothing or from whatever is there.

    python3 tools/environment.py --groups test check

Needs Python 3.10 or newer with venv and pip, and a package index. What is installed stands in pyproject.toml; a stamp
in the environment remembers that, so that a second call with nothing changed takes no time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TOOLS = Path(__file__).resolve().parent
_SHIM = "torchvision_cpu_shim"
_GROUPS = (
    "demo",
    "core",
    "test",
    "check",
    "docs",
    "export",
    "hosts",
    "lint",
    "mmdet",
    "page",
    "postgres-test",
    "ray",
    "receiver-test",
    "peers",
    "dataset-peers",
    "receiver-peers",
    "trackers",
)
_WITHOUT_TORCH = {"core", "docs", "export", "postgres-test", "ray", "receiver-test", "receiver-peers", "trackers"}
_WITH_ULTRALYTICS = {"demo", "hosts", "page", "test", "dataset-peers"}
_WITH_TORCHVISION = {*_WITH_ULTRALYTICS, "mmdet"}
_PIP_WITH_GROUPS = "pip>=25.1"
_TAIL = 15
_NO_OPERATOR = "torchvision::nms does not exist"
_NO_INDEX = "No package index could be reached, or it lacks the package: check the network, the proxy, pip's settings."
_NO_INDEX_SIGNS = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "(from versions: none)")


class StepFailed(Exception):
    """A step of the set-up went wrong; the message is what the user is to read."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment at `path`, with the dependency groups `groups` of pyproject.toml."""

    path: Path
    groups: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is to be done, in order, each with its name."""
        yield "virtual environment", self._create
        yield "pip", lambda: self._pip("--upgrade", _PIP_WITH_GROUPS)
        # By itself and first: resolved together with what only asks for "torch", pip may choose another build of it.
        if _WITHOUT_TORCH.issuperset(self.groups):
            yield f"trainer-hooks [{' '.join(self.groups)}]", self._install
            return
        yield "torch", lambda: self._pip("--group", "torch")
        if _WITH_ULTRALYTICS.intersection(self.groups):
            yield "ultralytics", lambda: self._pip("--group", "ultralytics")
        yield f"trainer-hooks [{' '.join(self.groups)}]", self._install
        if _WITH_TORCHVISION.intersection(self.groups):
            yield "torchvision", self._mend_torchvision

    def _create(self) -> None:
        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        theirs = _python_version(self.path / "pyvenv.cfg")
        if theirs and theirs != ours:
            message = f"{self.path} is for Python {theirs}, this is {ours}: remove it, or choose another with VENV="
            raise StepFailed(message)
        if not (self.path / "bin" / "pip").exists():
            _run([sys.executable, "-m", "venv", str(self.path)])

    def _install(self) -> None:
        groups = [part for group in self.groups for part in ("--group", group)]
        self._pip("--editable", str(ROOT), *groups)

    def _pip(self, *arguments: str) -> None:
        _run([str(self.python), "-m", "pip", "install", "--disable-pip-version-check", *arguments])

    def _mend_torchvision(self) -> None:
        """Install the shim where torchvision lacks its operators, and take it out where it doesn't."""
        get_path = "import sysconfig; print(sysconfig.get_path('purelib'))"
        packages = Path(_run([str(self.python), "-c", get_path]).strip())
        # -S: without .pth files, so that a shim put there before doesn't hide what the answer would be without it.
        bare = f"import sys; sys.path.append({str(packages)!r}); import torchvision"
        shim, hook = packages / f"{_SHIM}.py", packages / f"{_SHIM}.pth"
        try:
            _run([str(self.python), "-S", "-c", bare])
        except StepFailed as error:
            if _NO_OPERATOR not in str(error):
                raise
            _write(shim, (_TOOLS / f"{_SHIM}.py").read_text())
            _write(hook, f"import {_SHIM}\n")
            _run([str(self.python), "-c", "import torchvision"])
        else:
            hook.unlink(missing_ok=True)
            shim.unlink(missing_ok=True)


def ensure(path: Path, groups: Sequence[str]) -> None:
    """Bring the environment at `path` up to date with pyproject.toml, saying a line for each step.

    Raises:
        StepFailed: naming the step, with the end of what it printed.
    """
    path.mkdir(parents=True, exist_ok=True)
    with _alone(path / "trainer-hooks.lock"):
        fingerprint = _fingerprint()
        stamp = path / "trainer-hooks.json"
        installed = _installed(stamp, fingerprint)
        if installed.issuperset(groups):
            return
        stamp.unlink(missing_ok=True)
        environment = Environment(path, tuple(sorted(installed.union(groups))))
        for name, step in environment.steps():
            _take(name, step)
        _write(stamp, json.dumps({"fingerprint": fingerprint, "groups": environment.groups}))


def _take(name: str, step: Callable[[], None]) -> None:
    print(f"environment: {name} …", end=" ", flush=True)
    begun = time.monotonic()
    try:
        step()
    except StepFailed as error:
        print("failed", flush=True)
        message = f"environment: the step '{name}' failed:\n{error}"
        raise StepFailed(message) from error
    print(f"{time.monotonic() - begun:.0f} s", flush=True)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    tail = "\n".join(done.stdout.splitlines()[-_TAIL:])
    if any(word in done.stdout for word in _NO_INDEX_SIGNS):
        tail += f"\n{_NO_INDEX}"
    raise StepFailed(tail)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is at work on the same environment; a killed one's lock is free again."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: waiting for another process that is making it …", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    sources = [ROOT / "pyproject.toml", _TOOLS / "environment.py", _TOOLS / f"{_SHIM}.py"]
    content = b"".join(source.read_bytes() for source in sources)
    # The place counts too: an editable install points to it.
    return hashlib.sha256(content + f"{platform.python_version()} {ROOT}".encode()).hexdigest()


def _installed(stamp: Path, fingerprint: str) -> set[str]:
    """The groups that are there as they now should be; empty where anything has changed."""
    try:
        read = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return set()
    return set(read["groups"]) if read["fingerprint"] == fingerprint else set()


def _python_version(config: Path) -> str | None:
    """The "3.11" of an existing environment, by its pyvenv.cfg; None where there is none."""
    if not config.exists():
        return None
    pairs = [line.partition("=") for line in config.read_text().splitlines()]
    version = next((value.strip() for key, _, value in pairs if key.strip() == "version"), "")
    return ".".join(version.split(".")[:2]) or None


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(content)
    temporary.replace(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the virtual environment of this project.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv in the project)")
    parser.add_argument("--groups", nargs="+", choices=_GROUPS, default=["demo"], help="what it is for")
    options = parser.parse_args()
    try:
        ensure(options.venv.absolute(), options.groups)
    except StepFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
