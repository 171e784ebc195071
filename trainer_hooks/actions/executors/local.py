"""In this process, while it waits for the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer_hooks.actions.executors import Status, named_settings
from trainer_hooks.actions.loading import load_action
from trainer_hooks.actions.running import run_action
from trainer_hooks.errors import InvalidSetting, RemoteFailure
from trainer_hooks.settings import variables_set

_CAN_NOT = "an action in this process can't be %s: choose the executor process or ray"


class LocalExecutor:
    """Runs actions in this process: to debug them, or where it is a job's own.

    `variables` are set in its environment while an action is loaded or at work.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = variables or {}

    def submit(
        self,
        entrypoint: str,
        params: Mapping[str, Any],
        *,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> LocalHandle:
        """As `Executor.submit`; the action is loaded now, and done by `wait`.

        The working directory stays as it is, whatever the folder.
        """
        run = named_settings(settings).run_id or ""
        with variables_set(self._variables):
            action = load_action(entrypoint, folder)
        return LocalHandle(action, params, {**(settings or {}), "run_id": run}, self._variables)

    def close(self) -> None:
        """Nothing was started."""


class LocalHandle:
    """As `Handle`. What the action raises comes out of `wait` as it is."""

    def __init__(
        self, action: Any, params: Mapping[str, Any], settings: dict[str, Any], variables: Mapping[str, str]
    ) -> None:
        self._action = action
        self._params = params
        self._settings = settings
        self._variables = variables
        self._status: Status = "pending"
        self._result: dict[str, Any] | None = None

    @property
    def run(self) -> str:
        """The id of its run."""
        return str(self._settings["run_id"])

    @property
    def status(self) -> Status:
        """How it stands."""
        return self._status

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Do it; a second time, its result.

        Raises:
            InvalidSetting: for a timeout.
            RemoteFailure: if it was cancelled, or has failed before.
            Exception: whatever the action raises.
        """
        if timeout is not None:
            raise InvalidSetting(_CAN_NOT % "given a timeout")
        if self._status == "pending":
            self._do()
        if self._result is None:
            message = f"run {self.run} has not completed: {self._status}"
            raise RemoteFailure(message, self._status)
        return self._result

    def cancel(self) -> None:
        """Have it not begin; while it is at work, Ctrl-C stops it."""
        if self._status == "pending":
            self._status = "interrupted"

    def logs(self) -> str:
        """Nothing: it writes where this process does."""
        return ""

    def detach(self) -> dict[str, str]:
        """Not possible here.

        Raises:
            InvalidSetting: says so.
        """
        raise InvalidSetting(_CAN_NOT % "left to itself")

    def _do(self) -> None:
        self._status = "running"
        try:
            with variables_set(self._variables):
                self._result = run_action(self._action, self._params, **self._settings)
        except BaseException as error:
            self._status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        self._status = "completed"
