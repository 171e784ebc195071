"""`autolog("ultralytics")`: one line before the model is created."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer_hooks.attempts import load_addresses
from trainer_hooks.errors import UnknownFramework
from trainer_hooks.integrations import OwnOpener, find_attach, known_frameworks
from trainer_hooks.restore import Restored
from trainer_hooks.run import Run, current_run, join_run, load_settings
from trainer_hooks.settings import Settings


class Autolog:
    """What `autolog` returns: it stays attached until `detach`, or until the end of a `with` block."""

    def __init__(self) -> None:
        self._attached: dict[str, tuple[_Opener, Callable[[], None]]] = {}
        self._turn = threading.RLock()

    @property
    def frameworks(self) -> list[str]:
        """The frameworks it is attached to."""
        return sorted(self._attached)

    @property
    def run(self) -> Run | None:
        """The run that is open at present, if any."""
        return current_run()

    def attach(self, framework: str, settings: Settings) -> _Opener:
        """Attach to the framework; a second time only changes the settings of runs to come."""
        # Not in our turn: this imports the framework, and whoever is importing it just now may be waiting for that.
        begin = None if framework in self._attached else find_attach(framework)
        with self._turn:
            if framework not in self._attached and begin is not None:
                opener = _Opener(settings)
                self._attached[framework] = (opener, begin(opener))
            self._attached[framework][0].settings = settings
            return self._attached[framework][0]

    def detach(self, *frameworks: str) -> None:
        """Restore every original object of these frameworks, by default of all.

        A run that is open goes on until its process ends.
        """
        with self._turn:
            for framework in frameworks or list(self._attached):
                if framework in self._attached:
                    _, undo = self._attached.pop(framework)
                    undo()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what the open run has told is delivered; False if `timeout` (seconds) came first."""
        run = current_run()
        return run.flush(timeout) if run else True

    def __enter__(self) -> Autolog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.detach()


class _Opener(OwnOpener):
    """Opens runs with the settings of the latest `autolog` call; or, in a launched rank, joins the launching run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.place: tuple[str, int] | None = None

    @property
    def launched(self) -> bool:
        return self.place is not None

    def restore(self) -> Restored | None:
        return None if self.place else super().restore()  # the launching process has

    def __call__(self, *, resumed: str | None = None, clearml: bool | None = None) -> Run:
        return join_run(*self.place) if self.place else super().__call__(resumed=resumed, clearml=clearml)


_autolog = Autolog()
_CLEARML = "clearml"


def attached() -> Autolog:
    """What `autolog` has attached to in this process; nothing, perhaps."""
    return _autolog


def join(framework: str, directory: str, attempt: int) -> None:
    """For a process that a framework has launched for one of its trainings: tell in that training's run."""
    recorded: dict[str, Any] = {"clearml": load_addresses(Path(directory)).get("clearml")}
    _autolog.attach(framework, Settings.load(**recorded)).place = (directory, attempt)


def autolog(*frameworks: str, **settings: Any) -> Autolog:
    """From now on, tell what these frameworks' trainings do; with "clearml" among them, to ClearML, too.

    Call it before or after the model is created, any number of times. `settings` are options by their names in
    `trainer_hooks.settings.Settings` (`run_id`, `job_id`, `callback_url`, `storage`, …); they go before the
    environment.

    Raises:
        UnknownFramework, MissingPackage, InvalidSetting: at once, with the mend in the message.
    """
    if _CLEARML in frameworks:
        frameworks = tuple(name for name in frameworks if name != _CLEARML)
        settings = {**settings, "clearml": True}
    if not frameworks:
        message = f"name what to attach to: {', '.join(known_frameworks())}"
        raise UnknownFramework(message)
    loaded = load_settings(**settings)
    if loaded.mode != "disabled":
        for framework in frameworks:
            _autolog.attach(framework, loaded)
    return _autolog
