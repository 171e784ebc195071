"""All runs that are told to this server: which directory is whose, and who may write into it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from weakref import WeakValueDictionary

from trainer_hooks.attempts import safe_name
from trainer_hooks.errors import AlreadyServed
from trainer_hooks.files import try_lock
from trainer_hooks.receiver.batches import Arrived, Refused
from trainer_hooks.receiver.received import Call, ReceivedRun, Told

_KEPT = 4096


@dataclass
class Receipt:
    """What became of a batch: every event is in one of the two."""

    stored: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


class Inbox:
    """Writes what arrives into the run directories under `root`. Safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        """Become the only receiver of that directory.

        Raises:
            AlreadyServed: if another one is at work there.
            OSError: if the directory can't be written.
        """
        self._root = root
        self._lock = threading.Lock()
        self._runs: WeakValueDictionary[str, ReceivedRun] = WeakValueDictionary()
        self._recent: OrderedDict[str, ReceivedRun] = OrderedDict()
        root.mkdir(parents=True, exist_ok=True)
        own = own_directory(root)
        own.mkdir(exist_ok=True)
        self._held = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if try_lock(self._held, fcntl.LOCK_EX) is False:
            os.close(self._held)
            message = f"another receiver is at work on {root}: end it, or name another directory with --dir"
            raise AlreadyServed(message)

    def close(self) -> None:
        """Let another receiver have the directory."""
        os.close(self._held)

    def take(self, job: str, arrived: Sequence[Arrived]) -> Receipt:
        """Store a batch.

        Raises:
            OSError: if the disk doesn't take it; a repeat of the batch stores what is missing.
        """
        receipt = Receipt()
        for run, group in groupby(arrived, lambda one: one.envelope.run):
            events = list(group)
            received = self._run(run, job)
            if received.job != job:
                reason = _belongs(run, received.job)
                receipt.rejected.update({one.envelope.id: reason for one in events})
                continue
            stored, rejected = received.take(events)
            receipt.stored += stored
            receipt.rejected.update(rejected)
        return receipt

    def tell(self, run: str, job: str, call: Call) -> Told:
        """Take one call of predecessor B's.

        Raises:
            Refused: if the run belongs to another job.
            OSError: if the disk doesn't take it.
        """
        received = self._run(run, job)
        if received.job != job:
            raise Refused(_belongs(run, received.job))
        return received.tell(call)

    def belongs(self, run: str, job: str) -> bool:
        """Whether there is such a run, and it is that job's."""
        return self.directory(run).is_dir() and self._run(run, job).job == job

    def directory(self, run: str) -> Path:
        """Where that run is, or would be."""
        return self._root / safe_name(run)

    def _run(self, run: str, job: str) -> ReceivedRun:
        with self._lock:
            received = self._runs.get(run)
            if received is None or received.is_removed:
                received = self._runs[run] = ReceivedRun(self.directory(run), run, job)
            self._recent[run] = received
            self._recent.move_to_end(run)
            if len(self._recent) > _KEPT:  # one that is still at work stays among the others: there are never two
                self._recent.popitem(last=False)
        return received


def own_directory(root: Path) -> Path:
    """Where a receiver keeps what belongs to no run; `safe_name` gives no run such a name."""
    return root / ".#receiver"


def _belongs(run: str, job: str) -> str:
    return f"run {run!r} belongs to job {job!r}"
