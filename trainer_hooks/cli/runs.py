"""`trainer-hooks runs`: what was recorded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from trainer_hooks.cli.addresses import check_one_place, runs_root, settings_for, url_option
from trainer_hooks.cli.export import export
from trainer_hooks.cli.finding import find_run, read_runs
from trainer_hooks.cli.tables import print_table
from trainer_hooks.cli.views import describe, describe_briefly, print_run, when
from trainer_hooks.cli.watch import watch
from trainer_hooks.delivery import load_states
from trainer_hooks.history import RunHistory, Status
from trainer_hooks.ledger import Ledger, configured_destinations, read_ledger
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    from trainer_hooks.cli.receiver_client import ReceiverClient

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def runs() -> None:
    """List, show, follow and export what was recorded.

    Exit status: 0 done, 1 the receiver can't be reached, 2 there is no such run or the set-up is wrong.
    """


@runs.command("ls")
@_directory
@url_option
@_as_json
@click.option("--status", type=click.Choice(get_args(Status)), help="Only runs whose newest attempt stands so.")
def list_runs(*, directory: Path | None, url: str | None, as_json: bool, status: str | None) -> None:
    """List the runs, the newest first; on this machine, those that are a part of another one below that."""
    if url:
        _list_told(url, directory, status, as_json=as_json)
        return
    root = runs_root(directory)
    found = [history for history in read_runs(root) if status in (None, history.latest.status)]
    briefs = _beside_parents([describe_briefly(history, ledger_of(history)) for history in found])
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
@url_option
@_as_json
def show(*, run: str | None, directory: Path | None, url: str | None, as_json: bool) -> None:
    """Show one run, by its id or directory; without RUN, the newest."""
    if url:
        _show_told(url, directory, run, as_json=as_json)
        return
    history = find_run(runs_root(directory), run)
    ledger = ledger_of(history)
    if as_json:
        click.echo(_json(describe(history, ledger)))
    else:
        print_run(history, ledger)


runs.add_command(watch)
runs.add_command(export)


def _list_told(url: str, directory: Path | None, status: str | None, *, as_json: bool) -> None:
    from trainer_hooks.cli.told import print_list

    with _receiver(url, directory) as receiver:
        found = receiver.all_runs(status)
    if as_json:
        click.echo(_json(found))
    elif found:
        print_list(found)
    else:
        click.echo(f"no runs at {receiver.page}", err=True)


def _show_told(url: str, directory: Path | None, run: str | None, *, as_json: bool) -> None:
    from trainer_hooks.cli.told import print_told

    with _receiver(url, directory) as receiver:
        told = receiver.run(run or receiver.newest())
    if as_json:
        click.echo(_json(told))
    else:
        print_told(told, receiver.page_of(told.summary.run))


@contextlib.contextmanager
def _receiver(url: str, directory: Path | None) -> Iterator[ReceiverClient]:
    from trainer_hooks.cli.receiver_client import ReceiverClient
    from trainer_hooks.cli.watching.seen import Unreachable

    check_one_place(url, directory)
    try:
        with ReceiverClient(url, Settings.load()) as receiver:
            yield receiver
    except Unreachable as error:
        message = f"{url} can't be reached: {error}"
        raise click.ClickException(message) from error


def ledger_of(history: RunHistory) -> Ledger:
    """The run's counts; one that nobody has begun to deliver counts for the destinations that its record names."""
    if load_states(history.directory):
        return read_ledger(history.directory)
    settings = settings_for(history)
    destinations = configured_destinations(history.directory, history.run, settings, history.linked)
    return read_ledger(history.directory, destinations)


def _beside_parents(briefs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the same order, but that each run is followed by those that are a part of it, the first of them first."""
    listed = {brief["run"] for brief in briefs}
    return [one for brief in briefs if brief["parent"] not in listed for one in _with_parts(brief, briefs)]


def _with_parts(brief: dict[str, Any], briefs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield brief
    for part in reversed(briefs):
        if part["parent"] == brief["run"]:
            yield from _with_parts(part, briefs)


def _row(brief: dict[str, Any]) -> list[str]:
    return [
        f"  {brief['run']}" if brief["parent"] else brief["run"],
        brief["status"],
        str(brief["attempt"]),
        brief["done"],
        brief["best"],
        when(brief["began"]),
        str(brief["pending"]),
        str(brief["rejected"]),
    ]


def _json(content: object) -> str:
    return json.dumps(msgspec.to_builtins(content), indent=2, ensure_ascii=False)
