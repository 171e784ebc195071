"""The ClearML task of the training's own process, as its script has made it by `Task.init`.

Looked at only: nothing here imports clearml, asks its server, or calls what might. So its attributes are read where its
functions would do more: `Task.current_task()` starts a task in a process whose parent has one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from trainer_hooks.errors import MissingPackage
from trainer_hooks.events import TrackerLinked
from trainer_hooks.settings import Settings, has_clearml_parent
from trainer_hooks.shield import ask

_log = logging.getLogger("trainer_hooks")
_OFFLINE = "offline-"
# What clearml has replaced in other packages, so as to send what passes there: each sends while it has a task.
_SCALARS_AND_PLOTS = (
    ("clearml.binding.frameworks.tensorflow_bind", "EventTrainsWriter"),
    ("clearml.binding.frameworks.tensorflow_bind", "PatchSummaryToEventTransformer"),
    ("clearml.binding.matplotlib_bind", "PatchedMatplotlib"),
)
_CHECKPOINTS = (("clearml.binding.frameworks.pytorch_bind", "PatchPyTorchModelIO"),)


def check_installed() -> None:
    """Raise MissingPackage where there is no clearml to mirror with."""
    if find_spec("clearml") is None:
        raise MissingPackage("a run is mirrored to ClearML by its own package: pip install 'trainer-hooks[clearml]'")


def find_task() -> TrackerLinked | None:
    """The task that the script has made; None where it has none, or one that no server knows of."""
    task = _main_task()
    found = ask(lambda: str(task.id)) if task is not None else None
    if not isinstance(found, str):
        return None
    if found.startswith(_OFFLINE):
        _log.warning("the script's ClearML task is an offline one: the run is not mirrored to it")
        return None
    name = getattr(getattr(task, "_data", None), "name", None)  # its property may ask the server
    return TrackerLinked(
        tracker="clearml",
        id=found,
        name=name if isinstance(name, str) else "",
        joined=True,
        captures_console=_captures_console(),
    )


def is_mirrored(settings: Settings, *, launched: bool) -> bool:
    """Whether a run of these settings, opened now, is mirrored to ClearML.

    `launched`: or one that the process has opened which has launched this one.
    """
    if settings.clearml is not None:
        return settings.clearml
    return has_clearml_parent() if launched else find_task() is not None


def hold_back_copies(*, checkpoints: bool) -> Callable[[], None]:
    """Keep clearml from sending what passes through TensorBoard and matplotlib, and `torch.save` where `checkpoints`.

    Returns what lets it go on.
    """
    held: list[tuple[Any, Any]] = []
    for module, name in (*_SCALARS_AND_PLOTS, *(_CHECKPOINTS if checkpoints else ())):
        owner = _of(module, name)
        task = getattr(owner, "_current_task", None)
        if task is not None:
            owner._current_task = None  # noqa: SLF001 - its own way to be told would do more
            held.append((owner, task))

    def let_go() -> None:
        for owner, task in held:
            # A task that the script has closed meanwhile is none to send to.
            if owner._current_task is None and task is _main_task():  # noqa: SLF001 - as above
                owner._current_task = task  # noqa: SLF001 - as above

    return let_go


def _main_task() -> Any:
    task = _of("clearml.task", "Task", "_Task__main_task")
    # Of a `Task.init(deferred_init=True)`: asked for anything else, it waits until there is a task.
    if type(task).__name__ == "FutureTaskCaller":
        return vars(task).get("_FutureTaskCaller__object")
    return task


def _captures_console() -> bool:
    streams = ("_stdout_proxy", "_stderr_proxy")
    if all(_of("clearml.backend_interface.logger", "StdStreamPatch", stream) for stream in streams):
        return True
    # Under an agent it is the agent that does.
    is_remote = _of("clearml.config", "running_remotely")
    return is_remote is not None and ask(is_remote) is True


def _of(module: str, *path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path:
        found = getattr(found, name, None)
    return found
