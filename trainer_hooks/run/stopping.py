"""Whether a run is to stop before its end; and whether it has."""

from __future__ import annotations

import logging
from pathlib import Path

from trainer_hooks.attempts import Claim
from trainer_hooks.run.opened import Opened
from trainer_hooks.settings import Settings, has_other_ranks, is_on_one_machine
from trainer_hooks.shield import guard
from trainer_hooks.stopping import agree_to_stop, agreed_to_stop, asked_to_stop

_log = logging.getLogger("trainer_hooks")


class Stoppable(Opened):
    """The part of a `Run` that its loop asks whether to go on."""

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        super().__init__(claimed, settings)
        self._stop: str | None = None
        self._said = False

    @property
    def stop_reason(self) -> str | None:
        """Why the run is to stop, as `should_stop` has found it."""
        return self._stop

    @property
    def should_stop(self) -> bool:
        """Whether the platform wants the training to stop: to be asked at the end of an epoch, and then to be obeyed.

        In a loop of several ranks all have to stop at the same point: ask `should_stop_together` there.

        A run that has been told so, and completes before its last epoch or iteration, ends as interrupted.
        """
        if self._stop is None and self._claim is not None and self.is_heard:
            self._stop = asked_to_stop(self._claim.directory, self.attempt)
        return self._stop is not None

    def should_stop_together(self, done: int, step: int) -> bool:
        """As `should_stop`, for each of several ranks on one machine that have to leave their loops at the same point.

        To be asked by all of them after the same `step` epochs or iterations, `done` of which are finished.
        """
        with guard("asking whether to stop"):
            place = self._place()
            if place is None:
                return False
            at = agreed_to_stop(*place)
            if at is None and self.should_stop:
                agree_to_stop(*place, done + step)
            return at is not None and done >= at
        return False

    def stops_after(
        self, done: int, step: int = 1, *, world: int | None = None, one_machine: bool | None = None
    ) -> bool:
        """Whether a loop is to be left after `done` epochs or iterations, as the platform wants it.

        Each of several ranks is to ask, after the same `step` epochs or iterations. `world` is how many there are, and
        `one_machine` whether all are on this machine; by default as the launcher says.
        """
        if not (has_other_ranks() if world is None else world > 1):
            return self.should_stop
        if is_on_one_machine() if one_machine is None else one_machine:
            return self.should_stop_together(done, step)
        if self.should_stop and not self._said:
            self._said = True
            _log.warning("asked to stop by the platform; ranks on several machines can't be stopped so far")
        return False

    def _place(self) -> tuple[Path, int] | None:
        """The directory and the attempt of the run that this process belongs to."""
        return (self._claim.directory, self.attempt) if self._claim else None

    def _has_obeyed(self) -> bool:
        """Whether a training that completes was asked to stop and has done so, rather than coming to its own end.

        Ranks ask for themselves; what the launching process knows is that its epochs are not all done.
        """
        knows_its_end = self.state.done[2] is not None
        heard = self.should_stop if knows_its_end else self._stop is not None
        return heard and not self.state.is_finished
