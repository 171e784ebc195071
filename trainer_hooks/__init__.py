"""Tells a platform everything a training job does: one line before the model is created.

    import trainer_hooks
    trainer_hooks.autolog("ultralytics")

Importing this package costs next to nothing: what is named here is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_hooks.lazy import attributes

if TYPE_CHECKING:
    from trainer_hooks.autologging import Autolog, autolog
    from trainer_hooks.errors import ErrorType, TrainerHooksError
    from trainer_hooks.integrations.mmengine import TrainerHook as TrainerHook
    from trainer_hooks.run import Run, current_run, get_checkpoint, start_run

__version__ = "0.1.0"
__all__ = [
    "Autolog",
    "ErrorType",
    "Run",
    "TrainerHooksError",
    "__version__",
    "autolog",
    "current_run",
    "get_checkpoint",
    "start_run",
]

_HOMES = {
    "Autolog": "autologging",
    "autolog": "autologging",
    "ErrorType": "errors",
    "TrainerHooksError": "errors",
    "TrainerHook": "integrations.mmengine",  # for configs; not in __all__, for it needs MMEngine
    "Run": "run",
    "current_run": "run",
    "get_checkpoint": "run",
    "start_run": "run",
}


__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
