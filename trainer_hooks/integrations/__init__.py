"""Frameworks, one file each: they translate what their host does into calls of `Run`, and do nothing else.

An integration is a module in this package (its name is the framework's), or an entry point in the group
`trainer_hooks.integrations`. It imports its framework at its top and offers one function:

    def attach(open_run: Opener) -> Callable[[], None]

which attaches to the framework and returns what detaches again, restoring every original object.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Protocol

from trainer_hooks.errors import MissingPackage, UnknownFramework
from trainer_hooks.run import Run
from trainer_hooks.settings import Settings

_GROUP = "trainer_hooks.integrations"


class Opener(Protocol):
    """Opens a run with the settings that `autolog` was given."""

    settings: Settings

    def __call__(self, *, resumed: str | None = None) -> Run:
        """Open a run; `resumed` is the id of the earlier one that it continues."""
        ...


def known_frameworks() -> list[str]:
    """The names of all integrations, ours and those of entry points."""
    ours = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(ours | {point.name for point in importlib.metadata.entry_points(group=_GROUP)})


def find_attach(framework: str) -> Callable[[Opener], Callable[[], None]]:
    """The integration's `attach`.

    Raises:
        UnknownFramework: if there is no integration of that name.
        MissingPackage: if the framework isn't installed.
    """
    if framework not in known_frameworks():
        close = difflib.get_close_matches(framework, known_frameworks(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        message = f"no integration for {framework!r} (known: {', '.join(known_frameworks())}){hint}"
        raise UnknownFramework(message)
    try:
        return _load(framework)
    except ModuleNotFoundError as error:
        message = f"{framework!r} can't be imported: {error}; install it, or: pip install 'trainer-hooks[{framework}]'"
        raise MissingPackage(message) from error


def _load(framework: str) -> Callable[[Opener], Callable[[], None]]:
    for point in importlib.metadata.entry_points(group=_GROUP, name=framework):
        attach: Callable[[Opener], Callable[[], None]] = point.load()
        return attach
    found: Callable[[Opener], Callable[[], None]] = importlib.import_module(f"{__name__}.{framework}").attach
    return found
