"""Ray Tune's schedulers, taught that a trial has work to do behind its last epoch, such as the upload of its model.

Ray's own stop every trial there, or judge it there once more, though nothing is saved by that.
"""

from __future__ import annotations

from typing import Any

from ray.tune import schedulers

EPOCH = "epoch"
AT_ITS_END = "at_its_end"
"""Keys of what a trial reports: how many of its epochs are over, and whether all are."""


class _Sparing:
    """Lets a trial that is at its end come to it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Part of `TrialScheduler`."""
        if result.get(AT_ITS_END):
            return str(schedulers.TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))  # type: ignore[misc]


class Asha(_Sparing, schedulers.ASHAScheduler):  # type: ignore[misc]
    """Judges trials against each other after so many epochs, each by itself."""


class Median(_Sparing, schedulers.MedianStoppingRule):  # type: ignore[misc]
    """Stops a trial that falls behind the others' median."""
