"""A run of which this process is a part: another one opens and ends it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.attempts import Claim, join
from trainer_hooks.courier.start import Delivery
from trainer_hooks.events import AnyEvent, RankFailed
from trainer_hooks.history import read_history
from trainer_hooks.run.ending import RANK
from trainer_hooks.run.open_runs import forget
from trainer_hooks.run.run import Run
from trainer_hooks.settings import Settings
from trainer_hooks.shield import attempt, guard

_log = logging.getLogger("trainer_hooks")


class JoinedRun(Run):
    """A rank of a job in which another process opens the run and ends it.

    Of a launching process's ranks, rank 0 tells epochs, checkpoints and logs in its stead; of any other rank nothing is
    heard but its failure.
    """

    def __init__(self, find: Callable[[], tuple[Path, int] | None], rank: int, settings: Settings) -> None:
        """`find` tells the run's directory and attempt, once there is something to tell; None where there is none."""
        self._find = find
        self._found: tuple[Path, int] | None = None
        self._rank = rank
        super().__init__(self._join(settings) if rank == 0 else None, settings)

    def started(self, **_: Any) -> None:
        """The launching process has told it."""

    def complete(self, *_: Any, **__: Any) -> None:
        """The launching process will tell it."""
        self._close()

    def interrupt(self, reason: str) -> None:  # noqa: ARG002 - as `Run`'s
        """The launching process will tell it."""
        self._close()

    def _begin(self, claimed: Claim) -> Delivery | None:
        are_taken = self._images_are_taken or bool(read_history(claimed.directory).linked)
        self._stage_images(claimed.directory, are_taken=are_taken)
        self.forward_logs("")
        return None

    def _end(self, tell: Callable[[], AnyEvent], bare: AnyEvent) -> None:
        if self._ended or os.getpid() != self._pid:
            return
        with guard("telling a rank's failure"):
            if self._claim is None:
                self._claim = self._join(self.settings)
            told = msgspec.structs.asdict(attempt("telling the end", tell) or bare)
            del told["exit_status"], told["output"]
            self.emit(RankFailed(**{**told, "rank": self._rank}))
        self._close()

    def _hear_the_others(self) -> None:
        """The process that ends the run does."""

    def _place(self) -> tuple[Path, int] | None:
        self._found = self._found or self._find()
        return self._found

    def _join(self, settings: Settings) -> Claim | None:
        place = self._place()
        if place is None:
            _log.warning(
                "rank %d failed, and its run is not in %s: let all machines of a job share one TRAINER_HOOKS_DIR",
                self._rank,
                settings.root,
            )
            return None
        return join(*place, f"{RANK}{self._rank}", settings)

    def _close(self) -> None:
        with guard("leaving the run"):
            self._ended = True
            forget(self)
            if self._logs:
                self._logs.stop()
            if self._claim is not None:
                self._claim.journal.close()
