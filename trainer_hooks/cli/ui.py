"""`trainer-hooks ui`: the runs of this machine, in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click
import msgspec

from trainer_hooks.cli.addresses import runs_root
from trainer_hooks.cli.serving import address_of_other, check_installed, receiver
from trainer_hooks.errors import AlreadyServed
from trainer_hooks.settings import Settings

_HOST = "127.0.0.1"


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default a free one.")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the browser.")
def ui(*, directory: Path | None, port: int, opens: bool) -> None:
    """Show the runs of this machine in a browser, live.

    It is `trainer-hooks serve` for oneself: at 127.0.0.1, without a token. Where a receiver has the directory already,
    its page is opened. Ends with Ctrl-C.

    Exit status: 0 ended as asked, 2 the set-up is wrong.
    """
    from trainer_hooks.receiver.tokens import Tokens

    check_installed()
    root = runs_root(directory)
    settings = msgspec.structs.replace(Settings.load(), serve_url=None)
    try:
        with receiver(root, Tokens(None), settings, (_HOST, port)) as serving:
            _show(root, serving.here, opens=opens)
            serving.run()
    except AlreadyServed:
        address = address_of_other(root)
        if address is None:
            raise
        _show(root, address, opens=opens)


def _show(root: Path, address: str, *, opens: bool) -> None:
    click.echo(f"runs in {root}: {address}/")
    if opens:
        webbrowser.open(f"{address}/")
