"""The actor of one trial: it holds the trial's resources, and follows its process."""

from __future__ import annotations

import math
from typing import Any

from ray import tune

from trainer_hooks.actions.tuning.order import Order
from trainer_hooks.actions.tuning.outcomes import PAUSED, STOPPED
from trainer_hooks.actions.tuning.process import TrialProcess
from trainer_hooks.actions.tuning.ray.names import number_in
from trainer_hooks.actions.tuning.ray.schedulers import AT_ITS_END, EPOCH
from trainer_hooks.actions.tuning.telling import Point
from trainer_hooks.errors import ActionError

OBJECTIVE = "objective"  # Ray takes a metric's name apart at each "/"
_WORST = 1e30  # in the place of NaN and infinity, which Ray's statistics don't survive


class Trial(tune.Trainable):  # type: ignore[misc]
    """Each of its steps is one value of the metric."""

    def setup(self, config: dict[str, Any], order: Order) -> None:
        """Part of `tune.Trainable`: what to try."""
        self._order = order
        self._hyperparameters = dict(config)
        self._mark = (0, 0)
        self._process: TrialProcess | None = None
        self._reason = STOPPED

    def step(self) -> dict[str, Any]:
        """Part of `tune.Trainable`: the next value, or that there are no more; raises where the trial has failed."""
        if self._process is None:  # not before: `load_checkpoint` comes after `setup`
            self._process = TrialProcess(
                self._order, number_in(self.trial_name), self._hyperparameters, mark=self._mark
            )
        point = self._process.next_value()
        if point is not None:
            return {OBJECTIVE: self._reported(point.value), EPOCH: point.epoch, AT_ITS_END: self._is_at_its_end(point)}
        outcome = self._process.outcome
        if outcome.is_settled and outcome.value is not None:
            return {"done": True, "__duplicate__": True}
        message = outcome.reason or f"it has told no {self._order.metric}"
        raise ActionError(message)

    def save_checkpoint(self, _: str) -> dict[str, Any]:
        """Part of `tune.Trainable`: it is paused."""
        self._reason = PAUSED
        return {"mark": self._process.mark if self._process else self._mark}

    def load_checkpoint(self, kept: dict[str, Any]) -> None:
        """Part of `tune.Trainable`: it goes on."""
        self._mark = kept["mark"]

    def cleanup(self) -> None:
        """Part of `tune.Trainable`: it is over, stopped or paused."""
        if self._process is not None:
            self._process.stop(self._reason)

    def _is_at_its_end(self, point: Point) -> bool:
        last = point.last_epoch or self._hyperparameters.get("epochs", self._order.params.get("epochs"))
        return isinstance(last, int) and point.epoch >= last

    def _reported(self, value: float) -> float:
        if math.isfinite(value):
            return value
        return -_WORST if self._order.mode == "max" else _WORST
