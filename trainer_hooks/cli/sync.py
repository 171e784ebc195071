"""`trainer-hooks sync`: deliver what is pending, run by run."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import click

from trainer_hooks.cli.addresses import runs_root, settings_for
from trainer_hooks.courier.loop import Busy, Courier, only_courier
from trainer_hooks.errors import SetupError
from trainer_hooks.history import RunHistory, list_runs, read_history
from trainer_hooks.journal import Cursor, sizes
from trainer_hooks.ledger import Ledger, configured_destinations, read_ledger
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment

_LOOK_EVERY = 2.0
_LOOK_AGAIN_AT_THE_END = 0.2
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Status(IntEnum):
    """Exit statuses; where several apply, the one that stands first here."""

    SETUP = 2
    PENDING = 3
    REJECTED = 4
    DELIVERED = 0


@dataclass(frozen=True)
class _Outcome:
    """How a run stands after it was seen to; `line` says it."""

    run: str
    status: _Status
    line: str
    is_over: bool


@click.command()
@click.argument("place", metavar="[DIR]", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds for each run.")
@click.option("--retry-rejected", is_flag=True, help="Offer what was refused for good once more, first of all.")
@click.option("--watch", is_flag=True, help="Go on looking for work until SIGTERM or Ctrl-C: as a sidecar.")
@click.option("--until-ended", is_flag=True, help="As --watch, until all runs have ended and all is delivered.")
def sync(*, place: Path | None, timeout: float, retry_rejected: bool, watch: bool, until_ended: bool) -> None:
    """Deliver what is pending.

    DIR is one run's directory, or that of all runs (by default TRAINER_HOOKS_DIR).

    Where to: as CALLBACK_URL and the storage's variables say now, else as they were when the run began. A training that
    was killed gets its terminal event; one that is still at work is delivered as far as it has come.

    A signal ends a watch once it has delivered what is pending, for TRAINER_HOOKS_FLUSH_TIMEOUT seconds at most; a
    second one at once.

    Exit status: 0 all is delivered, 2 the set-up is wrong, 3 something is pending, 4 something was refused for good.
    Of several, the first in the order 2, 3, 4.
    """
    # What couriers warn of stands in the run's line, without the credentials that a library's message may quote.
    logging.getLogger("trainer_hooks").addHandler(logging.NullHandler())
    root = runs_root(place)
    watch = watch or until_ended
    synchronisation = _Sync(root, timeout=timeout, patience=Settings.load().flush_timeout if watch else 0.0)
    with _stopped_by_signals(synchronisation):
        status = synchronisation.once(retry_rejected=retry_rejected)
        while watch and not (until_ended and synchronisation.is_done) and synchronisation.goes_on_after(_LOOK_EVERY):
            status = synchronisation.once(retry_rejected=False)
        if synchronisation.is_ending:
            status = synchronisation.finish(status)
    if not watch or synchronisation.seen:
        click.echo(synchronisation.summary())
    sys.exit(status)


class _Sync:
    """Sees to the runs of a place, as often as asked; what has not changed since is left alone.

    Each run may take `timeout` seconds; once it is asked to end, all of them together `patience`.
    """

    def __init__(self, place: Path, *, timeout: float, patience: float) -> None:
        self._place = place
        self._timeout = timeout
        self._patience = patience
        self._ending = threading.Event()
        self._stop = threading.Event()
        self._deadline = math.inf
        self._courier: Courier | None = None
        self._settled: dict[Path, Cursor] = {}
        self.seen: dict[Path, _Outcome] = {}

    def end(self) -> None:
        """End as soon as all is delivered, or patience is at its end; the second time, at once. For signal handlers."""
        if self._ending.is_set() or not self._patience:
            self._stop.set()
        else:
            self._deadline = time.monotonic() + self._patience
        self._ending.set()
        if self._courier and self._stop.is_set():
            self._courier.stop()
        elif self._courier:
            self._courier.hurry(self._patience)

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._ending.is_set()

    @property
    def is_done(self) -> bool:
        """Whether there are runs, all of them have ended, and nothing is pending."""
        return bool(self.seen) and all(one.is_over and one.status != _Status.PENDING for one in self.seen.values())

    def goes_on_after(self, seconds: float) -> bool:
        """Wait; False if it is to end."""
        return not self._ending.wait(seconds)

    def finish(self, status: _Status) -> _Status:
        """What a watch still does once it is asked to end: deliver what is pending."""
        while not self._stop.is_set() and time.monotonic() < self._deadline:
            status = self.once(retry_rejected=False)
            if all(one.status != _Status.PENDING for one in self.seen.values()):
                break
            self._stop.wait(_LOOK_AGAIN_AT_THE_END)
        return status

    def once(self, *, retry_rejected: bool) -> _Status:
        """See to every run that has something to do, the oldest first; says a line for each whose state is news."""
        found: set[_Status] = set()
        for directory in self._directories():
            if self._stop.is_set():
                found.add(_Status.PENDING)  # nobody has looked
                break
            if self._settled.get(directory) == sizes(directory):
                continue
            outcome = self._see_to(directory, retry_rejected=retry_rejected)
            if outcome is None:
                continue
            if outcome != self.seen.get(directory):
                click.echo(outcome.line)
            self.seen[directory] = outcome
        found |= {outcome.status for outcome in self.seen.values()}
        return next((status for status in _Status if status in found), _Status.DELIVERED)

    def summary(self) -> str:
        """How many runs there are in each state."""
        states = [outcome.status for outcome in self.seen.values()]
        counts = (f"{states.count(status)} {status.name.lower()}" for status in _Status if status in states)
        runs = "1 run" if len(states) == 1 else f"{len(states)} runs"
        return f"{runs}: {', '.join(counts)}" if states else f"no runs in {self._place}"

    def _directories(self) -> list[Path]:
        if (self._place / "journal").is_dir():
            return [self._place]
        return list(list_runs(self._place))[::-1]

    def _see_to(self, directory: Path, *, retry_rejected: bool) -> _Outcome | None:
        history = read_history(directory)
        if not history.attempts:
            return None
        redactor = Redactor(known_secrets(environment()))
        try:
            settings = settings_for(history)
            problem = self._deliver(history, settings, retry_rejected=retry_rejected)
            ledger = _ledger(history, settings)
        except SetupError as error:
            line = redactor.text(f"{history.run}: {error}")
            return _Outcome(history.run, _Status.SETUP, line, history.latest.is_over)
        latest = read_history(directory).latest
        has_ended = latest.state.ended is not None
        if not ledger.pending and has_ended:
            self._settled[directory] = sizes(directory)
        line = _line(f"{history.run}: {latest.status}", ledger, problem)
        return _Outcome(history.run, _status(ledger), redactor.text(line), has_ended)

    def _deliver(self, history: RunHistory, settings: Settings, *, retry_rejected: bool) -> str | None:
        """Do what there is to do; returns what could not be done, and why."""
        ledger = _ledger(history, settings)
        retrying = retry_rejected and ledger.rejected > 0
        is_lost = history.latest.is_over and history.latest.state.ended is None
        if not (ledger.pending or is_lost or retrying):
            return None
        try:
            with only_courier(history.directory, patience=0):
                overtaken = self._retry(history, settings) if retrying else 0
            self._run_courier(history, settings)
        except Busy:
            return "its own courier is at work"
        return f"{overtaken} not offered again, since later ones have been told" if overtaken else None

    def _run_courier(self, history: RunHistory, settings: Settings) -> None:
        briefly = not history.latest.is_over
        seconds = max(0.0, min(self._timeout, self._deadline - time.monotonic()))
        self._courier = Courier(history.directory, settings, patience=seconds, briefly=briefly)
        if briefly or self.is_ending:
            self._courier.hurry(seconds)
        if not self._stop.is_set():
            self._courier.run()
        for error in self._courier.misconfigured.values():
            raise error

    def _retry(self, history: RunHistory, settings: Settings) -> int:
        from trainer_hooks.cli.retry import retry_rejected

        deadline = time.monotonic() + self._timeout
        return retry_rejected(history, settings, lambda: self._stop.is_set() or time.monotonic() > deadline)


@contextlib.contextmanager
def _stopped_by_signals(synchronisation: _Sync) -> Iterator[None]:
    found = {number: signal.signal(number, lambda *_: synchronisation.end()) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def _ledger(history: RunHistory, settings: Settings) -> Ledger:
    destinations = configured_destinations(history.directory, history.run, settings, history.linked)
    return read_ledger(history.directory, destinations)


def _status(ledger: Ledger) -> _Status:
    if ledger.pending:
        return _Status.PENDING
    return _Status.REJECTED if ledger.rejected else _Status.DELIVERED


def _line(run: str, ledger: Ledger, problem: str | None) -> str:
    parts = [run]
    for account in ledger.accounts:
        counts = f"delivered {account.delivered}, pending {account.pending}, rejected {account.rejected}"
        trouble = f" ({account.trouble})" if account.trouble and account.pending else ""
        parts.append(f"{account.destination} {counts}{trouble}")
    if not ledger.accounts:
        parts.append("no destination is configured")
    return "; ".join([*parts, problem] if problem else parts)
