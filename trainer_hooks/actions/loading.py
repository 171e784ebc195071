"""Finds an action by the name that a user, or a plugin's file, gives it: "package.module:Class"."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from trainer_hooks.actions.action import BaseTrainAction, check_action
from trainer_hooks.errors import InvalidAction


def load_action(entrypoint: str, folder: Path | None = None) -> type[BaseTrainAction[Any]]:
    """The action of "package.module:Class", or "package.module.Class" as predecessor A writes it.

    Modules are looked for in `folder` first, by default the working directory. It stays in front of `sys.path`.

    Raises:
        InvalidAction: if there is no such module or class, it is no action, or one of the same name was loaded from
            elsewhere.
        Exception: what the module itself raises when it is imported.
    """
    module_name, _, name = entrypoint.partition(":") if ":" in entrypoint else entrypoint.rpartition(".")
    if not name or "" in module_name.split("."):
        message = f"{entrypoint!r} names no action; write it as module:Class"
        raise InvalidAction(message)
    module = _import(module_name, str((folder or Path()).absolute()), entrypoint)
    found = getattr(module, name, None)
    if found is None:
        message = f"{module_name} has no {name!r} (its actions: {', '.join(_actions_of(module)) or 'none'})"
        raise InvalidAction(message)
    return check_action(found, entrypoint)


def _actions_of(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseTrainAction) and value.__module__ == module.__name__
    ]


def _import(name: str, folder: str, entrypoint: str) -> Any:
    sys.path[:] = [folder, *(place for place in sys.path if place != folder)]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not _is_within(error.name, name):  # something that the module itself imports
            raise
        message = f"{entrypoint!r}: there is no module {error.name!r} in {folder}, nor among what is installed"
        raise InvalidAction(message) from error
    _check_origin(module, _origin_in(folder, name), entrypoint)
    return module


def _is_within(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _origin_in(folder: str, name: str) -> str | None:
    """The file in the folder that is the module of this name; None where it has none."""
    places, origin = [folder], None
    parts = name.split(".")
    for number in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), places)
        if spec is None:
            return None
        places, origin = list(spec.submodule_search_locations or ()), spec.origin
    return origin


def _check_origin(module: Any, wanted: str | None, entrypoint: str) -> None:
    """What was imported once isn't imported again, and a package goes before a mere folder."""
    loaded = getattr(module, "__file__", None)
    if wanted is not None and (loaded is None or os.path.realpath(loaded) != os.path.realpath(wanted)):
        message = (
            f"{entrypoint!r} is in {wanted}, but {module.__name__!r} was loaded from {loaded or 'Python itself'}: "
            f"rename one of the two, or run the action in a process of its own"
        )
        raise InvalidAction(message)
