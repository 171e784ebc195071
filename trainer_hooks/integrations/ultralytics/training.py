"""One training: what a trainer has measured and written, told to its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg import TASK2METRIC

from trainer_hooks.integrations.ultralytics.description import class_names, per_class
from trainer_hooks.run import Run
from trainer_hooks.shield import attempt


class Training:
    """One training, and how far it has been told."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.wrapped = False
        self._class_names: list[str] = []
        self._in_epoch = False
        self._iteration = 0
        self.row: Mapping[str, Any] | None = None
        """All that the host has measured in the epoch, by its own names, once it has said so."""
        self._measured: dict[str, Any] | None = None

    def training_started(self, trainer: Any) -> None:
        """The data is known now, and where a resumed training goes on."""
        self._class_names = class_names(trainer)
        if getattr(trainer, "resume", False):
            self.run.resume_best(trainer.start_epoch)

    def epoch_started(self, trainer: Any) -> None:
        """An epoch begins; anew, where the host goes on with smaller batches or from before a NaN."""
        self._in_epoch = True
        self.row = self._measured = None
        if self.run.settings.iteration_metrics:
            self._iteration = int(trainer.epoch) * len(trainer.train_loader)

    def _metrics(self, trainer: Any) -> dict[str, Any]:
        """All that was measured in the epoch: mean losses by name, learning rates, and what the validation gave."""
        if self._measured is None:
            # No row among `callbacks`, or where a trainer of the user's writes no results.csv.
            row = self.row or {**_losses(trainer, trainer.tloss), **trainer.lr, **(trainer.metrics or {})}
            self._measured = _cleaned(row)
            if trainer.fitness is not None:
                self._measured["fitness"] = trainer.fitness
            else:  # with val=False the host's metrics are zeros that nobody has measured
                for name in _cleaned(trainer.metrics):
                    self._measured.pop(name, None)
        return self._measured

    def batch_ended(self, trainer: Any) -> None:
        """Every n-th iteration: its losses. The host has just printed them, so that reading them makes nobody wait."""
        every = self.run.settings.iteration_metrics
        self._iteration += 1
        if every and self._iteration % every == 0:
            self.run.log_metrics(_losses(trainer, trainer.loss_items), iteration=self._iteration)

    def checkpoints_written(self, trainer: Any) -> None:
        """`last`, and with the same bytes `best` where the fitness is the best, have just been written, whole."""
        # The host's own condition: without validation both are None, and best.pt is written each time.
        names = ["last", "best"] if trainer.best_fitness == trainer.fitness else ["last"]
        if _is_periodic(trainer):
            names.append(f"epoch_{_epoch(trainer)}")
        self.run.log_checkpoint(trainer.last, names=names, epoch=_epoch(trainer), metrics=self._metrics(trainer))

    def epoch_ended(self, trainer: Any) -> None:
        """An epoch is over; or, announced by the same name, the final validation of the best checkpoint.

        The final one is the one that no epoch has begun for. Its epoch is the last one again (up to 8.4.50) or one more
        (from 8.4.60), and its fitness the last epoch's.
        """
        metrics = _cleaned(trainer.metrics)
        if not self._in_epoch:
            self._final_validation(trainer, metrics)
            return
        self._in_epoch = False
        epoch = _epoch(trainer)
        self.run.log_metrics(
            self._metrics(trainer),
            epoch=epoch,
            total_epochs=max(epoch, int(trainer.epochs)),  # with time=…, the host guesses anew after every epoch
            duration=getattr(trainer, "epoch_time", None),
        )
        if trainer.fitness is not None:
            is_best = trainer.best_fitness == trainer.fitness
            self.run.log_validation(metrics, epoch=epoch, is_best=is_best, **self._judged(trainer, metrics))
        if self.run.should_stop:  # heeded right behind this announcement; rank 0 tells the others
            trainer.stop = True

    def training_ended(self, trainer: Any) -> None:
        """The best checkpoint has been stripped for use and validated: this is its final state.

        `last` has been stripped, too, but stays stored as it was written: the stripped one can't be resumed from.
        """
        best = Path(trainer.best)
        if self._has_best(trainer) and best.exists():
            epoch, metrics = self.run.state.best_epoch, _cleaned(trainer.metrics)
            self.run.log_checkpoint(best, names=["best"], epoch=epoch, metrics=metrics, final=True)
        for image in _images(trainer):
            self.run.log_image(image)

    def _final_validation(self, trainer: Any, metrics: dict[str, Any]) -> None:
        state = self.run.state
        if self._has_best(trainer):
            self.run.log_validation(
                metrics,
                epoch=state.best_epoch or state.epoch,
                final=True,
                per_class=attempt("reading the metrics per class", per_class, trainer.validator),
                **self._judged(trainer, metrics),
            )

    def _judged(self, trainer: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
        task = trainer.args.task
        primary = TASK2METRIC.get(task)
        return {
            "task": task,
            "primary": primary if primary in metrics else None,
            "class_names": self._class_names,
        }

    def _has_best(self, trainer: Any) -> bool:
        """Whether best.pt is this training's own; in a folder used again (exist_ok=True) an older one may lie there."""
        return "best" in self.run.state.saved or bool(getattr(trainer, "resume", False))


def _images(trainer: Any) -> list[Path]:
    """What the host has drawn: its plots, and its pictures of batches; the newest of the same name."""
    drawn = [*getattr(trainer, "plots", ()), *getattr(trainer.validator, "plots", ())]
    return [path for path in dict.fromkeys(map(Path, drawn)) if path.is_file()]


# What is done at which announcement of the host's.
OF_EPOCHS: dict[str, Callable[[Training, Any], None]] = {
    "on_train_start": Training.training_started,
    "on_train_epoch_start": Training.epoch_started,
    "on_model_save": Training.checkpoints_written,
    "on_fit_epoch_end": Training.epoch_ended,
    "on_train_end": Training.training_ended,
}
OF_ITERATIONS: dict[str, Callable[[Training, Any], None]] = {"on_train_batch_end": Training.batch_ended}


def _epoch(trainer: Any) -> int:
    """How many epochs are finished when this one is; the host counts from 0."""
    return int(trainer.epoch) + 1


def _is_periodic(trainer: Any) -> bool:
    """Whether `save_period` has kept this epoch's checkpoint, as epoch<N>.pt, N counted from 0; never rewritten."""
    period = getattr(trainer, "save_period", -1)
    # The file is looked for: versions before 8.3 keep none of the first epoch.
    return period > 0 and trainer.epoch % period == 0 and Path(trainer.wdir, f"epoch{trainer.epoch}.pt").exists()


def _losses(trainer: Any, items: Any) -> dict[str, float]:
    """The losses by name, as plain numbers: the host's own way, since they are a tensor or a dict, by version."""
    return {} if items is None else _cleaned(trainer.label_loss_items(items, prefix="train"))


def _cleaned(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """By names without the blanks that older versions pad them with."""
    return {str(name).strip(): value for name, value in (metrics or {}).items()}
