"""What goes on in a search, told to whoever listens; and the end of one that can't go on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from ray import tune

from trainer_hooks.actions.tuning.numbers import Numbers
from trainer_hooks.actions.tuning.ray.cluster import has_room, shortage
from trainer_hooks.actions.tuning.ray.names import number_in
from trainer_hooks.errors import ActionError

PATIENCE = 600.0  # seconds that trials may wait for resources while none is at work, as with predecessor A
_WARNED_AFTER = 60.0
_LEFT_AFTER = 10.0


class Listener(Protocol):
    """What hears how the search goes, and numbers its trials."""

    numbers: Numbers

    def ended(self, number: int) -> None:
        """That trial is over, or was stopped by the scheduler and soon will be."""

    def waits(self, seconds: float) -> None:
        """No trial is at work, for so long, though some are still to be done."""

    def is_stopped(self) -> bool:
        """Whether the whole search is to stop."""

    def leaves(self) -> None:
        """The whole search ends at once, and with it every process of a trial."""


class SearchStopped(Exception):
    """The whole search is stopped from outside."""


class NothingLeft(Exception):
    """What is left was paused by a scheduler that has lost sight of it.

    HyperBand does where a bracket ends while one of its trials is about to pause. There is room for such a trial, and
    it is not gone on with.
    """


class Watch(tune.Callback):  # type: ignore[misc]
    """Tells the listener, and ends the search where it is to stop or can't go on."""

    def __init__(self, listener: Listener, resources: Mapping[str, float], patience: float) -> None:
        self._listener = listener
        self._resources = resources
        self._patience = patience
        self._idle_since: float | None = None
        self._has_warned = False
        self.reason: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray keeps a copy of it; a run can't be copied

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Part of `tune.Callback`."""
        self._listener.ended(number_in(str(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Part of `tune.Callback`."""
        self._listener.ended(number_in(str(trial)))

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ARG002
        """Part of `tune.Callback`: by what it raises, the search ends."""
        if self._listener.is_stopped():
            self._end(SearchStopped())
        states = {trial.status for trial in trials}
        if "RUNNING" in states or not states & {"PENDING", "PAUSED"}:
            self._idle_since, self._has_warned = None, False
            return
        self._idle_since = self._idle_since or time.monotonic()
        self._look_at_idleness(time.monotonic() - self._idle_since, is_paused="PENDING" not in states)

    def _look_at_idleness(self, idle: float, *, is_paused: bool) -> None:
        if idle > _LEFT_AFTER and is_paused and has_room(self._resources):
            self._end(NothingLeft())
        if idle > self._patience:
            self._end(ActionError(f"no trial has got its resources for {idle:.0f} s: {shortage()}"))
        if idle > _WARNED_AFTER and not self._has_warned:
            self._has_warned = True
            self._listener.waits(idle)

    def _end(self, reason: Exception) -> None:
        self.reason = reason
        raise reason
