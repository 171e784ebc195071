"""How a training begins to be told; and by trainer, those that have begun in this process."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from trainer_hooks.attempts import find_run_by_output
from trainer_hooks.integrations import Opener
from trainer_hooks.integrations.ultralytics.description import describe, output_dir
from trainer_hooks.integrations.ultralytics.own_clearml import stands_in, take_out
from trainer_hooks.integrations.ultralytics.training import Training
from trainer_hooks.shield import attempt

_LOGGER = "ultralytics"
trainings: weakref.WeakKeyDictionary[Any, Training] = weakref.WeakKeyDictionary()


def begin(trainer: Any, opener: Opener) -> Training:
    """Open the trainer's run and tell that it starts."""
    resumed = None
    folder = output_dir(trainer)
    if folder and getattr(trainer, "resume", False):
        resumed = attempt("looking for the resumed run", find_run_by_output, opener.settings.root, folder)
    # Where the host's own callback is at work, and nobody has asked for ours, the task is that one's.
    leave = opener.settings.clearml is None and attempt("looking for its ClearML callback", stands_in, trainer)
    told = trainings[trainer] = Training(opener(resumed=resumed, clearml=False if leave else None))
    if told.run.is_mirrored:
        attempt("taking its ClearML callback out", take_out, trainer)
    told.run.forward_logs(_LOGGER)
    told.run.started(**describe(trainer))
    return told


def for_known(handler: Callable[[Training, Any], None]) -> Callable[[Any], None]:
    """What is done at an announcement of the host's, of trainers whose training has begun."""

    def handle(trainer: Any) -> None:
        told = trainings.get(trainer)
        if told is not None:
            handler(told, trainer)

    return handle
