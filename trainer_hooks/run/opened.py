"""An attempt that is open: its journal takes events, a courier delivers them, the host's log is forwarded."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trainer_hooks.attempts import Claim
from trainer_hooks.clearml_task import find_task, hold_back_copies
from trainer_hooks.courier.start import Delivery, start_delivery
from trainer_hooks.events import TERMINAL, AnyEvent, EpochEnded
from trainer_hooks.logs import LogForwarder, clean_own_words
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.reporter import Reporter
from trainer_hooks.settings import Settings, environment
from trainer_hooks.shield import guard
from trainer_hooks.staging import IMAGES, MOST_IMAGES, Stager

_log = logging.getLogger("trainer_hooks")
# Epochs of milliseconds exist, and asking for the courier costs as much as telling one.
_LOOK_EVERY = 1.0


class Opened(Reporter):
    """The part of a `Run` that is there from its beginning on."""

    def __init__(self, claimed: Claim | None, settings: Settings) -> None:
        self.settings = claimed.settings if claimed else settings
        redactor = Redactor([*known_secrets(environment()), *self.settings.secrets()])
        if claimed:
            clean_own_words(redactor.text)
        super().__init__(redactor, _stager(claimed) if claimed else None)
        self._claim = claimed
        self._pid = os.getpid()
        self._ending = threading.RLock()  # a signal handler may end the run while this very thread ends it
        self._ended = False
        self._logs = (
            LogForwarder(self._forward_log, settings.log_level) if claimed and settings.log_level != "OFF" else None
        )
        self._looked = -math.inf
        self._delivery: Delivery | None = None
        self._let_clearml_go: Callable[[], None] | None = None

    def _join_clearml(self) -> None:
        task = find_task() if self.settings.clearml is not False else None
        if task is not None:
            self.emit(task)
            self._let_clearml_go = hold_back_copies(checkpoints=self.settings.storage_uri is not None)
            _log.info("mirrored to the script's ClearML task %s; its copies of TensorBoard's are held back", task.id)

    def _start_delivery(self, claimed: Claim) -> Delivery | None:
        delivery, self.settings = start_delivery(claimed.directory, claimed.attempt, claimed.settings)
        self._claim = dataclasses.replace(claimed, settings=self.settings)
        return delivery

    @property
    def id(self) -> str | None:
        """The run's id; None for a silent run."""
        return self._claim.run if self._claim else None

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is, from 1."""
        return self._claim.attempt if self._claim else 1

    @property
    def directory(self) -> Path | None:
        """Where the run is kept; None for a silent run."""
        return self._claim.directory if self._claim else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self._ended

    @property
    def is_mirrored(self) -> bool:
        """Whether ClearML is to show the run, too."""
        return self._claim is not None and (bool(self.settings.clearml) or "clearml" in self.state.linked)

    @property
    def _images_are_taken(self) -> bool:
        """Whether there is a destination that takes copies of images, or removes them as unwanted."""
        settings = self.settings
        return self.is_mirrored or bool(settings.callback_url or (settings.synapse_host and settings.synapse_job))

    def _stage_images(self, directory: Path, *, are_taken: bool) -> None:
        most = None if are_taken else MOST_IMAGES
        self._image_stager = Stager(directory, keep_all=True, folder=IMAGES, most=most)

    @property
    def is_heard(self) -> bool:
        """Whether what is told now goes anywhere: not in a silent run, after the end, or in a forked child."""
        return self._claim is not None and not self._ended and os.getpid() == self._pid

    def emit(self, event: AnyEvent) -> None:
        """Accept an event: when this returns, no death of the process can lose it. After the end, none is accepted."""
        with guard("emitting an event"):
            if self._claim is None or not self.is_heard:
                return
            if isinstance(event, TERMINAL):
                with self._ending:
                    if not self._ended:
                        self._claim.journal.append(event)
                        self._ended = True
            else:
                self._claim.journal.append(event)
            self.state.apply(event)
            if isinstance(event, EpochEnded):
                self._look_after_the_courier()

    def _look_after_the_courier(self) -> None:
        now = time.monotonic()
        if self._delivery and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._delivery.ensure()

    def forward_logs(self, logger: str | logging.Logger) -> None:
        """Forward this logger's records, too; the root's are forwarded from the start (see `log_level`)."""
        if self._logs:
            self._logs.listen(logger)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything told so far is delivered, for `timeout` seconds at most (default: the setting)."""
        if self._claim is None or self._delivery is None:
            return True
        limit = self.settings.flush_timeout if timeout is None else timeout
        with guard("waiting for delivery"):
            return self._delivery.wait(self._claim.journal.position, limit)
        return False


def _stager(claimed: Claim) -> Stager | None:
    if claimed.settings.storage_uri is None:
        return None
    return Stager(claimed.directory, keep_all=claimed.settings.has_courier)
