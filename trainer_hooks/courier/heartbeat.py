"""The courier's heartbeats: kept on disk, there for a platform to be sent, and told as an event where they change."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from trainer_hooks.courier.pulse import Pulse
from trainer_hooks.events import AnyEvent, ProgressResumed, ProgressStalled, SegmentOpened
from trainer_hooks.history import RunState
from trainer_hooks.liveness import Liveness, save_liveness


class Heartbeat:
    """One attempt's; `emit` appends an event to its journal."""

    def __init__(
        self,
        run_directory: Path,
        header: SegmentOpened,
        emit: Callable[[AnyEvent], None],
        *,
        every: float,
        stalled_after: float,
    ) -> None:
        """`every` so many seconds, 0 for never; `stalled_after` is in usual epochs, see `Pulse`."""
        self._directory = run_directory
        self._header = header
        self._emit = emit
        self._every = every
        self._beaten = -math.inf
        self._stalled_at: float | None = None
        self.pulse = Pulse(stalled_after, least=2 * every)
        self.newest: Liveness | None = None
        """What the newest says; None before the first, and once the training is over."""

    def beat(self, state: RunState, *, lives: Callable[[], bool]) -> None:
        """When it is time for one: keep it on disk, and tell that the training stalls, or goes on."""
        now = time.monotonic()
        if not self._every or now - self._beaten < self._every:
            return
        self._beaten = now
        self.newest = self._look(state) if state.ended is None and lives() else None
        if self.newest is not None:
            save_liveness(self._directory, self.newest)
            self._tell_change(self.newest)

    def _look(self, state: RunState) -> Liveness:
        now = time.time()
        return Liveness(
            time=now,
            run=self._header.run,
            attempt=self._header.attempt,
            state=self.pulse.state(now),
            idle=self.pulse.idle(now),
            usual=self.pulse.usual,
            total_epochs=state.total_epochs,
            **state.reached,
        )

    def _tell_change(self, seen: Liveness) -> None:
        if seen.state == "stalled" and seen.usual is not None and self._stalled_at is None:
            self._stalled_at = seen.time - seen.idle
            told = {"epoch": seen.epoch, "iteration": seen.iteration}
            self._emit(ProgressStalled(idle=seen.idle, usual=seen.usual, **told))
        elif seen.state != "stalled" and self._stalled_at is not None:
            idle = seen.time - seen.idle - self._stalled_at
            self._stalled_at = None
            self._emit(ProgressResumed(idle=max(0.0, idle)))
