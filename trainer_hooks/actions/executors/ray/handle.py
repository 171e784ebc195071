"""A job of a Ray cluster, as who has submitted it sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from trainer_hooks.actions.executors import Status
from trainer_hooks.actions.executors.following import Follower
from trainer_hooks.actions.executors.records import Place, result_told, wait_until
from trainer_hooks.actions.outcome import found_in, result_of
from trainer_hooks.errors import RemoteFailure
from trainer_hooks.settings import Settings

_log = logging.getLogger("trainer_hooks")
ENDS_WITHIN = 25
"""Seconds between Ray's SIGTERM and its SIGKILL for a job that is stopped."""
_POLL = 0.5
_UNREACHABLE_FOR = 60.0
_STATUS: Mapping[str, Status] = {"PENDING": "pending", "RUNNING": "running", "STOPPED": "interrupted"}
_OVER = ("STOPPED", "SUCCEEDED", "FAILED")


class RayHandle:
    """As `Handle`."""

    def __init__(
        self, client: Any, submitted: str, settings: Settings, place: Place, output: Callable[[str], object] | None
    ) -> None:
        self._client = client
        self._id = submitted
        self._run = settings.run_id or ""
        self._place = place
        self._follower = Follower(client.tail_job_logs(submitted), output) if output else None
        self._result: dict[str, Any] | Exception | None = None
        self._heard = time.monotonic()

    @property
    def run(self) -> str:
        """The id of its run."""
        return self._run

    @property
    def job(self) -> str:
        """Ray's id of the job."""
        return self._id

    @property
    def status(self) -> Status:
        """How it stands."""
        known = self._look()
        if known is None or known.status not in _OVER:
            return "pending" if known is None else _STATUS[known.status]
        ended = self._how_it_ended(known)
        if isinstance(ended, RemoteFailure):
            return ended.ending  # type: ignore[return-value] # one of a status's
        return "completed" if isinstance(ended, dict) else "failed"

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """As `Handle.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (known := self._look()) is None or known.status not in _OVER:
            if deadline is not None and time.monotonic() >= deadline:
                message = f"run {self._run} goes on"
                raise TimeoutError(message)
            wait_until(lambda: False, _POLL)
        if self._follower:
            self._follower.finish()
        ended = self._how_it_ended(known)
        if isinstance(ended, Exception):
            raise ended
        return ended

    def cancel(self) -> None:
        """Have Ray stop the job: by SIGTERM, and SIGKILL for what is still there after 25 s."""
        try:
            self._client.stop_job(self._id)
        except (ConnectionError, RuntimeError) as error:
            _log.warning("job %s can't be stopped: %s", self._id, error)
            return
        if not wait_until(self._is_over, 2 * ENDS_WITHIN):
            _log.warning("job %s has been asked to stop, and has not ended", self._id)

    def logs(self) -> str:
        """What the job has written; nothing where its node can't be asked any more."""
        try:
            return str(self._client.get_job_logs(self._id))
        except (ConnectionError, RuntimeError):
            return ""

    def detach(self) -> dict[str, str]:
        """Leave it to itself; Ray knows it by the job's id."""
        return {"run": self._run, "job": self._id}

    def _look(self) -> Any:
        """The job, as Ray knows it; None where it can't be asked at the moment.

        Raises:
            RemoteFailure: if it couldn't for a minute.
        """
        try:
            found = self._client.get_job_info(self._id)
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() - self._heard > _UNREACHABLE_FOR:
                result_told(self._place, f"the Ray cluster doesn't answer: {error}")
            return None
        self._heard = time.monotonic()
        return found

    def _is_over(self) -> bool:
        known = self._look()
        return known is not None and known.status in _OVER

    def _how_it_ended(self, known: Any) -> dict[str, Any] | Exception:
        if self._result is None:
            try:
                outcome = found_in(self.logs())
                reason = f"Ray's job {self._id} has ended ({known.status.lower()}): {known.message}"
                self._result = result_told(self._place, reason) if outcome is None else result_of(outcome)
            except Exception as error:  # noqa: BLE001 - kept, to be raised by each `wait`
                self._result = error
        return self._result
