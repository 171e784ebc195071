"""Where a run is mirrored: MMEngine's own ClearML backend steps back, and what the host draws is told.

There would be two of everything else. The backend stands in the visualizer again when the work is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmengine.visualization import LocalVisBackend

from trainer_hooks.run import Run
from trainer_hooks.shield import guard

_log = logging.getLogger("trainer_hooks")
_BACKEND = "ClearMLVisBackend"
_OURS = "trainer_hooks"
_FOLDER = "drawn"


class _Images(LocalVisBackend):  # type: ignore[misc]  # the host is not typed
    """Of all that a visualizer gives its backends, the images: as files, told to the run."""

    def __init__(self, run: Run, folder: Path, own: Iterable[Any]) -> None:
        """`own` are the host's backends in whose place this stands."""
        super().__init__(str(folder))
        self._run = run
        self._own = list(own)

    def add_image(self, name: str, image: Any, step: int = 0, **_: Any) -> None:
        """Write it, and tell it; the copy is the run's own then."""
        with guard("telling an image"):
            super().add_image(name.replace("/", "_"), image, step)  # in a folder that isn't there, nothing is written
            for path in Path(self._img_save_dir).iterdir():
                self._run.log_image(path, title=name, iteration=step)
                path.unlink()

    def add_config(self, *_: Any, **__: Any) -> None:
        """The run has it."""

    def add_scalar(self, *_: Any, **__: Any) -> None:
        """The run is told by the work."""

    def add_scalars(self, *_: Any, **__: Any) -> None:
        """As `add_scalar`."""

    def add_graph(self, *_: Any, **__: Any) -> None:
        """No image."""

    def close(self) -> None:
        """Close the tasks that the host's own have made, as they would have; without their uploads of the folder."""
        for task in [getattr(backend, "_task", None) for backend in self._own]:
            if task is not None:
                task.close()


def hold_back(runner: Any, run: Run) -> Callable[[], None]:
    """Put ours in the place of the host's own, until what is returned is called; the task it has made is joined."""
    backends = getattr(getattr(runner, "visualizer", None), "_vis_backends", None)
    if backends is None or run.directory is None:
        return lambda: None
    # By its class's name: older versions have none.
    own = {name: backend for name, backend in backends.items() if type(backend).__name__ == _BACKEND}
    for name in own:
        del backends[name]
    if own:
        _log.warning("the run is mirrored to ClearML by trainer_hooks; MMEngine's %s is left out meanwhile", _BACKEND)
    backends[_OURS] = _Images(run, run.directory / _FOLDER, own.values())

    def let_go() -> None:
        backends.pop(_OURS, None)
        backends.update(own)

    return let_go
