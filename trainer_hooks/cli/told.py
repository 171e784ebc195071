"""Runs as a receiver tells of them, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from trainer_hooks.cli.tables import print_table
from trainer_hooks.cli.views import cause, when
from trainer_hooks.receiver.shown import AttemptShown, CheckpointShown, FailureShown, Heartbeat, RunShown, RunTold
from trainer_hooks.receiver.texts import duration, value


def print_list(runs: Iterable[RunShown]) -> None:
    """Print what `runs ls --url` tells."""
    rows = [
        [run.run, run.status, str(run.attempts), _done(run), run.best.at if run.best else "", when(run.began)]
        for run in runs
    ]
    print_table(("run", "status", "attempt", "done", "best", "began"), rows)


def print_told(told: RunTold, page: str) -> None:
    """Print what `runs show --url` tells of a run; `page` is where a browser finds it."""
    click.echo(f"run        {told.summary.run} (job {told.summary.job})")
    click.echo(f"page       {page}")
    for attempt in told.attempts:
        _print_attempt(attempt, told.heartbeat if attempt is told.attempts[-1] else None)


def _print_attempt(attempt: AttemptShown, heartbeat: Heartbeat | None) -> None:
    click.echo(f"\nattempt {attempt.number}: {attempt.status}, {_done(attempt)}, began {when(attempt.began)}")
    about = ((name, getattr(attempt, name)) for name in ("framework", "task", "model"))
    told = ", ".join(f"{name} {said}" for name, said in about if said)
    for line in (told, *_state(attempt, heartbeat), *_failure(attempt.failure)):
        if line:
            click.echo(f"  {line}")
    _print_rows(("step", "status", "done"), ([one.step, one.status, f"{one.fraction:.0%}"] for one in attempt.steps))
    metrics = {**attempt.metrics, **attempt.values}
    _print_rows(("metric", "newest"), ([name, value(given)] for name, given in metrics.items()))
    _print_rows(("checkpoint", "of", "saved", "stored"), map(_checkpoint, attempt.checkpoints))


def _print_rows(headers: tuple[str, ...], rows: Iterable[list[str]]) -> None:
    found = list(rows)
    if found:
        click.echo()
        print_table(headers, found)


def _done(shown: RunShown | AttemptShown) -> str:
    return f"{shown.done}{f'/{shown.total}' if shown.total else ''} {shown.unit}"


def _state(attempt: AttemptShown, heartbeat: Heartbeat | None) -> Iterator[str]:
    if attempt.duration is not None:
        yield f"took {duration(attempt.duration)}"
    if attempt.best:
        yield f"best {attempt.best.at}, {attempt.best.metric} {value(attempt.best.value)}"
    if heartbeat:
        yield f"alive {duration(heartbeat.ago)} ago: {heartbeat.state}, idle for {duration(heartbeat.idle)}"


def _failure(failure: FailureShown | None) -> Iterator[str]:
    if failure is None:
        return
    rank = "" if failure.rank is None else f" (rank {failure.rank})"
    yield f"[{failure.kind}]{f' {failure.exception}' if failure.exception else ''}{rank}: {failure.message}"
    yield from cause(failure.traceback, failure.output)


def _checkpoint(shown: CheckpointShown) -> list[str]:
    places = ((shown.epoch, "epoch"), (shown.iteration, "iteration"))
    at = ", ".join(f"{unit} {number}" for number, unit in places if number is not None)
    return [shown.name, at, shown.path or "", shown.uri or "-"]
