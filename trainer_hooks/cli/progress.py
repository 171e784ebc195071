"""How far something is, on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

_EVERY = 5.0
Counting = Callable[[int, int], None]


@contextlib.contextmanager
def counting(what: str) -> Iterator[Counting]:
    """What is to be told how many are done, and how many there are."""
    if sys.stderr.isatty():
        with _bar(what) as tell:
            yield lambda done, total: tell(done, total, f"{done:,}/{total:,}")
    else:
        tell_line = _Lines(what)
        yield lambda done, total: tell_line(f"{done:,} of {total:,}")


@contextlib.contextmanager
def transferring(what: str) -> Iterator[Counting]:
    """What is to be told how many files and bytes have come; nobody knows how many there will be."""
    if sys.stderr.isatty():
        with _bar(what) as tell:
            yield lambda files, size: tell(files, None, f"{files:,} files, {shown_size(size)}")
    else:
        tell_line = _Lines(what)
        yield lambda files, size: tell_line(f"{files:,} files, {shown_size(size)}")


def shown_size(size: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:  # noqa: PLR2004 - shown as less than a thousand
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._last = time.monotonic()

    def __call__(self, how_far: str) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            click.echo(f"{self._what}: {how_far}", err=True)


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int | None, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, told="")
        yield lambda done, total, told: bar.update(task, completed=done, total=total, told=told)
