"""`trainer-hooks dataset cache`: what is kept of fetched datasets."""

from __future__ import annotations

import dataclasses
import sys

import click

from trainer_hooks.cli.dataset_options import encoded, json_option
from trainer_hooks.cli.progress import shown_size
from trainer_hooks.cli.tables import print_table
from trainer_hooks.cli.views import when
from trainer_hooks.datasets.caching.inventory import Entry, cached, prune, verify
from trainer_hooks.settings import Settings

_KEY = 12


@click.group()
def cache() -> None:
    """List, shrink and check the cache of fetched datasets (DATASET_CACHE_DIR)."""


@cache.command("ls")
@json_option
def list_entries(*, as_json: bool) -> None:
    """List what is in the cache, the one longest unused first."""
    settings = Settings.load()
    entries = cached(settings)
    if as_json:
        click.echo(encoded([dataclasses.asdict(entry) for entry in entries]))
    elif entries:
        headers = ("dataset", "snapshot", "files", "size", "last used", "in use", "key")
        print_table(headers, [_row(entry) for entry in entries])
        click.echo(
            f"{shown_size(sum(entry.room for entry in entries))} of {settings.dataset_cache_max_gb:g} GB", err=True
        )
    else:
        click.echo(f"no datasets in {settings.cache_root}", err=True)


@cache.command("prune")
@click.option("--max-gb", type=click.FloatRange(min=0), help="How much may stay; by default DATASET_CACHE_MAX_GB.")
@click.option("--all", "everything", is_flag=True, help="Remove all of them.")
@json_option
def prune_entries(*, max_gb: float | None, everything: bool, as_json: bool) -> None:
    """Remove datasets, the one longest unused first, until the rest is small enough; those in use stay."""
    removed = prune(Settings.load(), max_gb, everything=everything)
    if as_json:
        click.echo(encoded([dataclasses.asdict(entry) for entry in removed]))
        return
    for entry in removed:
        click.echo(f"removed {entry.dataset_id}, {shown_size(entry.room)} ({entry.key[:_KEY]})")
    click.echo(f"{shown_size(sum(entry.room for entry in removed))} freed", err=True)


@cache.command("verify")
@json_option
def verify_entries(*, as_json: bool) -> None:
    """Read every byte in the cache; what is damaged is set aside, and fetched anew when it is next asked for.

    Exit status: 0 all is as it was fetched, 1 something is damaged.
    """
    problems = verify(Settings.load())
    if as_json:
        click.echo(encoded([dataclasses.asdict(problem) for problem in problems]))
    for problem in () if as_json else problems:
        click.echo(f"{problem.dataset_id} ({problem.key[:_KEY]}): {problem.what}")
    sys.exit(1 if problems else 0)


def _row(entry: Entry) -> list[str]:
    return [
        entry.dataset_id,
        entry.snapshot_id or "",
        f"{entry.files:,}",
        shown_size(entry.size),
        when(entry.last_used),
        "yes" if entry.in_use else "",
        entry.key[:_KEY],
    ]
