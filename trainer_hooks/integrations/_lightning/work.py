"""One work of a Trainer, a training, a validation, a test or a prediction: what its stages mean, told to its run."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer_hooks.events import Operation
from trainer_hooks.integrations._lightning.checkpoints import is_better, is_written_later, monitored, names_of
from trainer_hooks.integrations._lightning.description import epochs_to_come, output_folder
from trainer_hooks.integrations._lightning.measured import (
    finished,
    known,
    learning_rates,
    of_this_iteration,
    of_this_loop,
)
from trainer_hooks.run import Run
from trainer_hooks.shield import attempt

_log = logging.getLogger("trainer_hooks")


class Work:
    """One work, and how far it has been told."""

    def __init__(
        self, run: Run, operation: Operation, hear_iterations: Callable[[], None], goes_on_from: Path | None
    ) -> None:
        """`hear_iterations` has `iteration_ended` called from then on; `goes_on_from` is what has been restored."""
        self.run = run
        self.goes_on = True
        self.depth = 1
        """How many of the trainer's calls are inside each other."""
        self.distrust: Callable[[], None] | None = None
        """To be called once the checkpoint that it resumes from is loaded."""
        self._operation = operation
        self._hear_iterations = hear_iterations
        self._every = 0
        self._iterations = 0
        self._began = time.monotonic()
        self._latest: dict[str, Any] = {}
        self._judged: dict[str, Any] = {}
        self._is_best = False
        self._late: dict[str, dict[str, Any]] = {}
        self._strange: set[str] = set()
        self._until_the_end = contextlib.ExitStack()
        self._until_the_end.enter_context(run.heard_by_children(goes_on_from))  # ranks that Lightning launches

    @property
    def is_heard(self) -> bool:
        """Whether what is told of it goes anywhere."""
        return self.goes_on and self.run.is_heard

    def training_started(self, trainer: Any, **_: Any) -> None:
        """All is built now, and a checkpoint loaded, if there is one to resume from."""
        self._loaded(trainer)
        self._iterations = trainer.global_step
        if self.is_heard:
            self._tell_what_is_known_now(trainer)
        self.run.resume_best(trainer.current_epoch)
        self._every = self.run.settings.iteration_metrics
        if self._every:
            self._hear_iterations()

    def _tell_what_is_known_now(self, trainer: Any) -> None:
        """The number of epochs may depend on the data, and the folder of the checkpoints on the logger's."""
        epochs, folder = attempt("counting epochs", epochs_to_come, trainer), output_folder(trainer)
        told = self.run.state.started
        if told is None or (told.total_epochs, told.output_dir) != (epochs, folder):
            self.run.started(total_epochs=epochs, output_dir=folder)

    def epoch_started(self, _: Any, **__: Any) -> None:
        """An epoch begins."""
        self._began = time.monotonic()

    def iteration_ended(self, trainer: Any, **_: Any) -> None:
        """An optimizer's step is done, or a batch of those that are accumulated for one."""
        done = trainer.global_step
        if done == self._iterations or done % self._every:
            return
        self._iterations = done
        self.run.log_metrics({**of_this_iteration(trainer), **learning_rates(trainer)}, iteration=done)

    def epoch_ended(self, trainer: Any) -> None:
        """An epoch is over, its validation, too, and its checkpoint written; also on ranks that only stop with it."""
        done = trainer.current_epoch + 1
        if self.is_heard:
            metrics = {**of_this_loop(trainer), **self._judged, **learning_rates(trainer)}
            self._latest, self._judged = metrics, {}
            self.run.log_metrics(metrics, epoch=done, duration=time.monotonic() - self._began)
        if self.run.stops_after(done, world=trainer.world_size, one_machine=trainer.num_nodes == 1):
            trainer.should_stop = True

    def validation_started(self, _: Any, **__: Any) -> None:
        """A best checkpoint that is written from here on is of this validation."""
        self._is_best = False

    def validation_ended(self, trainer: Any, **_: Any) -> None:
        """A validation's result; the best checkpoint, if this is the best, has been written already."""
        if trainer.sanity_checking:
            return
        metrics = of_this_loop(trainer)
        point: Mapping[str, Any] = {}
        if self._operation == "training":
            self._judged = metrics
            best = self._is_best or attempt("comparing with the best", is_better, trainer, metrics)
            point = {**finished(trainer), "is_best": best}
        self._latest = {**self._latest, **metrics}
        primary = next((name for name in monitored(trainer) if name in metrics), None)
        self.run.log_validation(metrics, primary=primary, **point)

    def test_ended(self, trainer: Any, **_: Any) -> None:
        """A test's result."""
        self._latest = of_this_loop(trainer)
        self.run.log_validation(self._latest)

    def checkpoint_written(self, trainer: Any, path: Any) -> None:
        """A file, or one that is going to be."""
        place = os.path.abspath(os.fspath(path))  # noqa: PTH100 - a Path takes longer, and this is the training's time
        names = names_of(trainer, place)
        if not names:
            return
        self._is_best = self._is_best or "best" in names
        told = {"names": names, "metrics": known(trainer), **finished(trainer)}
        if is_written_later(trainer):
            self._late = {other: of for other, of in self._late.items() if of["names"] != names}
            self._late[place] = told
        elif os.path.exists(place):  # noqa: PTH110 - as above
            self.run.log_checkpoint(place, **told)
        else:
            self._say_once(f"checkpoints are not stored: {os.path.dirname(place)} is not on this machine")  # noqa: PTH120

    def completed(self, trainer: Any) -> None:
        """The work is over as it should; or by a Ctrl-C, of which Lightning said nothing before 2.4."""
        attempt("leaving the trainer", self._over, trainer)
        if trainer.interrupted:
            self.run.training_ended_with(KeyboardInterrupt())
            return
        # Where the host has spawned its processes, all that is known here is what it has brought back.
        self.run.training_completed(self._latest or attempt("reading the last metrics", known, trainer))

    def failed(self, trainer: Any, error: BaseException) -> None:
        """The work is over by this; of a Ctrl-C the host makes an exit."""
        attempt("leaving the trainer", self._over, trainer)
        self.run.note_iteration(attempt("asking how far it was", lambda: trainer.global_step or None))
        cause = error.__context__
        self.run.training_ended_with(cause if isinstance(cause, KeyboardInterrupt) else error)

    def _over(self, trainer: Any) -> None:
        self._loaded(trainer)
        for path, told in self._late.items():  # the host has waited for them
            if os.path.exists(path):  # noqa: PTH110
                self.run.log_checkpoint(path, **told)
        self._until_the_end.close()
        self.goes_on = False

    def _loaded(self, trainer: Any) -> None:
        if self.distrust is not None:
            self.distrust()
            self.distrust = None
            trainer.ckpt_path = None  # else the user's next `test` would begin with it

    def _say_once(self, message: str) -> None:
        if message not in self._strange:
            self._strange.add(message)
            _log.warning("%s", message)


STAGES: Mapping[str, Callable[..., None]] = {
    "on_train_start": Work.training_started,
    "on_train_epoch_start": Work.epoch_started,
    "on_validation_start": Work.validation_started,
    "on_validation_end": Work.validation_ended,
    "on_test_end": Work.test_ended,
}
"""What is done at which of the host's stages, once the user's callbacks have done theirs."""

ON_EVERY_RANK = frozenset({"on_train_start"})
"""Where ranks that tell nothing have something to do, too: each of them has loaded the checkpoint."""
