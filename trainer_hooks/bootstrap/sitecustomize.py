"""Lies on the path of every Python below `trainer-hooks run`, and attaches to the frameworks that it imports.

A process that imports none of them pays for a look at each import's name and nothing else; one that does gets `autolog`
at the moment when the host itself has imported all that the integration needs, so that nothing is imported early.

This module is the child's `sitecustomize`: it loads the one that it hides, and takes itself off `sys.path` again.
"""

from __future__ import annotations

import importlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs each process below more than all of this module
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_OLDEST = (3, 10)


class Watch:
    """A finder that finds nothing itself: it hears of the end of the imports that it waits for.

    `awaited` are modules with the framework that each belongs to, which has the same name as its first module.
    """

    def __init__(self, awaited: Mapping[str, str]) -> None:
        self._awaited = dict(awaited)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find; a module that is waited for tells when it has been executed."""
        if name not in self._awaited:
            return None
        finders = list(sys.meta_path)
        # Only those behind: another watch in front of this one is asking right now.
        for finder in finders[finders.index(self) + 1 :] if self in finders else ():
            if hasattr(finder, "find_spec"):
                spec: ModuleSpec | None = finder.find_spec(name, path, target)
                if spec is not None:
                    self._listen(spec)
                    return spec
        return None

    def _listen(self, spec: ModuleSpec) -> None:
        loader, execute = spec.loader, getattr(spec.loader, "exec_module", None)
        if execute is None or not hasattr(loader, "__dict__") or isinstance(loader, type):
            return

        def exec_module(module: ModuleType) -> None:
            # The module keeps its own loader, as it was: hosts read resources and sources through it.
            vars(loader).pop("exec_module", None)
            execute(module)
            self._imported(spec.name)

        vars(loader)["exec_module"] = exec_module

    def _imported(self, name: str) -> None:
        framework = self._awaited.pop(name, None)
        if framework is None:
            return
        try:
            from trainer_hooks.shield import guard
        except ImportError:
            sys.stderr.write(f"trainer_hooks is not installed for {sys.executable}: {framework} is not recorded\n")
            return
        with guard(f"attaching to {framework}"):
            from trainer_hooks import bootstrap

            if name == framework:
                self._awaited.update(dict.fromkeys(bootstrap.still_missing(framework), framework))
            if framework not in self._awaited.values():
                bootstrap.attach(framework)


def _watch() -> None:
    # Every process below would pay for the import of trainer_hooks.settings.
    names = os.environ.get("TRAINER_HOOKS_AUTOLOG", "").split(",")  # noqa: TID251
    frameworks = [name.strip() for name in names if name.strip()]
    if frameworks and sys.version_info >= _OLDEST:
        sys.meta_path.insert(0, Watch({framework: framework for framework in frameworks}))


def _load_the_hidden() -> None:
    """Import the `sitecustomize` that would be there without this one; what it raises is for Python to tell."""
    here = os.path.dirname(__file__)  # noqa: PTH120 - pathlib costs more than all of this
    sys.path[:] = [entry for entry in sys.path if entry != here]
    this = sys.modules.pop("sitecustomize")
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = this


if __name__ == "sitecustomize":
    _watch()
    _load_the_hidden()
