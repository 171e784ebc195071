"""Tables on stdout: fitted to a terminal, and one line per row where the output goes to a file or another program."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence

import click

_WIDE = 10_000


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print the rows under their headers; cells are shown as they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=terminal_width() or _WIDE, color_system=None).print(table)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip())


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
