"""`trainer-hooks serve`: the receiver."""

from __future__ import annotations

from pathlib import Path

import click

from trainer_hooks.cli.addresses import runs_root
from trainer_hooks.cli.serving import check_installed, receiver
from trainer_hooks.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; elsewhere, a token is needed.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for a free one.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the runs are kept; by default TRAINER_HOOKS_DIR, or trainer_runs.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="Holds the token that callers have to have; by default TRAINER_HOOKS_SERVE_TOKEN, or …_FILE.",
)
@click.option(
    "--url",
    metavar="https://HOST/PREFIX",
    help="Where others reach it through a proxy, which takes the prefix away; by default TRAINER_HOOKS_SERVE_URL.",
)
@click.option("--job-token", metavar="JOB", help="Print the token for that job's training instead, and end.")
def serve(
    *, host: str, port: int, directory: Path | None, token_file: str | None, url: str | None, job_token: str | None
) -> None:
    """Be the platform: take what trainings tell, and show it.

    Trainings find it by CALLBACK_URL, the address that is printed. Ends with Ctrl-C or SIGTERM. Several of them share
    what they are told where TRAINER_HOOKS_SERVE_STORE names a PostgreSQL database.

    Exit status: 0 ended as asked, 2 the set-up is wrong.
    """
    from trainer_hooks.receiver.guard import BASE
    from trainer_hooks.receiver.tokens import Tokens

    settings = Settings.load(serve_token_file=token_file, serve_url=url)
    tokens = Tokens(settings.receiver_token(), settings.receiver_token_file)
    if job_token is not None:
        click.echo(tokens.of_job(job_token))
        return
    check_installed()
    root = runs_root(directory)
    with receiver(root, tokens, settings, (host, port)) as serving:
        behind = f"; listening at {serving.here}" if serving.url != serving.here else ""
        click.echo(f"runs in {root}{behind}; page: {serving.url}/; for trainings: CALLBACK_URL={serving.url}{BASE}")
        serving.run()
