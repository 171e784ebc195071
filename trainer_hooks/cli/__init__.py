"""The command `trainer-hooks`: one file per command or group, imported when it is asked for."""

from __future__ import annotations

import errno
import importlib
from typing import Any

import click

from trainer_hooks import __version__

# Each command's file, and what it does: told here, too, so that `--help` imports none of them.
COMMANDS = {
    "run": ("launch", "Run COMMAND with its trainings recorded."),
    "runs": ("runs", "List, show, follow and export what was recorded."),
    "sync": ("sync", "Deliver what is pending."),
    "ui": ("ui", "Show the runs of this machine in a browser, live."),
    "serve": ("serve", "Be the platform: take what trainings tell, and show it."),
    "dataset": ("dataset", "Fetch, convert, validate and split datasets."),
    "action": ("action", "Run actions, here, in a process or on Ray."),
    "doctor": ("doctor", "Check the set-up by doing the real thing."),
}


class _Mistake(click.ClickException):
    """What the user can mend: its message, no traceback, exit status 2."""

    exit_code = 2


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they are best read."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        file, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{file}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The list in `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; our own errors and the system's become one line."""
        from trainer_hooks.errors import TrainerHooksError

        try:
            return super().invoke(ctx)
        except (TrainerHooksError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:  # `… | head`: click's to end quietly
                raise
            raise _Mistake(_without_secrets(str(error))) from error


def _without_secrets(text: str) -> str:
    from trainer_hooks.redact import Redactor, known_secrets
    from trainer_hooks.settings import environment

    return Redactor(known_secrets(environment())).text(text)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trainer-hooks")
def main() -> None:
    """Record trainings, look at what was recorded, and deliver it.

    Exit status, unless a command says otherwise: 0 done, 1 failed, 2 the call or the set-up is wrong.
    """
