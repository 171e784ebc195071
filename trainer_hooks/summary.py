"""What the user sees at the end of a run: a few lines on stderr, and one more if something is pending at the exit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from trainer_hooks.attempts import Claim
from trainer_hooks.events import Metrics, RunCompleted, RunFailed, RunInterrupted
from trainer_hooks.history import RunState, stored_checkpoints
from trainer_hooks.settings import Settings


def print_summary(claimed: Claim, state: RunState, *, at_risk: str | None) -> None:
    """Status, epochs, best metric, checkpoints, and where to read more."""
    _say("\n".join(_lines(claimed, state, at_risk)))


def print_delivery(claimed: Claim, *, delivered: bool) -> None:
    """At the exit: where the checkpoints are now, and what is pending, why, and how to send it.

    `delivered`: nothing is pending, as far as it is this process's affair.
    """
    for _, stored in sorted(stored_checkpoints(claimed.directory).items()):
        _say(f"  stored       {stored.uri}")
    if delivered and not _waits_for_sync(claimed.settings):
        return
    from trainer_hooks.ledger import (
        COUNTED_AT_MOST,
        read_pending,
    )  # knows all destinations: not for the training's start to load

    pending = read_pending(claimed.directory)
    if not pending and not _has_a_destination(claimed.settings):  # there is nobody to send it to
        return
    for name, (count, trouble) in pending.items():
        more = " or more" if count >= COUNTED_AT_MOST else ""
        _say(f"  pending      {count}{more} for {name}{f': {trouble}' if trouble else ''}")
    _say(
        f"trainer_hooks: not everything is delivered yet; it is kept in {claimed.directory}. "
        f"Send it with: trainer-hooks sync {shlex.quote(str(claimed.directory.parent))}"
    )


def _lines(claimed: Claim, state: RunState, at_risk: str | None) -> Iterator[str]:
    yield f"trainer_hooks: run {claimed.run} {_status(state)}"
    unit, done, total = state.done
    if done:
        yield f"  {unit:12} {done}{f' of {total}' if total else ''}"
    best = _best(state)
    if best:
        yield f"  best         {best}"
    for name, saved in state.saved.items():
        yield f"  {name:12} {saved.path}{'' if name in state.stored else _what_comes(claimed.settings)}"
    if at_risk:
        yield f"  at risk      {at_risk}: could not be written to {claimed.directory}"
    yield f"  run          {claimed.directory}"


def _what_comes(settings: Settings) -> str:
    if settings.storage_uri is None:
        return ""
    return " (being stored)" if settings.has_courier else " (to be stored by trainer-hooks sync)"


def _waits_for_sync(settings: Settings) -> bool:
    """Whether there are destinations, and nobody delivers to them."""
    return _has_a_destination(settings) and not settings.has_courier


def _has_a_destination(settings: Settings) -> bool:
    is_told = (settings.callback_url and settings.job_id) or (settings.synapse_host and settings.synapse_job)
    return bool(is_told or settings.storage_uri is not None)


def _status(state: RunState) -> str:
    ended = state.ended
    if isinstance(ended, RunCompleted) and ended.duration is not None:
        return f"completed in {ended.duration:.1f} s"
    if isinstance(ended, RunFailed):
        return f"failed: [{ended.error}] {ended.message.splitlines()[0][:200] if ended.message else ''}"
    if isinstance(ended, RunInterrupted):
        return f"interrupted: {ended.reason}"
    return state.status


def _best(state: RunState) -> str | None:
    return f"{state.best_at}{_shown(state.best_metrics, state.primary)}" if state.best_at else None


def _shown(metrics: Metrics, primary: str | None) -> str:
    if primary is None or primary not in metrics:
        return ""
    return f", {primary} {float(metrics[primary]):.4g}"


def _say(text: str) -> None:
    # stderr, and never through logging: what a host prints on stdout, and its log, stay as they are without us.
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
