"""Frameworks, one file each: they translate what their host does into calls of `Run`, and do nothing else.

An integration is a module in this package (its name is the framework's), or an entry point in the group
`trainer_hooks.integrations` (docs/writing-an-integration.md). It imports its framework at its top and offers one
function:

    def attach(opener: Opener) -> Callable[[], None]

which attaches to the framework and returns what detaches again, restoring every original object.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
import pkgutil
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from trainer_hooks.errors import MissingPackage, UnknownFramework
from trainer_hooks.restore import Restored, is_launched_within_a_run, restore, restored_above
from trainer_hooks.run import Run, open_run, surrounding_run
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

_log = logging.getLogger("trainer_hooks")
_GROUP = "trainer_hooks.integrations"


class Opener(Protocol):
    """Opens a run with the settings that `autolog` was given."""

    settings: Settings

    @property
    def launched(self) -> bool:
        """Whether this process was launched by a run's own, and tells in that one's stead."""
        ...

    def restore(self) -> Restored | None:
        """What the next training goes on from, where the settings want it to resume; the run that is opened next knows.

        Raises:
            CannotResume: if that can't be found out; the shield lets it pass, out of the host's function.
        """
        ...

    def begin_anew(self) -> None:
        """What was restored is not gone on from after all."""
        ...

    def __call__(self, *, resumed: str | None = None, clearml: bool | None = None) -> Run:
        """Open a run; `resumed` is the id of the earlier one that it continues, `clearml` goes before the setting."""
        ...


class OwnOpener:
    """Opens runs with these settings, in the process that they are of."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._restored: Restored | None = None

    @property
    def launched(self) -> bool:
        """See `Opener`."""
        return False

    def restore(self) -> Restored | None:
        """See `Opener`. A training that is part of a run goes on from where that one does."""
        around = surrounding_run()
        if is_launched_within_a_run():
            self._restored = restored_above()
        elif around is not None:
            self._restored = around.checkpoint_for_training()
        else:
            self._restored = restore(self.settings) if self.settings.resumes else None
        return self._restored

    def begin_anew(self) -> None:
        """See `Opener`."""
        self._restored = None

    def __call__(self, *, resumed: str | None = None, clearml: bool | None = None) -> Run:
        """Open a run; see `Opener`."""
        restored, self._restored = self._restored, None
        around = surrounding_run()
        if around is not None:
            return around
        return open_run(self.settings, resumed=resumed, clearml=clearml, restored=restored)


def warn_if_untested(framework: str, version: str, oldest: str, newest: str) -> None:
    """Say it where the framework is outside of the versions that were tried (docs/compatibility.md); it goes on."""
    if not _numbers(oldest) <= _numbers(version) <= _numbers(newest):
        _log.warning(
            "%s %s is outside the tested range, %s to %s; it will probably work", framework, version, oldest, newest
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def known_frameworks() -> list[str]:
    """The names of all integrations, ours and those of entry points."""
    return sorted(_ours() | {point.name for point in _of_others()})


def find_attach(framework: str) -> Callable[[Opener], Callable[[], None]]:
    """The integration's `attach`.

    Raises:
        UnknownFramework: if there is no integration of that name.
        MissingPackage: if the framework isn't installed, or too old.
    """
    # Ours first: looking through all installed packages for entry points takes longer than the rest of `autolog`.
    if framework not in _ours() and framework not in known_frameworks():
        close = difflib.get_close_matches(framework, known_frameworks(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        message = f"no integration for {framework!r} (known: {', '.join(known_frameworks())}){hint}"
        raise UnknownFramework(message)
    try:
        return _load(framework)
    except ImportError as error:
        package = f"'trainer-hooks[{framework}]'" if framework in _ours() else framework
        mend = f"install it, or a newer one: pip install --upgrade {package}"
        message = f"{framework!r} can't be imported: {error}; {mend}"
        raise MissingPackage(message) from error


def _ours() -> set[str]:
    # What two integrations have in common begins with an underscore.
    return {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}


def _of_others() -> EntryPoints:
    from importlib.metadata import entry_points  # takes longer to import than all of ours, and is seldom needed

    return entry_points(group=_GROUP)


def _load(framework: str) -> Callable[[Opener], Callable[[], None]]:
    attach: Callable[[Opener], Callable[[], None]]
    if framework in _ours():
        attach = importlib.import_module(f"{__name__}.{framework}").attach
    else:
        attach = next(point for point in _of_others() if point.name == framework).load()
    return attach
