"""What a trainer does, told by callbacks of the host's, for those who don't want anything wrapped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from trainer_hooks.integrations import OwnOpener
from trainer_hooks.integrations.ultralytics.beginning import begin, trainings
from trainer_hooks.integrations.ultralytics.training import OF_EPOCHS, OF_ITERATIONS
from trainer_hooks.run import load_settings
from trainer_hooks.settings import Settings
from trainer_hooks.shield import guard


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
        told = trainings.get(trainer)
        if told is None or (told.run.is_over and not told.wrapped):
            begin(trainer, OwnOpener(load_settings()))
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
        told = trainings.get(trainer)
        if told is not None and not told.wrapped:
            told.run.training_completed()


def teardown(trainer: Any) -> None:
    """Callback: the training is over, however; announced after a failure, too, from 8.4.130 on."""
    error = sys.exc_info()[1]  # the one on its way out, if any: the host announces this in a `finally`
    with guard("teardown"):
        told = trainings.get(trainer)
        if error is not None and told is not None and not told.wrapped:
            told.run.training_ended_with(error)


def _tell(event: str, trainer: Any) -> None:
    with guard(event):
        told = trainings.get(trainer)
        if told is not None and not told.wrapped:
            (OF_EPOCHS | OF_ITERATIONS)[event](told, trainer)
