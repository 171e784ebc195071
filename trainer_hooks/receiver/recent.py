"""What has happened to runs of late: looked up once for everybody who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from trainer_hooks.receiver.index.index import Index
from trainer_hooks.receiver.index.lists import Wanted
from trainer_hooks.receiver.shown import RunShown

MOST = 200
_LOOK_EVERY = 1.0


class Recent:
    """The runs that something was told of last. Safe to use from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._runs: Mapping[str, RunShown] = {}

    def runs(self) -> Mapping[str, RunShown]:
        """The newest `MOST` by their id, the oldest first, as they stood a second ago at most."""
        with self._lock:
            if time.monotonic() - self._looked >= _LOOK_EVERY:
                found = self._index.runs(Wanted(order="last", limit=MOST)).runs
                self._runs = {run.run: run for run in reversed(found)}
                self._looked = time.monotonic()
            return self._runs
