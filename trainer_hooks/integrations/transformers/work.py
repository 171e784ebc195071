"""One work of a Trainer, a training, an evaluation or a prediction: what its events mean, told to its run."""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer_hooks.events import Operation
from trainer_hooks.run import Run
from trainer_hooks.settings import ranks_here

_EVALUATED = "eval_"
_EPOCH = "epoch"  # among the host's metrics: when they were measured, and no measure itself
_LOSS, _OF_THE_WHOLE = "loss", "train_runtime"
_MOST_FOR_RANKS, _LOOK_EVERY = 5.0, 0.01


@dataclass(frozen=True)
class _Epoch:
    """An epoch that is over, and how long it took."""

    number: int
    total: int
    duration: float


class Work:
    """One work, and how far it has been told."""

    def __init__(self, run: Run, operation: Operation, classes: list[str]) -> None:
        """`classes`: the names that the model's have."""
        self.run = run
        self.depth = 1
        """How many of the trainer's calls are inside each other; 0 when it is over."""
        self.latest: dict[str, Any] = {}
        """The newest value of each metric."""
        self._operation = operation
        self._classes = classes
        self._by_iteration = False
        self._began: float | None = None
        self._within_epoch = False
        self._untold: _Epoch | None = None
        self._of_epoch: dict[str, Any] = {}
        self._of_iterations: dict[str, Any] = {}
        self._logged_at = self._told_at = 0
        self._judged: tuple[int, dict[str, Any]] = (0, {})
        self._ranks_write = True

    @property
    def is_heard(self) -> bool:
        """Whether it goes on, and what is told of it goes anywhere."""
        return self.depth > 0 and self.run.is_heard

    def training_started(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """All is built now; with `auto_find_batch_size`, perhaps once more, and it begins anew."""
        self._by_iteration = args.max_steps > 0
        self._began, self._within_epoch, self._untold = None, False, None
        self._logged_at = self._told_at = state.global_step
        if state.global_step:
            self.run.resume_best(int(state.epoch))

    def epoch_started(self, *_: Any, **__: Any) -> None:
        """An epoch begins."""
        self._tell_epoch()
        self._began, self._within_epoch, self._of_epoch = time.monotonic(), True, {}

    def iteration_ended(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step of the optimizer is done. With the host's logging, all ranks are asked at the same ones."""
        if state.global_step % max(1, state.logging_steps) == 0:
            self._stop_if_asked(args, state, control)

    def epoch_ended(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An epoch is over; its losses may be logged yet, then it is evaluated and saved."""
        self._within_epoch = False
        if self.is_heard and not self._by_iteration and _is_over(state, control):
            took = time.monotonic() - (self._began or 0.0)
            self._untold = _Epoch(math.ceil(state.epoch), math.ceil(args.num_train_epochs), took)
            if not control.should_log or self._logged_at == state.global_step:
                self._tell_epoch()
        self._stop_if_asked(args, state, control)

    def logged(self, _: Any, state: Any, __: Any, logs: Mapping[str, Any], **___: Any) -> None:
        """The host, or the user, has logged something; what an evaluation logs is told by `evaluated`."""
        metrics = {name: value for name, value in logs.items() if name != _EPOCH and not name.startswith(_EVALUATED)}
        self.latest.update(metrics)
        if self._operation != "training" or not metrics:
            return
        if _OF_THE_WHOLE in metrics:
            self.run.log_metrics(metrics)
            return
        self._of_epoch.update(metrics)
        self._of_iterations.update(metrics)
        if _LOSS in metrics:
            self._logged_at = state.global_step
            self._tell_iterations(state)
            self._tell_epoch()

    def evaluated(self, args: Any, state: Any, _: Any, metrics: Mapping[str, Any], **__: Any) -> None:
        """An evaluation's result; the host will decide by it which checkpoint is the best."""
        self._tell_epoch()
        is_best = self._operation == "training" and self._began is not None and _is_best(args, state, metrics)
        told = self._tell_result(args, state, metrics, is_best=is_best, primary=_primary(args))
        self._judged = state.global_step, told

    def predicted(self, args: Any, state: Any, _: Any, metrics: Mapping[str, Any], **__: Any) -> None:
        """A prediction's result, as far as the dataset has labels."""
        self._tell_result(args, state, metrics)

    def training_ended(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        """What has been logged since the last telling is told, too."""
        self._tell_epoch()
        if self._by_iteration:
            self.run.note_iteration(state.global_step)
            if self._of_iterations:
                self._tell_iterations(state)

    def checkpoint_written(self, args: Any, state: Any, folder: str) -> None:
        """A folder named by the step; `state` knows which step was the best so far."""
        path = os.path.join(folder, f"checkpoint-{state.global_step}")  # noqa: PTH118 - as the host joins them
        if self._ranks_write and not args.save_only_model and self.run.settings.storage_uri is not None:
            self._ranks_write = _have_ranks_written(path)
        judged = self._judged[1] if self._judged[0] == state.global_step else {}
        names = ["last", "best"] if _best_step(state) == state.global_step else ["last"]
        metrics = {**self._of_epoch, **judged}
        self.run.log_checkpoint(path, names=names, metrics=metrics, **self._point(args, state))

    def failed(self, state: Any, error: BaseException) -> None:
        """The work is over by this."""
        self._tell_epoch()
        self.run.note_iteration(state.global_step)
        self.run.training_ended_with(error)

    def _tell_epoch(self) -> None:
        if self._untold is None:
            return
        epoch, self._untold = self._untold, None
        self.run.log_metrics(self._of_epoch, epoch=epoch.number, total_epochs=epoch.total, duration=epoch.duration)

    def _tell_iterations(self, state: Any) -> None:
        every = self.run.settings.iteration_metrics or int(self._by_iteration)
        done = state.global_step
        if every and done // every > self._told_at // every:
            told, self._of_iterations, self._told_at = self._of_iterations, {}, done
            self.run.log_metrics(told, iteration=done)

    def _tell_result(
        self, args: Any, state: Any, metrics: Mapping[str, Any], *, is_best: bool = False, primary: str | None = None
    ) -> dict[str, Any]:
        told = {name: value for name, value in metrics.items() if name != _EPOCH}
        self.latest.update(told)
        judged_by = primary if primary in told else None
        point = self._point(args, state)
        self.run.log_validation(told, class_names=self._classes, primary=judged_by, is_best=is_best, **point)
        return told

    def _point(self, args: Any, state: Any) -> dict[str, int]:
        """How many epochs or iterations are finished; both in the midst of an epoch."""
        if self._operation != "training" and args.load_best_model_at_end and state.best_model_checkpoint:
            return {"iteration": _best_step(state) or 0}
        if self._by_iteration:
            return {"iteration": state.global_step}
        if not state.global_step and self._operation != "training":
            return {}
        whole = int(state.epoch or 0)
        if self._within_epoch or whole != state.epoch:
            return {"epoch": whole, "iteration": state.global_step}
        return {"epoch": whole}

    def _stop_if_asked(self, args: Any, state: Any, control: Any) -> None:
        """Have the host leave its loop where the platform wants it, all ranks at the same point."""
        if self.run.stops_after(state.global_step, world=args.world_size):
            control.should_training_stop = True


EVENTS: Mapping[str, Callable[..., None]] = {
    "on_train_begin": Work.training_started,
    "on_epoch_begin": Work.epoch_started,
    "on_step_end": Work.iteration_ended,
    "on_epoch_end": Work.epoch_ended,
    "on_log": Work.logged,
    "on_evaluate": Work.evaluated,
    "on_predict": Work.predicted,
    "on_train_end": Work.training_ended,
}
"""What is done at which of the host's events, once its callbacks have done theirs."""

ON_EVERY_RANK = frozenset({"on_step_end", "on_epoch_end"})
"""Where ranks that tell nothing have something to do, too: all of them stop together."""


def _is_over(state: Any, control: Any) -> bool:
    """Whether the epoch that the host leaves has come to its end, and isn't broken off by the end of the training."""
    return not control.should_training_stop or state.epoch == int(state.epoch) or state.global_step >= state.max_steps


def _primary(args: Any) -> str | None:
    """The metric that the host chooses the best checkpoint by, by its full name."""
    name = args.metric_for_best_model
    return name if name is None or name.startswith(_EVALUATED) else f"{_EVALUATED}{name}"


def _is_best(args: Any, state: Any, metrics: Mapping[str, Any]) -> bool:
    """By the host's rule, which it is about to follow itself: NaN is never better, nor is what is as good."""
    value = metrics.get(_primary(args) or "")
    if value is None:
        return False
    if args.greater_is_better:
        return bool(value > (-math.inf if state.best_metric is None else state.best_metric))
    return bool(value < (math.inf if state.best_metric is None else state.best_metric))


def _best_step(state: Any) -> int | None:
    """After which step the model was the best so far; before 4.51 only the folder's name says it."""
    step = getattr(state, "best_global_step", None)
    named = (state.best_model_checkpoint or "").rstrip("/").rpartition("-")[2]
    return step or (int(named) if named.isdecimal() else None)


def _have_ranks_written(folder: str) -> bool:
    """Wait until the other ranks of this machine have put their random states beside what the main one has written.

    They do it without a barrier, some milliseconds later, and the copy is to have them. False after a few seconds: they
    never will, and no later checkpoint is to wait for it.
    """
    deadline = time.monotonic() + _MOST_FOR_RANKS
    for rank in range(1, ranks_here()):
        # A zip's directory comes last.
        while not zipfile.is_zipfile(f"{folder}/rng_state_{rank}.pth"):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_EVERY)
    return True
