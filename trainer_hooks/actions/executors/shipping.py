"""Packs the folder of an action's modules for another machine: without what is large or secret, and not its work."""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings import Settings

_log = logging.getLogger("trainer_hooks")
# Ray's own store takes 512 MiB at most.
LIMIT = 500_000_000
_NEVER = frozenset([".git", ".hg", ".svn", "__pycache__", "node_modules", ".env", ".ipynb_checkpoints", ".cache"])
# At the top, and unless they are Python packages: what is read and written by trainings.
_DATA = frozenset(["data", "datasets", "runs", "wandb", "mlruns", "lightning_logs", "trainer_runs", "trainer_backend"])
_LARGEST = 5
# Of any file, so that the same content makes the same package, which is then sent once.
_TIME = (1980, 1, 1, 0, 0, 0)


def pack(
    folder: Path, target: Path, added: Mapping[str, bytes], *, leave_out: Sequence[str], settings: Settings
) -> None:
    """Make a zip file of the folder, with the files of `added` in it by their names.

    Run directories, caches, version control, virtual environments, `.env` and folders of data are left out, as is what
    `leave_out` names: patterns for names, or for paths from the folder on. With `!` in front they name what is wanted.

    Raises:
        InvalidSetting: if it becomes larger than Ray takes; names what is large in it.
    """
    rules = _Rules(folder, leave_out, settings)
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in added.items():
            package.writestr(zipfile.ZipInfo(name, _TIME), content)
        for path in rules.files():
            name = path.relative_to(folder).as_posix()
            sizes[name.partition("/")[0]] += path.stat().st_size
            _add(package, path, name)
            if target.stat().st_size > LIMIT:
                raise InvalidSetting(_too_large(folder, sizes))
    if rules.left_out:
        _log.info("not sent along: %s", ", ".join(sorted(rules.left_out)))


class _Rules:
    """Which of a folder's files are sent."""

    def __init__(self, folder: Path, leave_out: Sequence[str], settings: Settings) -> None:
        self._folder = folder
        self._patterns = [pattern.strip("/") for pattern in leave_out if not pattern.startswith("!")]
        self._wanted = [pattern[1:].strip("/") for pattern in leave_out if pattern.startswith("!")]
        self._ours = {settings.root, settings.cache_root, settings.model_cache, Path(settings.backend).absolute()}
        self.left_out: set[str] = set()

    def files(self) -> Iterator[Path]:
        """They, in an order that is always the same. Links to folders are not followed."""
        for place, folders, names in os.walk(self._folder):
            folders[:] = sorted(name for name in folders if self._goes(Path(place, name)))
            yield from (Path(place, name) for name in sorted(names) if self._goes(Path(place, name)))

    def _goes(self, path: Path) -> bool:
        name = path.relative_to(self._folder).as_posix()
        if _matches(name, self._wanted):
            return True
        if _matches(name, self._patterns) or self._is_left_out(path, name):
            if path.name != "__pycache__":
                self.left_out.add(name)
            return False
        return path.is_dir() or path.is_file()

    def _is_left_out(self, path: Path, name: str) -> bool:
        if path.name in _NEVER or path.absolute() in self._ours or (path / "pyvenv.cfg").exists():
            return True
        return name in _DATA and path.is_dir() and not (path / "__init__.py").exists()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern)
        for pattern in patterns
    )


def _add(package: zipfile.ZipFile, path: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = (path.stat().st_mode & 0xFFFF) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with path.open("rb") as source, package.open(entry, "w", force_zip64=True) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def _too_large(folder: Path, sizes: Counter[str]) -> str:
    large = ", ".join(f"{name} ({size / 1e6:,.0f} MB)" for name, size in sizes.most_common(_LARGEST))
    mend = "name what the action doesn't need in runtime_env: excludes: [...] of config.yaml, or move it elsewhere"
    return f"{folder} is more than the {LIMIT / 1e6:.0f} MB that Ray takes; so far it has {large}: {mend}"
