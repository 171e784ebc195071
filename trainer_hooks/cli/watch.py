"""`trainer-hooks runs watch`: a run, followed in a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from trainer_hooks.cli.addresses import check_one_place, runs_root, url_option
from trainer_hooks.events import Level
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    from trainer_hooks.cli.watching.seen import Seen, Source

_EVERY = 1.0


@click.command()
@click.argument("run", required=False)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
@url_option
@click.option("--metric", help="Whose curve is drawn; by default that of the metric that the run is judged by.")
@click.option("--level", type=click.Choice(get_args(Level)), default="INFO", show_default=True, help="Of log records.")
def watch(*, run: str | None, directory: Path | None, url: str | None, metric: str | None, level: Level) -> None:
    """Follow RUN until it ends; without RUN the newest that is open, or the next that begins.

    Where the output is no terminal, a line is written for each thing that has changed.

    Exit status: 0 it has completed, 1 it has not, 2 there is no such run or the set-up is wrong.
    """
    check_one_place(url, directory)
    with _source(url, directory) as source:
        found = run or _await_one(source)
        last = _follow(source, found, metric, level)
    raise SystemExit(0 if last.told.summary.status == "completed" else 1)


@contextlib.contextmanager
def _source(url: str | None, directory: Path | None) -> Iterator[Source]:
    if url:
        from trainer_hooks.cli.receiver_client import ReceiverClient
        from trainer_hooks.cli.watching.remote import RemoteRuns

        with ReceiverClient(url, Settings.load()) as receiver:
            yield RemoteRuns(receiver)
    else:
        from trainer_hooks.cli.watching.local import LocalRuns

        yield LocalRuns(runs_root(directory))


def _await_one(source: Source) -> str:
    from trainer_hooks.cli.watching.seen import Unreachable

    waits = False
    while True:
        with contextlib.suppress(Unreachable):
            found = source.newest()
            if found is not None:
                return found
        if not waits:
            click.echo("no run is open; waiting for one", err=True)
            waits = True
        time.sleep(_EVERY)


def _follow(source: Source, run: str, metric: str | None, level: Level) -> Seen:
    import sys

    return _draw(source, run, metric, level) if sys.stdout.isatty() else _write(source, run, metric, level)


def _draw(source: Source, run: str, metric: str | None, level: Level) -> Seen:
    from rich.console import Console
    from rich.live import Live

    from trainer_hooks.cli.watching.screen import Screen
    from trainer_hooks.cli.watching.seen import Unreachable

    console, screen = Console(), Screen(level)
    seen: Seen | None = None
    with Live(console=console, auto_refresh=False) as live:
        while True:
            trouble = None
            try:
                seen = source.look(run, metric)
            except Unreachable as error:
                trouble = str(error)
            if seen is not None:
                live.update(screen.draw(seen, console.width, trouble), refresh=True)
                if not seen.is_open:
                    return seen
            elif trouble:
                live.update(f"can't be reached, trying again: {trouble}", refresh=True)
            time.sleep(_EVERY)


def _write(source: Source, run: str, metric: str | None, level: Level) -> Seen:
    from trainer_hooks.cli.watching.lines import Lines
    from trainer_hooks.cli.watching.seen import Unreachable

    lines, trouble = Lines(level), ""
    while True:
        try:
            seen = source.look(run, metric)
        except Unreachable as error:
            if str(error) != trouble:
                trouble = str(error)
                click.echo(f"can't be reached, trying again: {trouble}", err=True)
        else:
            trouble = ""
            for line in lines.tell(seen):
                click.echo(line)
            if not seen.is_open:
                return seen
        time.sleep(_EVERY)
