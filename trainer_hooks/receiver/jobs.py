"""What people want of jobs: files beside the runs, since a job may be cancelled before it has told anything."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trainer_hooks.attempts import safe_name
from trainer_hooks.files import sync_file, write_whole
from trainer_hooks.receiver.clock import now
from trainer_hooks.replay import Attempt

CANCELLED = "cancelled"
PENDING = "pending"
_FOLDER = "jobs"


class Cancel(msgspec.Struct, frozen=True):
    """The wish that a job ends, since `at` (unix seconds)."""

    job: str
    at: float
    reason: str = ""


class Jobs:
    """The wishes, by job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / _FOLDER

    def cancel(self, job: str, reason: str = "") -> Cancel:
        """Keep the wish that the job ends; the first one stays.

        Raises:
            OSError: if it can't be written.
        """
        wish = self.cancelled(job)
        if wish is None:
            wish = Cancel(job, now(), reason)
            self._directory.mkdir(exist_ok=True)
            write_whole(self._file(job), msgspec.json.encode(wish))
            sync_file(self._directory)
        return wish

    def cancelled(self, job: str) -> Cancel | None:
        """The wish that the job ends; None where nobody wants it."""
        try:
            return msgspec.json.decode(self._file(job).read_bytes(), type=Cancel)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def status(self, job: str, attempt: Attempt) -> str:
        """The job's status for whoever tells of it: "cancelled" asks the training to stop."""
        if attempt.ended is None and self.cancelled(job):
            return CANCELLED
        return PENDING if attempt.status == "opened" else attempt.status

    def _file(self, job: str) -> Path:
        return self._directory / f"{safe_name(job)}.json"
