"""`trainer-hooks run`: any command, with every Python below it attached."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

import trainer_hooks
from trainer_hooks.errors import UnknownFramework
from trainer_hooks.settings import AUTOLOG, Settings, autolog_frameworks, environment

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
# Python ignores these, and what is ignored stays ignored in the command.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@click.command(context_settings={"allow_interspersed_args": False}, no_args_is_help=True)
@click.option(
    "--framework", "frameworks", multiple=True, metavar="NAME", help="Attach to this one only; may be repeated."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(*, frameworks: tuple[str, ...], command: tuple[str, ...]) -> None:
    """Run COMMAND with its trainings recorded.

    Every training is recorded that it makes, or that anything it starts makes; no script needs a change. COMMAND may be
    yolo, python, torchrun, bash or anything else.

    It becomes COMMAND itself: exit status, signals, terminal and process id are the command's own. Pythons started with
    -I, -E or -S don't look at PYTHONPATH, and are not recorded.

    Exit status: COMMAND's; 127 if it isn't found, 126 if it can't be executed, 2 if the set-up is wrong.
    """
    settings = Settings.load()
    chosen = _known(list(frameworks) or autolog_frameworks())
    _become(command, environment() if settings.mode == "disabled" else _attaching(chosen))


def _known(frameworks: list[str]) -> list[str]:
    """These frameworks, all that are known where none is named; a mistake is said before the command starts."""
    from trainer_hooks.integrations import known_frameworks

    known = known_frameworks()
    for name in frameworks:
        if name not in known:
            message = f"no integration for {name!r} (known: {', '.join(known)})"
            raise UnknownFramework(message)
    return frameworks or known


def _attaching(frameworks: list[str]) -> dict[str, str]:
    """The environment in which every Python attaches to the frameworks when they are imported."""
    environ = environment()
    ours = str(Path(trainer_hooks.__file__).parent / "bootstrap")
    others = environ.get("PYTHONPATH")
    path = f"{ours}{os.pathsep}{others}" if others else ours
    return {**environ, AUTOLOG: ",".join(frameworks), "PYTHONPATH": path}


def _become(command: tuple[str, ...], environ: dict[str, str]) -> NoReturn:
    # Not a child of ours: there would be signals to forward, a status to imitate and a terminal to share, each a way to
    # be different from the command alone.
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606 - there is no shell on purpose
    except (FileNotFoundError, NotADirectoryError):
        _fail(_NOT_FOUND, f"{command[0]}: not found")
    except OSError as error:
        hint = f"; run it by: trainer-hooks run -- python {command[0]}" if command[0].endswith(".py") else ""
        _fail(_NOT_EXECUTABLE, f"{command[0]}: {error.strerror}{hint}")


def _fail(status: int, message: str) -> NoReturn:
    click.echo(f"trainer-hooks run: {message}", err=True)
    sys.exit(status)
