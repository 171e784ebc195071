"""The host's own records of how far it is and of what it measures, as plain names and values.

Nothing is computed here that the host has not: to compute an epoch's mean is a collective operation, and only the main
rank asks.
"""

from __future__ import annotations

from typing import Any


def of_this_loop(trainer: Any) -> dict[str, Any]:
    """What the loop that is at work has logged over its epoch, once that is over: the host has computed it."""
    results = getattr(trainer, "_results", None)
    return dict(results.metrics(on_step=False)["callback"]) if results is not None else {}


def of_this_iteration(trainer: Any) -> dict[str, Any]:
    """What the last iteration has logged."""
    results = getattr(trainer, "_results", None)
    return dict(results.metrics(on_step=True)["log"]) if results is not None else {}


def learning_rates(trainer: Any) -> dict[str, Any]:
    """Of each parameter group of each optimizer."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return {f"lr/pg{place}": group["lr"] for place, group in enumerate(groups)}


def known(trainer: Any) -> dict[str, Any]:
    """The newest of all that was logged, by every loop; the host's public `callback_metrics` would compute."""
    return dict(trainer._logger_connector._callback_metrics)  # noqa: SLF001


def finished(trainer: Any) -> dict[str, int]:
    """How many epochs are, at a validation or a checkpoint; within an epoch, how many of the optimizer's steps, too."""
    progress = trainer.fit_loop.epoch_progress.current
    if progress.started == progress.completed:
        return {"epoch": progress.completed}
    if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:  # the host counts it when its hooks are through
        return {"epoch": progress.completed + 1}
    return {"epoch": progress.completed, "iteration": trainer.global_step}
