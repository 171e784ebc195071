"""`Run`: what a training job tells, through this one object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import msgspec

from trainer_hooks.attempts import Claim
from trainer_hooks.courier.start import Delivery
from trainer_hooks.endings import endings
from trainer_hooks.events import Operation, RunStarted
from trainer_hooks.faults import stacks
from trainer_hooks.history import read_history
from trainer_hooks.restore import Restored
from trainer_hooks.run.ending import Endable, exit_status_of
from trainer_hooks.settings import Settings, told_to_children
from trainer_hooks.shield import attempt, guard, harmless, resuming
from trainer_hooks.trainings import goes_on, next_training

_OTHERS = {operation: set(get_args(Operation)) - {operation} for operation in get_args(Operation)}


class Run(Endable):
    """One attempt at one run. Open it with `start_run` or let an integration do it; end it once.

    As a context manager it ends by itself: completed, or failed or interrupted by what leaves the block.
    A run without a claim is silent: everything may be called, nothing is told.
    """

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        super().__init__(claimed, settings)
        self.checkpoint: Restored | None = None
        """What this attempt goes on from, with `resume="auto"`; None where it begins anew."""
        self.takes_in_trainings = False
        """Whether frameworks' trainings are told as part of this run while it is open (see `surrounding_run`)."""
        self._training_goes_on_from: Restored | None = None
        if claimed:
            self._delivery = self._begin(claimed)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or (isinstance(error, SystemExit) and not exit_status_of(error)):
            self.complete()
        else:
            self.end_with(error)

    def _begin(self, claimed: Claim) -> Delivery | None:
        attempt("looking for a ClearML task", self._join_clearml)  # before the courier would make one
        self._stage_images(claimed.directory, are_taken=self._images_are_taken)
        delivery = self._start_delivery(claimed)
        attempt("watching how the process ends", endings.watch, self)
        attempt("having crashes leave their stack", stacks.keep_in, claimed.directory, claimed.attempt)
        attempt("forwarding logs", self.forward_logs, "")
        return delivery

    @harmless
    def started(self, **details: Any) -> None:
        """Tell that the work begins, and from where it goes on; `details` are the fields of `RunStarted`.

        Where it has been told before, what was said then still holds as far as it is not said anew.
        """
        before = self.state.started
        if before is not None:
            if self._redactor.word(details.get("operation")) in _OTHERS[before.operation]:
                return  # a test within a training, say: it belongs to that
            details = self._told_again(before, details)
        if self._goes_on_from is not None:
            point = {"epoch": self._goes_on_from.epoch, "iteration": self._goes_on_from.iteration}
            details = {"resumed_from": str(self._goes_on_from.path), **point, **details}
        super().started(**details)

    def _told_again(self, before: RunStarted, details: dict[str, Any]) -> dict[str, Any]:
        said = {name: value for name, value in details.items() if value is not None}
        known = msgspec.structs.asdict(before)
        for name in ("resumed_from", "epoch", "iteration"):  # of the training before
            del known[name]
        return {
            **known,
            **said,
            "params": {**before.params, **self._redactor.mapping(details.get("params"))},
            "trainings": before.trainings + (self.takes_in_trainings and "framework" in said),
        }

    def epochs(self, total: int) -> Iterator[int]:
        """The epochs that a loop of one's own has yet to do, counted from 1: `for epoch in run.epochs(10):`.

        With `resume="auto"` they go on behind those of `checkpoint`. They end early where the platform wants the
        training to stop; several ranks are to loop so each, and leave the loop together.
        """
        done = (self.checkpoint.epoch or 0) if self.checkpoint else 0
        if self.state.total_epochs != total:
            self.started(total_epochs=total)
        self.resume_best(done)
        for epoch in range(done + 1, total + 1):
            yield epoch
            if self.stops_after(epoch):
                return

    def checkpoint_for_training(self) -> Restored | None:
        """What the framework's training that begins now, within this run, goes on from; None where it begins anew.

        Raises:
            CannotResume: if the run's checkpoint is of another training, which has begun after this one had; or whose
                it is can't be found out.
        """
        self._training_goes_on_from = None
        if self.checkpoint is None or self._claim is None:
            return None
        with resuming():  # a history that can't be read is no reason to begin anew
            attempts = read_history(self._claim.directory).attempts
            earlier = [training for one in attempts if one.number < self.attempt for training in one.state.trainings]
            begun = self.state.trainings
            if goes_on(next_training(begun, self.state.workflow.current), begun, earlier):
                self._training_goes_on_from = self.checkpoint
        return self._training_goes_on_from

    @property
    def _goes_on_from(self) -> Restored | None:
        """What is told as that; in a run that takes trainings in, each of them has its own."""
        return self._training_goes_on_from if self.takes_in_trainings else self.checkpoint

    def resume_best(self, epoch: int) -> None:
        """Know what was best in earlier attempts, up to that epoch: a resumed training need not improve on it."""
        if self._claim is None:
            return
        with guard("looking for the best so far"):
            for earlier in read_history(self._claim.directory).attempts:
                best = earlier.state.best_epoch
                if best is not None and best <= epoch:
                    self.state.best_epoch, self.state.best_metrics = best, earlier.state.best_metrics
            told = self.checkpoint.best if self.checkpoint else None
            if self.state.best_epoch is None and told is not None:  # the disk began empty; storage remembers
                self.state.best_epoch, self.state.best_metrics = told.epoch, told.metrics

    def note_iteration(self, done: int | None) -> None:
        """So many iterations are finished, where no event has told it: its end tells how far the work was."""
        self.state.iteration = max(self.state.iteration, done or 0)

    def hand_over(self) -> tuple[str, int] | None:
        """From now on, another process of this job tells in this one's stead: what `join_run` needs there.

        This process still opens and ends the run: with what the other has told, and with its failure if it failed.
        None for a silent run.
        """
        if self._claim is None:
            return None
        return str(self._claim.directory), self._claim.attempt

    @contextlib.contextmanager
    def heard_by_children(self, goes_on_from: Path | None = None) -> Iterator[None]:
        """Within this block, runs of processes that this one starts are told as part of this one (see `open_run`).

        `goes_on_from` is the restored checkpoint of a training whose other ranks they are: all go on from the same.
        """
        if self._claim is None:
            yield
            return
        with told_to_children(self._claim.directory, self.attempt, goes_on_from):
            yield

    def training_completed(self, metrics: Mapping[str, Any] | None = None) -> None:
        """A framework's training is over: so is the run, unless the training was part of it."""
        if not self.takes_in_trainings:
            self.complete(metrics)

    def training_ended_with(self, error: BaseException) -> None:
        """A framework's training was left by this error: so is the run, unless the training was part of it."""
        if not self.takes_in_trainings:
            self.end_with(error)
