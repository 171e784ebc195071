"""Lightning: what a Trainer does, told to a run. Two packages hold the same framework; each has its own `Wrapping`.

It wraps `Trainer.fit`, `validate`, `test` and `predict` for the work and how it ends; `_call_callback_hooks`, by which
Lightning announces what happens in it; `save_checkpoint` for the moment when a file is whole; and the connector's
`update_train_epoch_metrics`, before which all ranks have computed an epoch's metrics: asking for them earlier would be
a collective operation in which the others take no part. No callback of ours is put among the user's: a trainer is
pickled where its processes are spawned, and its callbacks are part of its checkpoints.

Here is who is told, and when; `work` has what is told, `checkpoints` under which names a file is known, `measured`
reads the host's metrics, and `description` what a run starts with.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer_hooks.attempts import find_run_by_output
from trainer_hooks.errors import CannotResume
from trainer_hooks.events import Operation
from trainer_hooks.integrations import Opener, warn_if_untested
from trainer_hooks.integrations._lightning.description import describe, folder_of, given_checkpoint
from trainer_hooks.integrations._lightning.work import ON_EVERY_RANK, STAGES, Work
from trainer_hooks.settings import trust_checkpoints
from trainer_hooks.shield import Observer, Patch, attempt, followed, observed

_log = logging.getLogger("trainer_hooks")
_METHODS: dict[str, Operation] = {
    "fit": "training",
    "validate": "validation",
    "test": "test",
    "predict": "inference",
}
_ITERATION = "on_train_batch_end"


class Wrapping:
    """One package's trainers, wrapped."""

    def __init__(self, package: Any) -> None:
        self.opener: Opener | None = None
        self.works: weakref.WeakKeyDictionary[Any, Work] = weakref.WeakKeyDictionary()
        self._package = package
        self._patches: list[Patch] = []
        self._handlers: dict[str, Callable[..., None]] = {}

    def attach(self, opener: Opener, name: str, *, other: str) -> Callable[[], None]:
        """Wrap them; `other` is the package that a script may have meant."""
        warn_if_untested(name, self._package.__version__, "2.2.0", "2.6.6")
        self._warn_of(other)
        self.opener = opener
        self._handlers.update({stage: self._for_known(stage, handler) for stage, handler in STAGES.items()})
        inside, trainer = self._package.trainer, self._package.Trainer
        connector = inside.connectors.logger_connector.logger_connector._LoggerConnector  # noqa: SLF001
        self._patches += [
            Patch(inside.call, "_call_callback_hooks", followed(self._handlers)),
            Patch(connector, "update_train_epoch_metrics", observed(_EpochEnding(self))),
            Patch(trainer, "save_checkpoint", observed(_Saving(self))),
            *(Patch(trainer, name, observed(_Working(self, kind))) for name, kind in _METHODS.items()),
        ]
        return self._detach

    def hear_iterations(self) -> None:
        """From now on; not before somebody wants them: without a handler, an announcement costs one look-up."""
        self._handlers[_ITERATION] = self._for_known(_ITERATION, Work.iteration_ended)

    def _detach(self) -> None:
        self.opener = None
        self._handlers.clear()
        while self._patches:
            self._patches.pop().undo()

    def _warn_of(self, other: str) -> None:
        """The two packages know nothing of each other: a trainer of the one is told nothing of by the other's."""
        framework = other.partition(".")[0]
        if other in sys.modules and f"{__package__.rpartition('.')[0]}.{framework}" not in sys.modules:
            _log.warning(
                'this script has imported %s, too: trainers of that package are recorded with autolog("%s")',
                other,
                framework,
            )

    def _for_known(self, stage: str, handler: Callable[..., None]) -> Callable[..., None]:
        everywhere = stage in ON_EVERY_RANK

        def handle(trainer: Any, *_: Any, **announced: Any) -> None:
            work = self.works.get(trainer)
            if work is not None and (work.is_heard or (everywhere and work.goes_on)):
                handler(work, trainer, **announced)

        return handle


class _Working(Observer):
    """`trainer.fit()` and its like, from its call to its return or its exception."""

    def __init__(self, wrapping: Wrapping, operation: Operation) -> None:
        self._wrapping = wrapping
        self._operation = operation

    def before(self, trainer: Any, model: Any = None, *more: Any, **options: Any) -> None:
        opener, works = self._wrapping.opener, self._wrapping.works
        if trainer in works:  # a test within a training, say: it belongs to that
            works[trainer].depth += 1
            return
        if opener is None:
            return
        trains = self._operation == "training"
        checkpoint = given_checkpoint(trainer, more, options) if trains else None
        restored = self._resume(trainer, model, opener) if trains and not checkpoint else None
        self._begin(trainer, model, opener, checkpoint, restored)
        if restored is not None:
            # The host's checkpoints hold more than weights; this one is our own, verified.
            works[trainer].distrust = trust_checkpoints()

    def returned(self, _: Any, trainer: Any, *__: Any, **___: Any) -> None:
        work = self._left(trainer)
        if work is not None:
            work.completed(trainer)

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        work = self._left(trainer)
        if work is not None:
            work.failed(trainer, error)

    def _left(self, trainer: Any) -> Work | None:
        """The work that the trainer has left by its outermost call; None where it goes on."""
        work = self._wrapping.works.get(trainer)
        if work is None:
            return None
        work.depth -= 1
        return None if work.depth else self._wrapping.works.pop(trainer)

    def _resume(self, trainer: Any, model: Any, opener: Opener) -> Path | None:
        """With `resume="auto"`: have the host go on from the run's newest checkpoint."""
        try:
            restored = opener.restore()
        except CannotResume as error:
            self._begin(trainer, model, opener)
            self._wrapping.works.pop(trainer).failed(trainer, error)
            raise
        if restored is None:
            return None
        trainer.ckpt_path = str(restored.path)
        return restored.path

    def _begin(
        self, trainer: Any, model: Any, opener: Opener, checkpoint: str | None = None, restored: Path | None = None
    ) -> None:
        """Open the trainer's run and tell that its work starts."""
        folder = folder_of(checkpoint) if checkpoint else None
        resumed = (
            attempt("looking for the resumed run", find_run_by_output, opener.settings.root, folder) if folder else None
        )
        run = opener(resumed=resumed)
        run.let_host_end_the_process()
        self._wrapping.works[trainer] = Work(run, self._operation, self._wrapping.hear_iterations, restored)
        if run.is_heard:
            described = attempt("describing the trainer", describe, trainer, model, self._operation) or {}
            run.started(operation=self._operation, resumed_from=checkpoint, **described)


class _EpochEnding(Observer):
    """An epoch is over, its validation, too, and what was measured in it is computed."""

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping

    def before(self, connector: Any) -> None:
        work = self._wrapping.works.get(connector.trainer)
        if work is not None and work.goes_on:
            work.epoch_ended(connector.trainer)


class _Saving(Observer):
    """`save_checkpoint` has returned: the file is there, whole, unless the host writes it in the background."""

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping

    def returned(self, _: Any, trainer: Any, filepath: Any, *__: Any, **___: Any) -> None:
        work = self._wrapping.works.get(trainer)
        if work is not None and work.is_heard:
            work.checkpoint_written(trainer, filepath)
