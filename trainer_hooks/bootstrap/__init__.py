"""What `sitecustomize`, beside this file, does once a framework is there. This folder lies on the child's path.

When to attach is not written down anywhere: it is when the host has imported those of the framework's modules that the
integration's own import statements name. Earlier, attaching would import what a data-loading worker or a command like
`yolo settings` never asked for (0.6 s with Ultralytics, all of torch with MMEngine).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator

from trainer_hooks.autologging import autolog
from trainer_hooks.errors import SetupError

_GROUP = "trainer_hooks.integrations"


def still_missing(framework: str) -> set[str]:
    """The framework's modules that its integration imports and that nobody has imported yet."""
    return {name for name in _imports(_source(framework), framework) if name not in sys.modules}


def attach(framework: str) -> None:
    """`autolog(framework)`, for a host that didn't ask for it: the user's mistakes are said, and it goes on."""
    if _is_being_imported(f"{_GROUP}.{framework}"):  # somebody else is attaching at this very moment
        return
    try:
        autolog(framework)
    except SetupError as error:
        sys.stderr.write(f"trainer_hooks: {framework} is not recorded: {error}\n")


def _is_being_imported(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _source(framework: str) -> str:
    points = importlib.metadata.entry_points(group=_GROUP, name=framework)
    name = next((point.module for point in points), f"{_GROUP}.{framework}")
    spec = importlib.util.find_spec(name)
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    return (get_source(name) if get_source else None) or ""


def _imports(source: str, framework: str) -> Iterator[str]:
    for statement in ast.parse(source).body:
        names: list[str] = []
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            names = [statement.module]
        yield from (name for name in names if name.split(".")[0] == framework)
