"""Where an action runs: in this process, in one of its own, or on a Ray cluster; one module each.

with closing(ProcessExecutor()) as executor:
    result = run(executor, "my_module:MyTrainAction", {"epochs": 3}, folder=Path("plugin"))
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from trainer_hooks.attempts import new_run_id
from trainer_hooks.errors import RemoteFailure
from trainer_hooks.run import load_settings
from trainer_hooks.settings import Settings

_log = logging.getLogger("trainer_hooks")

Status: TypeAlias = Literal["pending", "running", "completed", "failed", "interrupted", "lost"]


class Handle(Protocol):
    """An action that was handed to an executor."""

    @property
    def run(self) -> str:
        """The id of its run."""
        ...

    @property
    def status(self) -> Status:
        """How it stands."""
        ...

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Its result, when it has ended.

        Raises:
            TimeoutError: if it has not ended within `timeout` seconds; it goes on.
            SetupError: if it could not begin.
            RemoteFailure: if it has failed, was stopped, or its process is gone.
        """
        ...

    def cancel(self) -> None:
        """Stop it, gently at first; returns when it has ended, or nothing more can be done."""
        ...

    def logs(self) -> str:
        """What it has written so far, as far as that is kept."""
        ...

    def detach(self) -> dict[str, str]:
        """Leave it to itself; returns by what it can be found: its run, and what else there is."""
        ...


class Executor(Protocol):
    """A place where actions run."""

    def submit(
        self,
        entrypoint: str,
        params: Mapping[str, Any],
        *,
        folder: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Have an action done; `folder` is where its modules are, by default the working directory.

        `settings` are options by their names in `trainer_hooks.settings.Settings`.

        Raises:
            SetupError: for what is wrong before anything has started.
            ActionError: if the place can't be reached.
        """
        ...

    def close(self) -> None:
        """Let go of what was started for its actions."""
        ...


def run(  # noqa: PLR0913 - `submit`'s, and for how long and how often
    executor: Executor,
    entrypoint: str,
    params: Mapping[str, Any],
    *,
    folder: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    retries: int = 0,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Have an action done and wait for its result; `timeout` is for all attempts together, in seconds.

    Where its process ended without a word, as when its machine went down, it is done again, `retries` times at most:
    as the next attempt of the same run. What the action itself has failed of it would fail of again.

    Raises:
        SetupError, ActionError: as `submit`.
        RemoteFailure: as `Handle.wait`; also if it has taken too long, and was therefore stopped.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    settings = {**(settings or {}), "run_id": named_settings(settings).run_id}
    for left in range(retries, -1, -1):
        handle = executor.submit(entrypoint, params, folder=folder, settings=settings)
        try:
            return _waited(handle, None if deadline is None else max(0.0, deadline - time.monotonic()), timeout)
        except RemoteFailure as error:
            if error.told or not left:
                raise
            _log.warning("run %s: %s; trying again (%d left)", handle.run, error, left)
    raise AssertionError  # the last one returns or raises


def named_settings(settings: Mapping[str, Any] | None) -> Settings:
    """The settings for a submission, with a name for its run: who submits has to know it.

    Raises:
        InvalidSetting, MissingPackage: as `load_settings`.
    """
    known = load_settings(**(settings or {}))
    run = known.run_id or known.job_id or new_run_id()
    return load_settings(**{**(settings or {}), "run_id": run})


def _waited(handle: Handle, timeout: float | None, limit: float | None) -> dict[str, Any]:
    """Its result; if that takes too long, or who waits is interrupted, it is stopped."""
    try:
        return handle.wait(timeout)
    except TimeoutError as error:
        handle.cancel()
        message = f"run {handle.run} took longer than {limit:g} s, and was stopped"
        raise RemoteFailure(message, "interrupted") from error
    except KeyboardInterrupt:
        handle.cancel()
        raise
