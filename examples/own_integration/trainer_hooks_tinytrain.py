"""Tells trainer_hooks what tinytrain does: an integration in a package of its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import tinytrain

from trainer_hooks.integrations import Opener, warn_if_untested
from trainer_hooks.run import Run
from trainer_hooks.shield import Observer, Patch, followed, observed


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer; what is returned detaches again."""
    warn_if_untested("tinytrain", tinytrain.__version__, "1.0", "1.1")
    runs: weakref.WeakKeyDictionary[tinytrain.Trainer, Run] = weakref.WeakKeyDictionary()

    def epoch_ended(trainer: tinytrain.Trainer, *, epoch: int, loss: float) -> None:
        run = runs[trainer]
        run.log_metrics({"loss": loss}, epoch=epoch + 1)  # finished epochs: counted from 1
        trainer.stops = trainer.stops or run.should_stop

    patches = [
        Patch(tinytrain.Trainer, "fit", observed(Fitting(opener, runs))),
        Patch(tinytrain.Trainer, "save", observed(Saving(runs))),
        Patch(tinytrain.Trainer, "announce", followed({"epoch_end": epoch_ended})),
    ]

    def detach() -> None:
        while patches:
            patches.pop().undo()

    return detach


class Fitting(Observer):
    """`fit()`, from its call to its return or its exception."""

    def __init__(self, opener: Opener, runs: weakref.WeakKeyDictionary[tinytrain.Trainer, Run]) -> None:
        self.opener = opener
        self.runs = runs

    def before(self, trainer: tinytrain.Trainer, *_: object) -> None:
        run = self.runs[trainer] = self.opener()
        run.started(framework="tinytrain", total_epochs=trainer.epochs, output_dir=trainer.folder)

    def returned(self, _: None, trainer: tinytrain.Trainer, *__: object) -> None:
        self.runs[trainer].training_completed()

    def raised(self, error: BaseException, trainer: tinytrain.Trainer, *_: object) -> None:
        self.runs[trainer].training_ended_with(error)


class Saving(Observer):
    """`save()` has returned: the file is whole."""

    def __init__(self, runs: weakref.WeakKeyDictionary[tinytrain.Trainer, Run]) -> None:
        self.runs = runs

    def returned(self, path: str, trainer: tinytrain.Trainer, epoch: int) -> None:
        self.runs[trainer].log_checkpoint(path, epoch=epoch + 1)
