"""A run, for a reader: as plain values for JSON, or as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from trainer_hooks.cli.tables import print_table, terminal_width
from trainer_hooks.delivery import load_rejected
from trainer_hooks.events import RunCompleted, RunFailed, RunInterrupted, RunLost, Scalar
from trainer_hooks.history import Attempt, Measured, RunHistory, age, read_measured
from trainer_hooks.ledger import Account, Ledger
from trainer_hooks.liveness import Liveness, load_liveness

_EXPORT_HINT = "all of them: trainer-hooks runs export {run} --format csv"


def when(seconds: float | None) -> str:
    """The local time, to the second."""
    return "" if not seconds else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def describe_briefly(history: RunHistory, ledger: Ledger) -> dict[str, Any]:
    """What `runs ls` tells of a run."""
    latest = history.latest
    unit, done, total = latest.state.done
    return {
        "run": history.run,
        "directory": str(history.directory),
        "job": latest.header.job,
        "parent": latest.state.started.parent if latest.state.started else None,
        "status": latest.status,
        "attempt": latest.number,
        "done": f"{done}{f'/{total}' if total else ''} {unit}",
        "best": latest.state.best_at,
        "epoch": latest.state.epoch,
        "total_epochs": latest.state.total_epochs,
        "iteration": latest.state.iteration,
        "total_iterations": latest.state.total_iterations,
        "best_epoch": latest.state.best_epoch,
        "best_iteration": latest.state.best_iteration,
        "best_metrics": latest.state.best_metrics,
        "began": history.attempts[0].began or None,
        "last": latest.last or None,
        "pending": ledger.pending,
        "rejected": ledger.rejected,
    }


def describe(history: RunHistory, ledger: Ledger) -> dict[str, Any]:
    """What `runs show` tells of a run."""
    return {
        "run": history.run,
        "directory": str(history.directory),
        "job": history.latest.header.job,
        "linked": history.linked,
        "attempts": [_describe_attempt(history, attempt) for attempt in history.attempts],
        "ledger": _describe_ledger(history, ledger),
    }


def print_run(history: RunHistory, ledger: Ledger) -> None:
    """Print what `runs show` tells of a run."""
    job = history.latest.header.job
    click.echo(f"run        {history.run}" + (f" (job {job})" if job else ""))
    click.echo(f"directory  {history.directory}")
    for link in history.linked.values():
        click.echo(f"{link.tracker:<9}  task {link.id}" + (f", {link.url}" if link.url else ""))
    for attempt in history.attempts:
        _print_attempt(history, attempt)
    _print_ledger(history, ledger)


def _describe_attempt(history: RunHistory, attempt: Attempt) -> dict[str, Any]:
    state = attempt.state
    return {
        "attempt": attempt.number,
        "status": attempt.status,
        "heartbeat": _heartbeat(history, attempt),
        "began": attempt.began or None,
        "last": attempt.last or None,
        "started": state.started,
        "overall": state.overall,
        "steps": state.steps,
        "measured": _measured(history, attempt),
        "best_epoch": state.best_epoch,
        "best_iteration": state.best_iteration,
        "best_metrics": state.best_metrics,
        "saved": state.saved,
        "stored": state.stored,
        "ended": state.ended,
    }


def _heartbeat(history: RunHistory, attempt: Attempt) -> Liveness | None:
    """The newest sign of life of an attempt that has not ended."""
    newest = load_liveness(history.directory)
    return newest if newest and newest.attempt == attempt.number and attempt.state.ended is None else None


def _print_heartbeat(history: RunHistory, attempt: Attempt) -> None:
    newest = _heartbeat(history, attempt)
    if newest is not None:
        click.echo(f"  alive      {age(newest.time):.0f} s ago: {newest.state}, idle for {newest.idle:.0f} s")


def _describe_ledger(history: RunHistory, ledger: Ledger) -> dict[str, Any]:
    return {
        "accepted": ledger.accepted,
        "damaged": {"lines": ledger.damaged_lines, "bytes": ledger.damaged_bytes},
        "dropped": ledger.dropped,
        "balanced": ledger.is_balanced,
        "destinations": [
            {
                **{field: getattr(account, field) for field in account.__dataclass_fields__},
                "balanced": account.is_balanced(ledger.accepted),
                "refused": load_rejected(history.directory, account.destination),
            }
            for account in ledger.accounts
        ],
    }


def _measured(history: RunHistory, attempt: Attempt) -> list[Measured]:
    return [point for point in read_measured(history.directory) if point.attempt == attempt.number]


def _print_attempt(history: RunHistory, attempt: Attempt) -> None:
    state = attempt.state
    unit, done, total = state.done
    of = f" of {total}" if total else ""
    click.echo(f"\nattempt {attempt.number}: {attempt.status}, {done}{of} {unit}, began {when(attempt.began)}")
    _print_heartbeat(history, attempt)
    if state.started:
        told = ((name, getattr(state.started, name)) for name in ("parent", "action", "framework", "task", "model"))
        click.echo("  " + ", ".join(f"{name} {value}" for name, value in told if value))
    for line in _ending(attempt):
        click.echo(f"  {line}")
    _print_steps(attempt)
    _print_measured(history, _measured(history, attempt))
    _print_checkpoints(attempt)


def _print_steps(attempt: Attempt) -> None:
    state = attempt.state
    if state.overall is None:
        return
    rows = [
        [name, f"{step.share:.0%}", step.status, f"{step.fraction:.0%}", _short(step.duration), step.skipped or ""]
        for name, step in state.steps.items()
    ]
    click.echo(f"\n{state.overall:.0%} of the workflow")
    print_table(["step", "share", "status", "done", "seconds", ""], rows)


def _ending(attempt: Attempt) -> Iterator[str]:
    ended = attempt.state.ended
    if isinstance(ended, RunCompleted) and ended.duration is not None:
        yield f"completed in {ended.duration:.1f} s"
    if isinstance(ended, (RunInterrupted, RunLost)):
        yield ended.reason
    if isinstance(ended, RunFailed):
        rank = "" if ended.rank is None else f" (rank {ended.rank})"
        yield f"[{ended.error}] {ended.exception or 'exit'}{rank}: {ended.message}"
        yield from cause(ended.traceback, ended.output)


def cause(traceback: str | None, output: str | None) -> Iterator[str]:
    """The lines below a failure's own: its traceback, and the end of what the process wrote to stderr."""
    yield from (traceback or "").splitlines()
    if output:
        yield "the end of its stderr:"
        yield from (f"  {line}" for line in output.splitlines())


def _print_measured(history: RunHistory, points: list[Measured]) -> None:
    names = list(dict.fromkeys(name for point in points for name in point.metrics))
    shown = names[: _fitting(names)]
    rows = [
        [str(_place(point)), _short(point.duration), *(_short(point.metrics.get(name)) for name in shown)]
        for point in points
    ]
    if rows:
        click.echo()
        print_table(["iteration" if points[0].epoch is None else "epoch", "seconds", *shown], rows)
    if len(shown) < len(names):
        hint = _EXPORT_HINT.format(run=history.run)
        click.echo(f"and {len(names) - len(shown)} more metrics; {hint}")


def _place(point: Measured) -> int | None:
    return point.iteration if point.epoch is None else point.epoch


def _fitting(names: list[str]) -> int:
    """How many columns a terminal has room for; any other reader gets all."""
    width = terminal_width()
    if width is None:
        return len(names)
    room = width - len("epoch  seconds")
    widths = (max(len(name), len("0.0001")) + 2 for name in names)
    count = 0
    for needed in widths:
        room -= needed
        if room < 0:
            break
        count += 1
    return max(count, 1)


def _print_checkpoints(attempt: Attempt) -> None:
    state = attempt.state
    rows = []
    for name in sorted({*state.saved, *state.stored}):
        saved, stored = state.saved.get(name), state.stored.get(name)
        rows.append([name, saved.path if saved else "", stored.uri if stored else "-"])
    if rows:
        click.echo()
        print_table(["checkpoint", "saved", "stored"], rows)


def _print_ledger(history: RunHistory, ledger: Ledger) -> None:
    damage = f"{ledger.damaged_lines} lines ({ledger.damaged_bytes} bytes)"
    click.echo(f"\naccepted {ledger.accepted} records, damaged {damage}, dropped {ledger.dropped}")
    if not ledger.accounts:
        click.echo("no destination is configured: everything is kept here")
        return
    headers = ("destination", "delivered", "pending", "rejected", "superseded", "not addressed", "sum")
    print_table(headers, [_account_row(account, ledger) for account in ledger.accounts])
    for account in ledger.accounts:
        if account.trouble and account.pending:
            click.echo(f"{account.destination}: {account.trouble}")
        for entry in load_rejected(history.directory, account.destination) if account.rejected else ():
            click.echo(f"{account.destination} refused {entry.type} {entry.id}: {entry.reason}")


def _account_row(account: Account, ledger: Ledger) -> list[str]:
    verdict = {True: "ok", False: "NOT ok", None: "not installed here"}[account.is_balanced(ledger.accepted)]
    counts = (account.delivered, account.pending, account.rejected, account.superseded, account.not_addressed)
    return [account.destination, *("?" if count is None else str(count) for count in counts), verdict]


def _short(value: Scalar | None) -> str:
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    return f"{float(value):.5g}"
