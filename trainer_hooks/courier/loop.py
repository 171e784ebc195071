"""The delivering loop: one lane per destination, a watch over the training, and the last word where there was none.

One courier at a time works on a run (a lock in the run directory). It ends when the attempt is over and everything is
delivered; when the attempt is over and `linger` seconds have not been enough; or when a newer attempt has its own.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.courier.heartbeat import Heartbeat
from trainer_hooks.courier.lane import Lane, Terms
from trainer_hooks.courier.pulse import Pulse
from trainer_hooks.courier.segment import OwnSegment
from trainer_hooks.courier.tidying import remove_untold_copies
from trainer_hooks.courier.watch import ProcessWatch
from trainer_hooks.deaths import learn
from trainer_hooks.delivery import announce_courier, load_state, save_state
from trainer_hooks.destinations import Context, known_destinations, open_destinations
from trainer_hooks.errors import SetupError
from trainer_hooks.events import (
    LIFECYCLE,
    CheckpointStored,
    ProgressResumed,
    ProgressStalled,
    Record,
    SegmentOpened,
    StopRequested,
    TrackerLinked,
)
from trainer_hooks.files import locked, remove_leftovers, sync_file
from trainer_hooks.history import RunState
from trainer_hooks.journal import Cursor, Reader, owner, read_headers, segments, sizes
from trainer_hooks.last_word import say
from trainer_hooks.process import is_alive
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment
from trainer_hooks.shield import ask
from trainer_hooks.stopping import ask_to_stop, asked_to_stop

_log = logging.getLogger("trainer_hooks.courier")
_TICK = 0.1
_QUIET_TICK = 0.4
_QUIET_AFTER = 20.0
_SYNC_EVERY = 1.0
_HOLD_BACK_AT_MOST = 60.0
_CLOSE_WITHIN = 10.0
_CHECKPOINTS = "checkpoints"
_OF_COURIERS = (CheckpointStored, StopRequested, ProgressStalled, ProgressResumed, SegmentOpened)
_SUPERVISOR_SPEAKS_WITHIN = 5.0
_SAY_AGAIN_AFTER = 10.0  # each time that a full disk refuses leaves a segment without a record


class Busy(Exception):
    """Another courier works on this run."""


class Courier:
    """Delivers one run from its directory; see the module's docstring for when it ends."""

    def __init__(
        self, run_directory: Path, settings: Settings, *, patience: float | None = None, briefly: bool = False
    ) -> None:
        """Deliver for `patience` seconds at most once the attempt is over.

        By default for `settings.linger`, and at least as long as the training waits at its end. `briefly`: of an
        attempt that goes on, deliver what there is and end.

        Raises:
            FileNotFoundError: if there is no run in that directory.
        """
        headers = read_headers(run_directory)
        if not headers:
            message = f"there is no run in {run_directory}"
            raise FileNotFoundError(message)
        self._directory = run_directory
        self._settings = settings
        self._patience = max(settings.linger, settings.flush_timeout) if patience is None else patience
        self._briefly = briefly
        self._deadline = math.inf
        self._header = owner(headers)
        self._watch = ProcessWatch(self._header.process)
        self._own = OwnSegment(run_directory, self._header)
        self._heartbeat = Heartbeat(
            run_directory,
            self._header,
            self._own.emit,
            every=settings.heartbeat,
            stalled_after=settings.stalled_after,
        )
        self._follower = _Follower(run_directory, self._header.attempt, self._heartbeat.pulse)
        self._has_spoken = False
        self._silent_until = -math.inf
        self._redactor = Redactor([*known_secrets(environment()), *settings.secrets()])
        self._held_since: dict[str, float] = {}
        self._stop = threading.Event()
        self._lanes: dict[str, Lane] = {}
        self.misconfigured: dict[str, SetupError] = {}
        """Destinations that could not be opened, and why."""

    @property
    def is_clear(self) -> bool:
        """Whether everything is delivered; to a destination that could not be opened, nothing is."""
        return not self.misconfigured and self._is_idle

    def hurry(self, seconds: float) -> None:
        """Go on for at most so many seconds more, whatever is pending then."""
        self._deadline = time.monotonic() + seconds

    def stop(self) -> None:
        """End soon, whatever is pending."""
        self._stop.set()

    def run(self) -> None:
        """Deliver until the end.

        Raises:
            Busy: if another courier has this run and keeps it for longer than it takes to hand over.
        """
        with only_courier(self._directory):
            self._follower.follow()
            self._own.remember(self._follower.stored.values())
            self._open_lanes()
            try:
                self._work()
                self._tidy()
            finally:
                self._close()

    def _open_lanes(self) -> None:
        context = Context(
            run_directory=self._directory,
            run=self._header.run,
            job=self._header.job or self._header.run,
            settings=self._settings,
            emit=self._own.emit,
            stored=self._own.stored,
            stopping=self._stop.is_set,
            ask_to_stop=self._ask_to_stop,
            linked=lambda: dict(self._follower.linked),
            is_awaited=lambda record: any(lane.awaits(record) for lane in list(self._lanes.values())),
        )
        opened, self.misconfigured = open_destinations(context) if self._settings.mode == "online" else ({}, {})
        for name, error in self.misconfigured.items():
            _log.error("%s: %s", name, error)
            state = load_state(self._directory, name)
            state.trouble = str(error)
            save_state(self._directory, name, state)
        terms = Terms(
            retry_delay=self._settings.retry_delay,
            checkpoints_settled=self._checkpoints_settled,
            heartbeat=self._settings.heartbeat,
            liveness=self._heartbeat.newest,
            clean=self._redactor.text,
        )
        for name, destination in opened.items():
            self._lanes[name] = Lane(self._directory, name, destination, known_destinations()[name].HANDLES, terms)
        announce_courier(self._directory, self._header.attempt, [*self._lanes, *self.misconfigured])
        for lane in self._lanes.values():
            lane.start()

    def _work(self) -> None:
        over_since = math.inf
        while not self._stop.wait(self._pause()):
            # The disk may be full, or the whole run gone: neither ends the delivery of what has been read.
            problem = ask(self._look)
            if isinstance(problem, Exception):
                _log.warning("%s: %s", self._directory, problem)
            if self._follower.superseded or self._follower.is_gone:
                return
            self._speak_for_the_dead()
            ask(lambda: self._heartbeat.beat(self._follower.state, lives=lambda: not self._watch.is_gone()))
            if self._follower.ended or self._has_spoken:
                over_since = min(over_since, time.monotonic())
            if self._may_leave(over_since):
                return

    def _pause(self) -> float:
        """Until the next look: short, but where an epoch takes minutes nobody needs ten looks a second."""
        return _TICK if time.monotonic() - self._follower.grew_at < _QUIET_AFTER else _QUIET_TICK

    def _may_leave(self, over_since: float) -> bool:
        now = time.monotonic()
        if now > self._deadline or now - over_since > self._patience:
            return True
        is_over = self._briefly or self._follower.ended
        return is_over and self._is_idle

    @property
    def _is_idle(self) -> bool:
        """Whether every lane has looked at everything there is and has nothing left."""
        return all(lane.idle_since > self._follower.grew_at for lane in self._lanes.values())

    def _look(self) -> None:
        self._own.retry()
        if self._follower.follow():
            for lane in self._lanes.values():
                lane.wake()

    def _ask_to_stop(self, attempt: int, reason: str) -> None:
        """Part of `Context`: the training finds the file at its next epoch."""
        # What is said to an earlier attempt's records, which are still being delivered, is not about this one.
        if (
            attempt != self._header.attempt
            or self._follower.ended
            or asked_to_stop(self._directory, attempt) is not None
        ):
            return
        # The answer that says so has delivered something: a disk that refuses must not have it sent again.
        if not isinstance(ask(lambda: ask_to_stop(self._directory, attempt, reason)), Exception):
            ask(lambda: self._own.emit(StopRequested(reason=reason)))

    def _speak_for_the_dead(self) -> None:
        """Write the terminal event of an attempt whose process is gone and has left none."""
        if self._follower.ended or not self._is_to_speak():
            return
        ask(self._look)  # at what it wrote in its last moment
        if not self._follower.ended and not self._follower.is_gone:
            problem = ask(self._say_last_word)
            self._has_spoken = True
            if isinstance(problem, Exception):
                _log.warning("%s: the last word can't be said yet: %s", self._directory, problem)
                self._silent_until = time.monotonic() + _SAY_AGAIN_AFTER

    def _is_to_speak(self) -> bool:
        """Whether the process is gone, and one that knows more of its death has had the time to speak."""
        if not self._watch.is_gone() or time.monotonic() < self._silent_until:
            return False
        supervisor = self._header.supervisor
        waits_for_it = supervisor is not None and is_alive(supervisor) is True
        return not waits_for_it or time.monotonic() - self._watch.gone_since > _SUPERVISOR_SPEAKS_WITHIN

    def _say_last_word(self) -> None:
        death = learn(self._directory, self._header.attempt, self._redactor, out_of_memory=self._watch.out_of_memory)
        say(self._directory, self._header, "courier", lambda _: death.as_event(self._follower.state))

    def _tidy(self) -> None:
        """Where all is over and delivered, leave no private copies that nobody will ever ask for."""
        if self._follower.ended and self.is_clear:
            problem = ask(lambda: remove_untold_copies(self._directory, self._header.attempt))
            if isinstance(problem, Exception):
                _log.warning("%s: %s", self._directory, problem)

    def _checkpoints_settled(self, record: Record) -> bool:
        """Whether a terminal record may be told: its checkpoints are stored, or storage has failed for too long."""
        lane = self._lanes.get(_CHECKPOINTS)
        if lane is None or lane.has_passed(record):
            return True
        held_since = self._held_since.setdefault(record.id, time.monotonic())
        return time.monotonic() - max(held_since, lane.trouble_since) > _HOLD_BACK_AT_MOST

    def _close(self) -> None:
        self._stop.set()
        for lane in self._lanes.values():
            lane.stop()
        deadline = time.monotonic() + _CLOSE_WITHIN
        for lane in self._lanes.values():
            lane.join(max(0.0, deadline - time.monotonic()))
            lane.abandon()
        ask(self._follower.sync)
        self._watch.close()
        self._own.close()


class _Follower:
    """Reads along: what the attempt has said, and what still has to reach the disk."""

    def __init__(self, run_directory: Path, attempt: int, pulse: Pulse) -> None:
        self._directory = run_directory
        self._attempt = attempt
        self._pulse = pulse
        self._reader = Reader(run_directory)
        self._synced: Cursor = {}
        self._synced_at = time.monotonic()
        self.grew_at = time.monotonic()
        self.state = RunState()
        self.superseded = False
        self.stored: dict[str, CheckpointStored] = {}
        self.linked: dict[str, TrackerLinked] = {}

    def follow(self) -> bool:
        """Take in all new records, if any; make lifecycle events durable at once, and all else within a second."""
        urgent = grown = False
        while items := self._reader.read():
            self.grew_at = time.monotonic()
            grown = True
            for item in items:
                if isinstance(item, Record):
                    self._notice(item)
                    urgent = urgent or isinstance(item.event, LIFECYCLE)
        if urgent or time.monotonic() - self._synced_at > _SYNC_EVERY:
            self.sync()
        return grown

    def sync(self) -> None:
        """Wait until all segments that have grown are on the disk."""
        now = sizes(self._directory)
        for number, path in segments(self._directory):
            if now.get(number) != self._synced.get(number):
                with contextlib.suppress(OSError):  # a disk that can't sync is no reason to stop delivering
                    sync_file(path)
        self._synced, self._synced_at = now, time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the attempt has said its last word."""
        return self.state.ended is not None

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed the whole run."""
        return not segments(self._directory)

    def _notice(self, record: Record) -> None:
        if isinstance(record.event, CheckpointStored):
            self.stored[record.event.name] = record.event
        elif isinstance(record.event, TrackerLinked):
            self.linked[record.event.tracker] = record.event
        if record.attempt > self._attempt:
            self.superseded = True
        elif record.attempt == self._attempt:
            self.state.apply(record.event)
            if not isinstance(record.event, _OF_COURIERS):
                self._pulse.note(record)


@contextlib.contextmanager
def only_courier(run_directory: Path, patience: float = _CLOSE_WITHIN + 5) -> Iterator[None]:
    """Be the run's only courier; wait up to `patience` seconds for one that is handing over.

    Raises:
        Busy: if another one delivers this run, and goes on.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(run_directory / "delivery" / "courier.lock", patience))
        except TimeoutError as error:
            message = f"another courier delivers {run_directory}"
            raise Busy(message) from error
        remove_leftovers(run_directory / "delivery")
        yield
