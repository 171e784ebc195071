"""Private copies of checkpoints and images: hosts rewrite their files in place, so that an upload would be torn."""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from trainer_hooks.files import copy_file
from trainer_hooks.folders import SUFFIX, pack

CHECKPOINTS = "staged"
IMAGES = "images"
MOST_IMAGES = 200
"""How many copies of images a run keeps that nobody takes away: as many as its page shows."""
_LONGEST_NAME = 100
_LONGEST_SUFFIX = 30


class Stager:
    """Makes the private copies of one process's checkpoints, in a folder of the run directory."""

    def __init__(
        self, run_directory: Path, *, keep_all: bool, folder: str = CHECKPOINTS, most: int | None = None
    ) -> None:
        """`keep_all`: a courier removes what is no longer wanted; without one, only the newest `last` is kept.

        With `most`, only so many copies are kept, the newest of this process.
        """
        self._directory = run_directory
        self._folder = folder
        self._keep_all = keep_all
        # Not the pid: in a container each attempt has the same, and the earlier one's copies may yet be undelivered.
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._last_only: str | None = None
        self._most = most
        self._told: deque[str] = deque()

    def stage(self, source: Path, names: Sequence[str]) -> tuple[str, int]:
        """Copy the file, or the folder as one; returns the copy's path relative to the run directory, and its size.

        Raises:
            OSError: if it is gone or neither of them, was rewritten meanwhile, or doesn't fit; no partial copy is left.
        """
        folder = self._directory / self._folder
        folder.mkdir(exist_ok=True)
        name = quote("+".join(names), safe="+", errors="backslashreplace")[:_LONGEST_NAME]
        is_folder = self._folder == CHECKPOINTS and source.is_dir()
        suffix = SUFFIX if is_folder else quote(source.suffix, errors="backslashreplace")[:_LONGEST_SUFFIX]
        copy = folder / f"{self._prefix}-{next(self._numbers):06d}-{name}{suffix}"
        try:
            size = pack(source, copy) if is_folder else _copy_whole(source, copy)
        except BaseException:  # Ctrl-C, too
            copy.unlink(missing_ok=True)
            raise
        return str(copy.relative_to(self._directory)), size

    def told(self, staged: str, names: Sequence[str]) -> None:
        """That copy stands in the journal. Only now may the one that it replaces go: death can come at any moment.

        Raises:
            OSError: if that one can't be removed.
        """
        if self._most is not None:
            self._told.append(staged)
            if len(self._told) > self._most:
                (self._directory / self._told.popleft()).unlink(missing_ok=True)
        if self._keep_all or "last" not in names:
            return
        replaced, self._last_only = self._last_only, staged if list(names) == ["last"] else None
        if replaced is not None:
            (self._directory / replaced).unlink(missing_ok=True)


def _copy_whole(source: Path, copy: Path) -> int:
    """Copy the file; returns its size.

    Raises:
        OSError: as of copying it, or if it was rewritten meanwhile.
    """
    before = source.stat()
    size = copy_file(source, copy)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns, size) != (after.st_size, after.st_mtime_ns, after.st_size):
        message = f"{source} was rewritten while it was copied"
        raise OSError(message)
    return size
