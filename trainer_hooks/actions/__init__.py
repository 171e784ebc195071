"""Actions: a training as a platform starts it, with its parameters, its steps and its result.

    from trainer_hooks.actions import BaseTrainAction, BaseTrainParams

    class MyTrainAction(BaseTrainAction[MyParams]):
        def execute(self) -> dict:
            ...

Importing this package costs next to nothing: what is named here is loaded when it is first used. Needs the extra
`actions` (pydantic).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_hooks.lazy import attributes

if TYPE_CHECKING:
    from trainer_hooks.actions.action import BaseTrainAction
    from trainer_hooks.actions.backends import BackendClient, open_backend
    from trainer_hooks.actions.context import RuntimeContext
    from trainer_hooks.actions.loading import load_action
    from trainer_hooks.actions.params import BaseTrainParams
    from trainer_hooks.actions.progress import TrainProgressCategories
    from trainer_hooks.actions.running import run_action
    from trainer_hooks.actions.steps.base import BaseStep, StepResult
    from trainer_hooks.actions.steps.context import BaseStepContext, TrainContext
    from trainer_hooks.actions.steps.registry import StepRegistry

__all__ = [
    "BackendClient",
    "BaseStep",
    "BaseStepContext",
    "BaseTrainAction",
    "BaseTrainParams",
    "RuntimeContext",
    "StepRegistry",
    "StepResult",
    "TrainContext",
    "TrainProgressCategories",
    "load_action",
    "open_backend",
    "run_action",
]

_HOMES = {
    "BackendClient": "backends",
    "BaseStep": "steps.base",
    "BaseStepContext": "steps.context",
    "BaseTrainAction": "action",
    "BaseTrainParams": "params",
    "RuntimeContext": "context",
    "StepRegistry": "steps.registry",
    "StepResult": "steps.base",
    "TrainContext": "steps.context",
    "TrainProgressCategories": "progress",
    "load_action": "loading",
    "open_backend": "backends",
    "run_action": "running",
}


__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
