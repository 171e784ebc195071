"""One destination's way through the journal: read, deliver, note, and on trouble try again later."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.delivery import add_rejected, load_state, save_state
from trainer_hooks.destinations import Destination, Receipt, Watcher
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import TERMINAL, Event, Record
from trainer_hooks.journal import Reader
from trainer_hooks.liveness import Liveness
from trainer_hooks.shield import ask

_log = logging.getLogger("trainer_hooks.courier")
# Not the module's own functions: as a thread of the training, drawing from those would change the training's numbers.
_jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
_LOOK_UNASKED = 1.0
_HELD_BACK = 0.1
_AT_ONCE = 1000
_LONGEST_BACKOFF = 60.0
_LONGEST_WAIT_ASKED = 300.0
_MOST_DOUBLINGS = 10
_TRIES_OF_A_FAULT = 5


@dataclass(frozen=True)
class Terms:
    """What holds for all lanes of a courier.

    `heartbeat` is the seconds between two, 0 for none; `liveness` what the newest says, None once the training is over.
    """

    retry_delay: float
    checkpoints_settled: Callable[[Record], bool]
    heartbeat: float
    liveness: Callable[[], Liveness | None]
    clean: Callable[[str], str]
    """Takes secrets out: what a server or a library says is kept, and may quote what it was given."""


class Lane(threading.Thread):
    """Delivers a run's records to one destination until stopped. It never gives up by itself, and never skips."""

    def __init__(
        self,
        run_directory: Path,
        name: str,
        destination: Destination,
        handles: tuple[type[Event], ...],
        terms: Terms,
    ) -> None:
        super().__init__(name=f"trainer_hooks {name}", daemon=True)
        self._directory = run_directory
        self._destination_name = name
        self._destination = destination
        self._handles = handles
        self._terms = terms
        self._beaten = time.monotonic()
        self._unheard = 0
        self._state = load_state(run_directory, name)
        self._reader = Reader(run_directory, self._state.cursor)
        self._failures = 0
        self._idle_since = 0.0
        self._stopping = False
        self._abandoned = False
        self._awake = threading.Event()
        self.trouble_since = math.inf
        """Since when tries have failed (`time.monotonic`); infinity while they don't."""

    @property
    def idle_since(self) -> float:
        """When it last looked and found nothing left to deliver (`time.monotonic`); 0 while there is something."""
        return self._idle_since

    @property
    def in_trouble(self) -> bool:
        """Whether the last try failed and the next is being waited for."""
        return self.trouble_since < math.inf

    def has_passed(self, record: Record) -> bool:
        """Whether that record is dealt with here."""
        return self._state.cursor.get(record.segment, 0) >= record.end

    def awaits(self, record: Record) -> bool:
        """Whether that record is for this destination, and still to be dealt with."""
        return isinstance(record.event, self._handles) and not self.has_passed(record)

    def wake(self) -> None:
        """There is something new in the journal; a retry that waits for its time is not hastened."""
        if not self.in_trouble:
            self._awake.set()

    def stop(self) -> None:
        """Ask it to end after the delivery that is under way."""
        self._stopping = True
        self._awake.set()

    def abandon(self) -> None:
        """Nobody waits for it any longer: what it still does in a delivery that hangs may no longer be noted."""
        self._abandoned = True

    def run(self) -> None:
        """Deliver until asked to stop."""
        self._save()
        while not self._stopping:
            wait = ask(self._step)
            # Our own disk, which may be full or unreadable for a while; no record is to blame for that.
            seconds = self._hindered(wait) if isinstance(wait, Exception) else wait
            self._beat()
            self._awake.wait(0 if self._stopping else seconds)
            self._awake.clear()
        ask(self._destination.close)

    def _beat(self) -> None:
        """Pass a heartbeat on when it is time for one; while nothing can be delivered, there is nobody to hear it."""
        every, now = self._terms.heartbeat, time.monotonic()
        wait = every * 2 ** min(self._unheard, _MOST_DOUBLINGS)
        if not every or self.in_trouble or now - self._beaten < wait or not isinstance(self._destination, Watcher):
            return
        self._beaten = now
        liveness = self._terms.liveness()
        if liveness is not None:
            destination = self._destination
            failed = isinstance(ask(lambda: destination.beat(liveness)), Exception)
            self._unheard = self._unheard + 1 if failed else 0

    def _step(self) -> float:
        """Deliver what there is; returns how many seconds to wait before the next look."""
        looked_at = time.monotonic()
        # Counted without the rest: what a destination must see together, such as all pending checkpoints, it sees.
        found = self._reader.read(_AT_ONCE, only=self._handles)
        records = [item for item in found if isinstance(item, Record)]
        ready = self._until_held_back(records)
        problem = ask(lambda: self._deliver(ready)) if ready else None
        if isinstance(problem, Exception):
            self._idle_since = 0.0
            return self._failed(ready, problem)
        if len(ready) < len(records):
            self._idle_since = 0.0
            self._reader.cursor = dict(self._state.cursor)
            return _HELD_BACK
        self._pass_all()
        self._idle_since = 0.0 if records else looked_at
        return 0 if records else _LOOK_UNASKED

    def _until_held_back(self, records: Sequence[Record]) -> Sequence[Record]:
        """The records in front of the first terminal event that has to wait for its checkpoints."""
        if self._destination.waits_for_checkpoints:
            for place, record in enumerate(records):
                if isinstance(record.event, TERMINAL) and not self._terms.checkpoints_settled(record):
                    return records[:place]
        return records

    def _deliver(self, records: Sequence[Record]) -> None:
        undone = deque(records)
        for receipts in self._destination.deliver(records):
            if self._abandoned:
                raise RetryLater("another courier has taken over")
            self._count(receipts)
            for _ in receipts:
                self._pass(undone.popleft(), undone)
            self._save()
        if undone:
            message = f"{self._destination_name} has given no receipt for {undone[0].id}"
            raise RuntimeError(message)

    def _pass(self, record: Record, following: Sequence[Record]) -> None:
        # Two records salvaged from one damaged line end at the same place: it is passed with the second.
        if not following or (following[0].segment, following[0].end) != (record.segment, record.end):
            self._state.cursor[record.segment] = record.end

    def _pass_all(self) -> None:
        """Move the cursor to where the reader is: behind what this destination is not for, too."""
        if self._state.cursor != self._reader.cursor:
            self._state.cursor = dict(self._reader.cursor)
            self._save()

    def _count(self, receipts: Sequence[Receipt]) -> None:
        state = self._state
        for receipt in receipts:
            if receipt.refused is not None:
                self._reject(receipt.record, receipt.refused)
        refused = sum(receipt.refused is not None for receipt in receipts)
        superseded = sum(receipt.superseded for receipt in receipts)
        state.rejected += refused
        state.superseded += superseded
        state.delivered += len(receipts) - refused - superseded
        state.reached, state.trouble, self._failures = time.time(), None, 0
        self.trouble_since = math.inf

    def _reject(self, record: Record, refused: str) -> None:
        reason = self._terms.clean(refused)
        _log.warning("%s refused %s: %s", self._destination_name, record.id, reason)
        add_rejected(self._directory, self._destination_name, record, reason)

    def _failed(self, records: Sequence[Record], problem: Exception) -> float:
        """Go back to the first record that is not delivered; returns the seconds until it is tried again."""
        if isinstance(problem, OSError):
            raise problem
        if not isinstance(problem, RetryLater) and self._failures >= _TRIES_OF_A_FAULT:
            # A fault of ours in one record must not hold up all that follow: it is refused, with the fault.
            culprit = next(record for record in records if not self.has_passed(record))
            self._count([Receipt(culprit, refused=f"{type(problem).__name__}: {problem}")])
            self._pass(culprit, ())
            self._save()
            delay = 0.0
        else:
            delay = self._backoff(problem)
        self._reader.cursor = dict(self._state.cursor)
        return delay

    def _hindered(self, problem: Exception) -> float:
        self._idle_since = 0.0
        self._reader.cursor = dict(self._state.cursor)
        return self._backoff(RetryLater(f"{type(problem).__name__}: {problem}"))

    def _save(self) -> None:
        """Keep the state; where the disk refuses, with the next one: a repeat after a crash is harmless by its id."""
        if not self._abandoned:
            with contextlib.suppress(OSError):
                save_state(self._directory, self._destination_name, self._state)

    def _backoff(self, problem: Exception) -> float:
        """Note the trouble; full jitter, doubling, or as long as the other side asked for."""
        self._failures += 1
        self.trouble_since = min(self.trouble_since, time.monotonic())
        if not isinstance(problem, RetryLater):
            _log.error("%s failed", self._destination_name, exc_info=problem)
        reason = self._terms.clean(
            f"{problem}" if isinstance(problem, RetryLater) else f"{type(problem).__name__}: {problem}"
        )
        if reason != self._state.trouble:
            _log.warning("%s: %s; trying again", self._destination_name, reason)
            self._state.trouble = reason
            self._save()
        asked = problem.after if isinstance(problem, RetryLater) else None
        if asked is not None:
            return min(asked, _LONGEST_WAIT_ASKED)
        doublings = min(self._failures - 1, _MOST_DOUBLINGS)
        ceiling: float = min(_LONGEST_BACKOFF, self._terms.retry_delay * 2**doublings)
        return _jitter.uniform(0.1, 1) * ceiling
