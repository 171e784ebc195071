"""Ultralytics: what a trainer does, told to a run.

`attach` wraps `BaseTrainer.__init__`, `.train`, `.run_callbacks` and `.save_metrics`. Nothing of ours stands in
`trainer.callbacks`: nothing is deep-copied or pickled, `reset_callbacks` can't remove it, and failures are seen, for
which Ultralytics has no callback. Where wrapping is not wanted, `callbacks()` gives the same translation for
`model.add_callback`; then a failure is seen from 8.4.130 on, and before that only when it leaves the script.

Here is who is told, and when; `training` has what is told, `beginning` and `description` what a run starts with.
Facts of the host that the code relies on stand beside it; versions 8.3.0 to 8.4.190 were run (docs/compatibility.md).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import ultralytics
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import dist

from trainer_hooks.clearml_task import is_mirrored
from trainer_hooks.errors import CannotResume
from trainer_hooks.integrations import Opener, warn_if_untested
from trainer_hooks.integrations.ultralytics import resume
from trainer_hooks.integrations.ultralytics.beginning import begin, for_known, trainings
from trainer_hooks.integrations.ultralytics.best import offer_best
from trainer_hooks.integrations.ultralytics.callback_set import callbacks
from trainer_hooks.integrations.ultralytics.launch import teach
from trainer_hooks.integrations.ultralytics.own_clearml import hold_back
from trainer_hooks.integrations.ultralytics.training import OF_EPOCHS, OF_ITERATIONS
from trainer_hooks.restore import Restored
from trainer_hooks.shield import Observer, Patch, followed, guard, observed, resuming

__all__ = ["attach", "callbacks"]

_restored: weakref.WeakKeyDictionary[Any, Restored] = weakref.WeakKeyDictionary()


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer of this process, also those of models that exist already."""
    warn_if_untested("ultralytics", ultralytics.__version__, "8.3.0", "8.4.190")
    handlers = {event: for_known(handler) for event, handler in OF_EPOCHS.items()}
    patches = [
        Patch(BaseTrainer, "__init__", observed(_Construction(opener))),
        Patch(BaseTrainer, "train", observed(_Working(opener, handlers))),
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
            begin(trainer, self._opener).run.training_ended_with(error)
            raise

    def _is_mirrored(self) -> bool:
        return is_mirrored(self._opener.settings, launched=self._opener.launched)

    def returned(self, *_: Any, **__: Any) -> None:
        self._held.pop()()

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        self.returned()
        begin(trainer, self._opener).run.training_ended_with(error)


class _Working(Observer):
    """`trainer.train()` is the training, from its call to its return or its exception."""

    def __init__(self, opener: Opener, handlers: dict[str, Callable[[Any], None]]) -> None:
        self._opener = opener
        self._handlers = handlers

    def before(self, trainer: Any, *_: Any, **__: Any) -> None:
        if trainer in _restored:
            with guard("resuming"):
                resume.settle(trainer, _restored[trainer])
        begin(trainer, self._opener).wrapped = True
        # Not before somebody wants them: an announcement of every batch that has no handler costs one look-up.
        if self._opener.settings.iteration_metrics:
            self._handlers.update({event: for_known(handler) for event, handler in OF_ITERATIONS.items()})

    def returned(self, _result: Any, trainer: Any, *_: Any, **__: Any) -> None:
        trainings[trainer].run.training_completed()

    def raised(self, error: BaseException, trainer: Any, *_: Any, **__: Any) -> None:
        trainings[trainer].run.training_ended_with(error)


class _Row(Observer):
    """What the host writes into results.csv: asking it for the losses once more would take as long as all of ours."""

    def before(self, trainer: Any, metrics: Mapping[str, Any]) -> None:
        told = trainings.get(trainer)
        if told is not None:
            told.row = metrics


class _Launch(Observer):
    """No wrapper of this process reaches those that the host launches, and up to 8.4.139 no callback does."""

    def returned(self, file: str, trainer: Any, *_: Any, **__: Any) -> None:
        place = trainings[trainer].run.hand_over() if trainer in trainings else None
        if place is not None:
            teach(Path(file), *place)
