"""What the user sees at the end of a run: a few lines on stderr, and one more if something is pending at the exit."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from trainer_hooks.attempts import Claim
from trainer_hooks.events import Metrics, RunCompleted, RunFailed, RunInterrupted
from trainer_hooks.history import RunState, stored_checkpoints


def print_summary(claimed: Claim, state: RunState, *, at_risk: str | None) -> None:
    """Status, epochs, best metric, checkpoints, and where to read more."""
    _say("\n".join(_lines(claimed, state, at_risk)))


def print_delivery(claimed: Claim, *, delivered: bool) -> None:
    """At the exit: where the checkpoints are now, and what is pending, why, and how to send it."""
    for _, stored in sorted(stored_checkpoints(claimed.directory).items()):
        _say(f"  stored       {stored.uri}")
    if delivered:
        return
    from trainer_hooks.ledger import read_pending  # knows all destinations: not for the training's start to load

    for name, (count, trouble) in read_pending(claimed.directory).items():
        _say(f"  pending      {count} for {name}{f': {trouble}' if trouble else ''}")
    _say(
        f"trainer_hooks: not everything is delivered yet; it is kept in {claimed.directory}. "
        f"Send it with: trainer-hooks sync {shlex.quote(str(claimed.directory.parent))}"
    )


def _lines(claimed: Claim, state: RunState, at_risk: str | None) -> Iterator[str]:
    yield f"trainer_hooks: run {claimed.run} {_status(state)}"
    if state.epoch:
        total = f" of {state.total_epochs}" if state.total_epochs else ""
        yield f"  epochs       {state.epoch}{total}"
    best = _best(state)
    if best:
        yield f"  best         {best}"
    target = claimed.settings.storage_uri
    for name, saved in state.saved.items():
        stored = " (being stored)" if target and name not in state.stored else ""
        yield f"  {name:12} {saved.path}{stored}"
    if at_risk:
        yield f"  at risk      {at_risk}: could not be written to {claimed.directory}"
    yield f"  run          {claimed.directory}"


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
    if state.best_epoch is None:
        return None
    value = _shown(state.best_metrics, state.primary)
    return f"epoch {state.best_epoch}{value}"


def _shown(metrics: Metrics, primary: str | None) -> str:
    if primary is None or primary not in metrics:
        return ""
    return f", {primary} {float(metrics[primary]):.4g}"


def _say(text: str) -> None:
    # stderr, and never through logging: what a host prints on stdout, and its log, stay as they are without us.
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
