"""Ultralytics: what a trainer does, told to a run.

`attach` wraps `BaseTrainer.__init__`, `.train`, `.run_callbacks` and `.save_metrics`. Nothing of ours stands in
`trainer.callbacks`: nothing is deep-copied or pickled, `reset_callbacks` can't remove it, and failures are seen, for
which Ultralytics has no callback. Where wrapping is not wanted, `callbacks()` gives the same translation for
`model.add_callback`; then a failure is seen from 8.4.130 on, and before that only when it leaves the script.

Facts of the host that the code relies on stand beside it; versions 8.3.0 to 8.4.190 were run (docs/compatibility.md).
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import ultralytics
from ultralytics.cfg import TASK2METRIC
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import dist

from trainer_hooks.attempts import find_run_by_output
from trainer_hooks.clearml_task import is_mirrored
from trainer_hooks.errors import CannotResume
from trainer_hooks.files import write_whole
from trainer_hooks.integrations import Opener, OwnOpener, warn_if_untested
from trainer_hooks.integrations.ultralytics import resume
from trainer_hooks.integrations.ultralytics.best import offer_best
from trainer_hooks.integrations.ultralytics.description import class_names, describe, output_dir, per_class
from trainer_hooks.integrations.ultralytics.own_clearml import hold_back, stands_in, take_out
from trainer_hooks.restore import Restored
from trainer_hooks.run import Run, load_settings
from trainer_hooks.settings import Settings
from trainer_hooks.shield import Observer, Patch, attempt, followed, guard, observed, resuming

_LOGGER = "ultralytics"
_told: weakref.WeakKeyDictionary[Any, _Told] = weakref.WeakKeyDictionary()
_restored: weakref.WeakKeyDictionary[Any, Restored] = weakref.WeakKeyDictionary()


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer of this process, also those of models that exist already."""
    warn_if_untested("ultralytics", ultralytics.__version__, "8.3.0", "8.4.190")
    handlers = {event: _for_known(handler) for event, handler in _OF_EPOCHS.items()}
    patches = [
        Patch(BaseTrainer, "__init__", observed(_Construction(opener))),
        Patch(BaseTrainer, "train", observed(_Training(opener, handlers))),
        Patch(BaseTrainer, "run_callbacks", followed(handlers)),
        Patch(BaseTrainer, "save_metrics", observed(_Row())),
        Patch(dist, "generate_ddp_file", observed(_Launch())),
    ]

    let_best_go = offer_best()

    def detach() -> None:
        let_best_go()
        while patches:
            patches.pop().undo()

    return detach


def callbacks() -> dict[str, Callable[[Any], None]]:
    """The translation as a set of callbacks, with settings from the environment.

        for event, function in callbacks().items():
            model.add_callback(event, function)

    The functions are stateless and of this module, so that Ultralytics can copy and pickle them. Beside `autolog` they
    do nothing.
    """
    functions = [on_train_start, on_train_epoch_start, on_model_save, on_fit_epoch_end, on_train_end, teardown]
    if Settings.load().iteration_metrics:
        functions.append(on_train_batch_end)
    return {function.__name__: function for function in functions}


def on_train_start(trainer: Any) -> None:
    """Callback: the training begins."""
    with guard("on_train_start"):
        told = _told.get(trainer)
        if told is None or (told.run.is_over and not told.wrapped):
            _begin(trainer, OwnOpener(load_settings()))
    _tell("on_train_start", trainer)


def on_train_epoch_start(trainer: Any) -> None:
    """Callback: an epoch begins, perhaps anew."""
    _tell("on_train_epoch_start", trainer)


def on_train_batch_end(trainer: Any) -> None:
    """Callback: an iteration is over."""
    _tell("on_train_batch_end", trainer)


def on_model_save(trainer: Any) -> None:
    """Callback: checkpoints have been written."""
    _tell("on_model_save", trainer)


def on_fit_epoch_end(trainer: Any) -> None:
    """Callback: an epoch is over, or the final validation."""
    _tell("on_fit_epoch_end", trainer)


def on_train_end(trainer: Any) -> None:
    """Callback: the training is over."""
    _tell("on_train_end", trainer)
    with guard("on_train_end"):
        told = _told.get(trainer)
        if told is not None and not told.wrapped:
            told.run.training_completed()


def teardown(trainer: Any) -> None:
    """Callback: the training is over, however; announced after a failure, too, from 8.4.130 on."""
    error = sys.exc_info()[1]  # the one on its way out, if any: the host announces this in a `finally`
    with guard("teardown"):
        told = _told.get(trainer)
        if error is not None and told is not None and not told.wrapped:
            told.run.training_ended_with(error)


def _tell(event: str, trainer: Any) -> None:
    with guard(event):
        told = _told.get(trainer)
        if told is not None and not told.wrapped:
            (_OF_EPOCHS | _OF_ITERATIONS)[event](told, trainer)


class _Construction(Observer):
    """A trainer that can't even be built, for a missing dataset say, is a training that failed."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._held: list[Callable[[], None]] = []  # one trainer may build another

    def before(self, trainer: Any, *arguments: Any, **options: Any) -> None:
        self._resume(trainer, resume.overrides_of(arguments, options))
        # It is now that the host gives the trainer its own callbacks.
        self._held.append(hold_back() if self._is_mirrored() else lambda: None)

    def _resume(self, trainer: Any, overrides: MutableMapping[str, Any] | None) -> None:
        if overrides is None or overrides.get("resume"):  # the user's own
            return
        try:
            restored = self._opener.restore()
            if restored is not None:
                with resuming():
                    if resume.point(overrides, restored):
                        _restored[trainer] = restored
                    else:
                        self._opener.begin_anew()
        except CannotResume as error:
            _begin(trainer, self._opener).run.training_ended_with(error)
            raise

    def _is_mirrored(self) -> bool:
        return is_mirrored(self._opener.settings, launched=self._opener.launched)

    def returned(self, *_: Any, **__: Any) -> None:
        self._held.pop()()

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        self.returned()
        _begin(trainer, self._opener).run.training_ended_with(error)


class _Training(Observer):
    """`trainer.train()` is the training, from its call to its return or its exception."""

    def __init__(self, opener: Opener, handlers: dict[str, Callable[[Any], None]]) -> None:
        self._opener = opener
        self._handlers = handlers

    def before(self, trainer: Any, *_: Any, **__: Any) -> None:
        if trainer in _restored:
            with guard("resuming"):
                resume.settle(trainer, _restored[trainer])
        _begin(trainer, self._opener).wrapped = True
        # Not before somebody wants them: an announcement of every batch that has no handler costs one look-up.
        if self._opener.settings.iteration_metrics:
            self._handlers.update({event: _for_known(handler) for event, handler in _OF_ITERATIONS.items()})

    def returned(self, _result: Any, trainer: Any, *_: Any, **__: Any) -> None:
        _told[trainer].run.training_completed()

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        _told[trainer].run.training_ended_with(error)


class _Row(Observer):
    """What the host writes into results.csv: asking it for the losses once more would take as long as all of ours."""

    def before(self, trainer: Any, metrics: Mapping[str, Any]) -> None:
        told = _told.get(trainer)
        if told is not None:
            told.row = metrics


class _Launch(Observer):
    """A multi-GPU training happens in processes that Ultralytics launches from a file it writes: they tell, too.

    No wrapper of this process reaches them, and up to 8.4.139 no callback does.
    """

    def returned(self, file: str, trainer: Any, *_: Any, **__: Any) -> None:
        place = _told[trainer].run.hand_over() if trainer in _told else None
        if place is not None:
            path = Path(file)
            write_whole(path, _taught(path.read_text(encoding="utf-8"), *place).encode())


def _taught(program: str, directory: str, attempt: int) -> str:
    """The launched program with a line of ours, behind the one that makes our package importable there."""
    ours = (
        "    with __import__('contextlib').suppress(Exception):\n"
        f"        __import__('trainer_hooks.autologging').autologging.join({_LOGGER!r}, {directory!r}, {attempt})\n"
    )
    lines = program.splitlines(keepends=True)
    starts = ("    sys.path =", "if __name__")
    behind = next(
        (place for start in starts for place, line in enumerate(lines, 1) if line.startswith(start)), len(lines)
    )
    return "".join([*lines[:behind], ours, *lines[behind:]])


def _begin(trainer: Any, opener: Opener) -> _Told:
    """Open the trainer's run and tell that it starts."""
    resumed = None
    folder = output_dir(trainer)
    if folder and getattr(trainer, "resume", False):
        resumed = attempt("looking for the resumed run", find_run_by_output, opener.settings.root, folder)
    # Where the host's own callback is at work, and nobody has asked for ours, the task is that one's.
    leave = opener.settings.clearml is None and attempt("looking for its ClearML callback", stands_in, trainer)
    told = _told[trainer] = _Told(opener(resumed=resumed, clearml=False if leave else None))
    if told.run.is_mirrored:
        attempt("taking its ClearML callback out", take_out, trainer)
    told.run.forward_logs(_LOGGER)
    told.run.started(**describe(trainer))
    return told


def _for_known(handler: Callable[[_Told, Any], None]) -> Callable[[Any], None]:
    def handle(trainer: Any) -> None:
        told = _told.get(trainer)
        if told is not None:
            handler(told, trainer)

    return handle


class _Told:
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
_OF_EPOCHS: dict[str, Callable[[_Told, Any], None]] = {
    "on_train_start": _Told.training_started,
    "on_train_epoch_start": _Told.epoch_started,
    "on_model_save": _Told.checkpoints_written,
    "on_fit_epoch_end": _Told.epoch_ended,
    "on_train_end": _Told.training_ended,
}
_OF_ITERATIONS: dict[str, Callable[[_Told, Any], None]] = {"on_train_batch_end": _Told.batch_ended}


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
