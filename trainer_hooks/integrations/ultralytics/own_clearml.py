"""Ultralytics' own ClearML callback, kept from trainers whose run is mirrored: there would be two of everything.

It is chosen when a trainer is built, by a setting that is True by default. An ordinary assignment to that would rewrite
the user's settings file, and so would one to any other while it stands there: so it stands there for that moment only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ultralytics.utils import SETTINGS

_log = logging.getLogger("trainer_hooks")
_SETTING = "clearml"
_MODULE = "ultralytics.utils.callbacks.clearml"


def hold_back() -> Callable[[], None]:
    """Keep it from trainers that are built until what is returned is called."""
    found = SETTINGS.get(_SETTING)
    _set(value=False)
    # Older versions ask the setting when this is first imported, and never again.
    module = sys.modules.get(_MODULE)
    callbacks = getattr(module, "callbacks", None)
    if callbacks:
        vars(module)["callbacks"] = {}
    if found and find_spec("clearml"):
        _log.warning("the run is mirrored to ClearML by trainer_hooks; Ultralytics' own ClearML callback is left out")

    def let_go() -> None:
        _set(value=found)
        if module is None:
            sys.modules.pop(_MODULE, None)
        elif callbacks:
            vars(module)["callbacks"] = callbacks

    return let_go


def stands_in(trainer: Any) -> bool:
    """Whether the trainer has it."""
    return any(_is_own(callback) for callbacks in _callbacks(trainer) for callback in callbacks)


def take_out(trainer: Any) -> None:
    """Leave it out of the trainer: one that was built before, or, in older versions, has a model's callbacks."""
    for callbacks in _callbacks(trainer):
        callbacks[:] = [callback for callback in callbacks if not _is_own(callback)]


def _callbacks(trainer: Any) -> list[list[Any]]:
    return list((getattr(trainer, "callbacks", None) or {}).values())


def _is_own(callback: Any) -> bool:
    return getattr(callback, "__module__", None) == _MODULE


def _set(*, value: object) -> None:
    dict.__setitem__(SETTINGS, _SETTING, value)  # SETTINGS' own way would write the file
