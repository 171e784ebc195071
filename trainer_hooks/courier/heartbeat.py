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
        self._newest: Liveness | None = None

    def beat(self, state: RunState, *, lives: Callable[[], bool]) -> None:
        """When it is time for one: keep it on disk, and tell that the training stalls, or goes on."""
        if state.ended is not None or not lives():
            self._newest = None
            return
        now = time.monotonic()
        if self._every and now - self._beaten >= self._every:
            self._beaten = now
            self._newest = seen = self._look(state)
            save_liveness(self._directory, seen)
            self._tell_change(seen)

    def newest(self) -> Liveness | None:
        """What the newest says; None before the first, once the training is over, and when it has become old."""
        seen = self._newest
        return seen if seen is not None and abs(time.time() - seen.time) <= 2 * self._every else None

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
