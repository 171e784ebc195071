"""Passes on what a job writes, as it writes it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable

from trainer_hooks.actions.outcome import is_line

_log = logging.getLogger("trainer_hooks")
_FINISHES_WITHIN = 5.0


class Follower:
    """Reads pieces of a log in a thread, and gives them to `output`, but for the line that tells the outcome."""

    def __init__(self, pieces: AsyncIterator[str], output: Callable[[str], object]) -> None:
        self._pieces = pieces
        self._output = output
        self._thread = threading.Thread(target=self._follow, name="trainer_hooks-follower", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the rest, a bounded time."""
        self._thread.join(_FINISHES_WITHIN)

    def _follow(self) -> None:
        try:
            asyncio.run(self._pass_on())
        except Exception as error:  # noqa: BLE001 - the job goes on, whoever reads what it writes
            _log.warning("what the job writes can't be followed any more: %s", error)

    async def _pass_on(self) -> None:
        async for piece in self._pieces:
            for line in piece.splitlines(keepends=True):
                if not is_line(line):
                    self._output(line)
