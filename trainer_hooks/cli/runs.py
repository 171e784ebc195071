"""`trainer-hooks runs`: what was recorded."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import IO, Any, get_args

import click
import msgspec

from trainer_hooks.cli.addresses import runs_root, settings_for
from trainer_hooks.cli.finding import find_run, read_runs
from trainer_hooks.cli.tables import print_table
from trainer_hooks.cli.views import describe, describe_briefly, print_run, when
from trainer_hooks.delivery import load_states
from trainer_hooks.events import Record
from trainer_hooks.history import RunHistory, Status, read_measured
from trainer_hooks.journal import read_records
from trainer_hooks.ledger import Ledger, configured_destinations, read_ledger

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def runs() -> None:
    """List, show and export what was recorded.

    Exit status: 0 done, 2 there is no such run or the set-up is wrong.
    """


@runs.command("ls")
@_directory
@_as_json
@click.option("--status", type=click.Choice(get_args(Status)), help="Only runs whose newest attempt stands so.")
def list_runs(*, directory: Path | None, as_json: bool, status: str | None) -> None:
    """List the runs, the newest first."""
    root = runs_root(directory)
    found = [history for history in read_runs(root) if status in (None, history.latest.status)]
    briefs = [describe_briefly(history, ledger_of(history)) for history in found]
    if as_json:
        click.echo(_json(briefs))
    elif briefs:
        headers = ("run", "status", "attempt", "done", "best", "began", "pending", "rejected")
        print_table(headers, [_row(brief) for brief in briefs])
    else:
        click.echo(f"no runs in {root}", err=True)


@runs.command()
@click.argument("run", required=False)
@_directory
@_as_json
def show(*, run: str | None, directory: Path | None, as_json: bool) -> None:
    """Show one run, by its id or directory; without RUN, the newest."""
    history = find_run(runs_root(directory), run)
    ledger = ledger_of(history)
    if as_json:
        click.echo(_json(describe(history, ledger)))
    else:
        print_run(history, ledger)


@runs.command()
@click.argument("run")
@_directory
@click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="A file.")
def export(*, run: str, directory: Path | None, kind: str, output: IO[str]) -> None:
    """Write out one run: every record (jsonl), or one row per epoch of each attempt with its metrics (csv).

    A training that counts no epochs has a row per told iteration.
    """
    found = find_run(runs_root(directory), run)
    if kind == "csv":
        _write_measured(found, output)
        return
    for record in read_records(found.directory):
        output.write(msgspec.json.encode(_exported(record)).decode() + "\n")


def ledger_of(history: RunHistory) -> Ledger:
    """The run's counts; one that nobody has begun to deliver counts for the destinations that its record names."""
    if load_states(history.directory):
        return read_ledger(history.directory)
    settings = settings_for(history)
    destinations = configured_destinations(history.directory, history.run, settings, history.linked)
    return read_ledger(history.directory, destinations)


def _row(brief: dict[str, Any]) -> list[str]:
    return [
        brief["run"],
        brief["status"],
        str(brief["attempt"]),
        brief["done"],
        brief["best"],
        when(brief["began"]),
        str(brief["pending"]),
        str(brief["rejected"]),
    ]


def _exported(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "run": record.run,
        "attempt": record.attempt,
        "time": record.time,
        "event": record.event,
    }


def _write_measured(history: RunHistory, output: IO[str]) -> None:
    points = read_measured(history.directory)
    names = list(dict.fromkeys(name for point in points for name in point.metrics))
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["run", "attempt", "epoch", "iteration", "time", "duration", *names])
    for point in points:
        values = [point.metrics.get(name, "") for name in names]
        writer.writerow([history.run, point.attempt, point.epoch, point.iteration, point.time, point.duration, *values])


def _json(content: object) -> str:
    return json.dumps(msgspec.to_builtins(content), indent=2, ensure_ascii=False)
