"""Waiting for the entry that another process is making."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from trainer_hooks.datasets.caching.workplace import files_so_far, last_sign_of_life, workplaces

_LOOK_EVERY = 1.0
_TELL_EVERY = 30.0
_log = logging.getLogger(__name__)


class Waiting:
    """Whether to go on waiting for another process's entry; tells now and then how far that is."""

    def __init__(self, root: Path, key: str, stalled_after: float, is_there: Callable[[], bool]) -> None:
        self._root = root
        self._key = key
        self._stalled_after = stalled_after
        self._is_there = is_there
        self._signs: object = None
        self._alive = self._looked = time.monotonic()
        self._told: float | None = None

    def __call__(self) -> bool:
        """Whether to; asked many times a second."""
        now = time.monotonic()
        if self._told is None or now - self._told >= _TELL_EVERY:
            self._tell(now)
        if now - self._looked < min(_LOOK_EVERY, self._stalled_after / 4):
            return True
        self._looked = now
        # That they change is what counts, not the time they tell: its clock may be another one, or be put back.
        signs = [(path.name, last_sign_of_life(path)) for path in workplaces(self._root, self._key)]
        if signs != self._signs:
            self._signs, self._alive = signs, now
        if now - self._alive < self._stalled_after:
            return not self._is_there()
        _log.warning("the process that fetches this dataset shows no life any more: it is fetched here as well")
        return False

    def _tell(self, now: float) -> None:
        self._told = now
        count = sum(files_so_far(path) for path in workplaces(self._root, self._key))
        _log.info("another process fetches this dataset: waiting for it (%d files so far)", count)
