"""What a trial is to do, in a form that any process of any node can be handed; and where its action is found again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.action import BaseTrainAction
from trainer_hooks.errors import InvalidAction
from trainer_hooks.settings import Settings


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What all trials of a search have in common. `root` is where their runs are kept, `folder` where logs are."""

    parent: str
    entrypoint: str
    sys_path: list[str]
    directory: str
    params: dict[str, Any]
    settings: Settings
    metric: str
    mode: str
    folder: str

    def run_id(self, number: int) -> str:
        """The id of that trial's run."""
        return f"{self.parent}-trial-{number}"


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One trial's work, as it goes to its process."""

    parent: str
    entrypoint: str
    sys_path: list[str]
    params: dict[str, Any]


def entrypoint_of(action: type[BaseTrainAction[Any]]) -> str:
    """By which "module:Class" another process finds the action.

    Raises:
        InvalidAction: if no other process can find it.
    """
    module = action.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec else Path(file).stem if file else ""
    if not module or "<locals>" in action.__qualname__:
        message = (
            f"{action.__qualname__} can't be imported by the processes of its trials; define it at the top of a module"
        )
        raise InvalidAction(message)
    return f"{module}:{action.__qualname__}"


def import_path() -> list[str]:
    """Where this process looks for modules, for another one to do so, too."""
    return [str(Path(place).absolute()) for place in sys.path]
