"""One work of a Runner, a training, a validation or a test: what its stages mean, told to its run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import IterBasedTrainLoop

from trainer_hooks.events import Operation
from trainer_hooks.integrations.mmengine.description import class_names, task, trained
from trainer_hooks.integrations.mmengine.scalars import TRAIN, Window, newest_validation
from trainer_hooks.run import Run
from trainer_hooks.shield import attempt

_log = logging.getLogger("trainer_hooks")
_LOG_INTERVAL = 10  # the host's default


class Work:
    """One work, and how far it has been told."""

    def __init__(
        self,
        run: Run,
        operation: Operation,
        hear_iterations: Callable[[], None],
        let_go: Callable[[], None] | None = None,
    ) -> None:
        """`hear_iterations` has `iteration_ended` called from then on; `let_go` is to be called when it is over."""
        self.run = run
        self.let_go = let_go or (lambda: None)
        self.distrust: Callable[[], None] = lambda: None
        """To be called once the checkpoint is loaded."""
        self.depth = 1
        """How many of the runner's calls are inside each other; 0 when it is over."""
        self.latest: dict[str, Any] = {}
        """The newest value of each metric: an epoch's and its validation's are told apart."""
        self._operation = operation
        self._hear_iterations = hear_iterations
        self._by_iteration = False
        self._every = 0
        self._began = time.monotonic()
        self._epoch: Window | None = None
        self._iterations: Window | None = None
        self._validating = False
        self._is_best = False
        self._loaded: dict[str, int | None] = {}
        self._keys: list[str] = []
        self._judging: dict[str, Any] = {}
        self._strange: set[str] = set()

    @property
    def is_heard(self) -> bool:
        """Whether it goes on, and what is told of it goes anywhere."""
        return self.depth > 0 and self.run.is_heard

    def training_started(self, runner: Any) -> None:
        """All is built now, and a checkpoint loaded, if there is one to resume from."""
        self.distrust()
        if getattr(runner, "_resume", False):
            self.run.resume_best(runner.epoch)
        self._by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        self._every = self.run.settings.iteration_metrics
        if self._by_iteration:
            # There are no epochs to tell: it is told when the host itself logs.
            self._every = self._every or _log_interval(runner)
        if self._every:
            self._iterations = Window(runner)
            self._hear_iterations()

    def epoch_started(self, runner: Any) -> None:
        """An epoch begins; where iterations are counted, the only one."""
        self._began = time.monotonic()
        self._epoch = Window(runner)

    def iteration_ended(self, runner: Any, **_: Any) -> None:
        """Every n-th iteration: what was measured since the one before. The host has read the losses itself."""
        done = runner.iter + 1
        if self._iterations is None or done % self._every:
            return
        if self.is_heard:
            self._tell_iterations(runner, self._iterations, done)
        if self._by_iteration:
            self._stop_if_asked(runner, done, self._every)

    def epoch_ended(self, runner: Any) -> None:
        """An epoch of training is over, and its checkpoint written; its validation is yet to come."""
        if self._by_iteration:
            return
        if self.is_heard:
            self._tell_epoch(runner)
        self._stop_if_asked(runner, runner.epoch + 1)

    def _tell_epoch(self, runner: Any) -> None:
        if self._epoch is None:
            return
        metrics = {**self._epoch.read(runner), **_memory()}
        self.latest.update(metrics)
        self.run.log_metrics(
            metrics,
            **self._point(runner),
            total_epochs=getattr(runner, "max_epochs", None),
            duration=time.monotonic() - self._began,
        )

    def training_ended(self, runner: Any) -> None:
        """What has been measured since the last telling is told, too."""
        if self._by_iteration and self._iterations is not None and runner.iter > self._iterations.begun:
            self._tell_iterations(runner, self._iterations, runner.iter)

    def validation_started(self, _: Any) -> None:
        """A best checkpoint that is written from here on is of this validation."""
        self._validating, self._is_best = True, False

    def validation_ended(self, _: Any) -> None:
        """The training goes on, if there is one."""
        self._validating = False

    def validated(self, runner: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """A validation's result; the best checkpoint, if this is the best, has been written already."""
        self._keys = self._keys or _keys(runner)
        primary = next(iter(self._keys), None)
        self._tell_result(runner, "val_dataloader", metrics or {}, is_best=self._is_best, primary=primary)

    def tested(self, runner: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """A test's result."""
        self._tell_result(runner, "test_dataloader", metrics or {})

    def checkpoint_loaded(self, _: Any, checkpoint: Mapping[str, Any]) -> None:
        """Where the model that is validated or tested comes from."""
        meta = checkpoint.get("meta") or {}
        epoch = meta.get("epoch")
        # A training that is counted in iterations leaves epoch 0.
        self._loaded = {"epoch": epoch} if epoch else {"iteration": meta.get("iter")}

    def checkpoint_written(self, runner: Any, path: str) -> None:
        """A file; CheckpointHook has just told the message hub under which names it knows it."""
        names = list(self._names(runner, path))
        if not names:  # somebody else's
            return
        self._is_best = self._is_best or "best" in names
        if not os.path.isfile(path):  # noqa: PTH113 - a Path takes longer, and this is the training's time
            folder = path.rpartition("/")[0]
            self._say_once(f"checkpoints are not stored: those of {folder} are no files on this machine")
            return
        measured = self._epoch.read(runner) if self._epoch is not None else {}
        judged = newest_validation(runner) if self._validating else {}
        self.run.log_checkpoint(path, names=names, metrics={**measured, **judged}, **self._point(runner))

    def failed(self, runner: Any, error: BaseException) -> None:
        """The work is over by this."""
        # Not `runner.iter`, which would build a train loop that isn't built yet.
        self.run.note_iteration(getattr(getattr(runner, "_train_loop", None), "iter", None))
        self.run.training_ended_with(error)

    def _tell_iterations(self, runner: Any, window: Window, done: int) -> None:
        metrics = {**window.read(runner), **_memory()}
        self.latest.update(metrics)
        self.run.log_metrics(metrics, iteration=done)
        window.begin_anew(done)

    def _stop_if_asked(self, runner: Any, done: int, step: int = 1) -> None:
        """Have the host leave its loop where the platform wants it, all ranks at the same point."""
        if self.run.stops_after(done, step, world=get_world_size()):
            runner.train_loop.stop_training = True

    def _tell_result(self, runner: Any, loader: str, metrics: Mapping[str, Any], **more: Any) -> None:
        self.latest.update(metrics)
        point = self._point(runner) if self._operation == "training" else self._loaded or trained(runner)
        if not self._judging:
            names = attempt("reading the class names", lambda: class_names(getattr(runner, loader).dataset))
            self._judging = {"task": task(runner), "class_names": names}
        self.run.log_validation(metrics, **self._judging, **point, **more)

    def _point(self, runner: Any) -> dict[str, int]:
        """How many epochs or iterations are finished.

        The runner counts up between its hooks; RuntimeInfoHook has noted the number of the one that runs, or ran last.
        """
        what, unit = ("iter", "iteration") if self._by_iteration else ("epoch", "epoch")
        running = runner.message_hub.runtime_info.get(what)
        return {unit: getattr(runner, what) + (not self._validating) if running is None else running + 1}

    def _names(self, runner: Any, path: str) -> Iterator[str]:
        """What it is stored as: "last"; "best" for the first metric, and "best_<metric>" where there are several."""
        known = runner.message_hub.runtime_info
        if known.get("last_ckpt") == path:
            yield "last"
        if known.get("best_ckpt") == path:
            yield "best"
        for place, key in enumerate(self._keys or _keys(runner)):
            if known.get(f"best_ckpt_{key}") == path:
                yield from ["best"] if place == 0 else []
                yield f"best_{key.replace('/', '_')}"

    def _say_once(self, message: str) -> None:
        if message not in self._strange:
            self._strange.add(message)
            _log.warning("%s", message)


STAGES: Mapping[str, Callable[..., None]] = {
    "after_load_checkpoint": Work.checkpoint_loaded,
    "before_train": Work.training_started,
    "before_train_epoch": Work.epoch_started,
    "after_train_epoch": Work.epoch_ended,
    "after_train": Work.training_ended,
    "before_val": Work.validation_started,
    "after_val_epoch": Work.validated,
    "after_val": Work.validation_ended,
    "after_test_epoch": Work.tested,
}
"""What is done at which of the host's stages, once its hooks have done theirs."""

ON_EVERY_RANK = frozenset({"before_train", "after_train_epoch", "after_train_iter"})
"""Where ranks that tell nothing have something to do, too: all of them stop together."""


def _memory() -> dict[str, int]:
    """The most GPU memory in use, in MB, as the host logs it: since its LoggerHook last looked, which resets it."""
    if not torch.cuda.is_available():
        return {}
    return {f"{TRAIN}memory": torch.cuda.max_memory_allocated() >> 20}


def _hook(runner: Any, kind: type) -> Any:
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)


def _log_interval(runner: Any) -> int:
    return int(getattr(_hook(runner, LoggerHook), "interval", 0)) or _LOG_INTERVAL


def _keys(runner: Any) -> list[str]:
    """The metrics that CheckpointHook keeps the best of, the first of them counts; "auto" is one after a validation."""
    hook = _hook(runner, CheckpointHook)
    return list(getattr(hook, "key_indicators", ())) if getattr(hook, "save_best", None) else []
