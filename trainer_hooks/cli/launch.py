"""`trainer-hooks run`: any command, with every Python below it attached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

import trainer_hooks
from trainer_hooks.cli.child import Child, end_as
from trainer_hooks.cli.stderr import take_stderr
from trainer_hooks.cli.testimony import tell_deaths
from trainer_hooks.errors import UnknownFramework
from trainer_hooks.memory_kills import MemoryKills
from trainer_hooks.process import local_name, this_process
from trainer_hooks.settings import AUTOLOG, SUPERVISOR, Settings, autolog_frameworks, environment
from trainer_hooks.shield import guard

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

    COMMAND's exit status, signals, terminal, input and output are as if it ran alone; it ends with this process. Where
    it is itself a training that dies without a word, this process tells how. Pythons started with -I, -E or -S don't
    look at PYTHONPATH, and are not recorded.

    Exit status: COMMAND's; 127 if it isn't found, 126 if it can't be executed, 2 if the set-up is wrong.
    """
    settings = Settings.load()
    chosen = _known(list(frameworks) or autolog_frameworks())
    if settings.mode == "disabled":
        _become(command, environment())
    environ = {**_attaching(chosen), SUPERVISOR: local_name(this_process())}
    try:
        child = Child(command, environ, take_stderr())
    except (OSError, subprocess.SubprocessError):  # not found, or there is no room for another process
        _become(command, environ)
    kills = MemoryKills(os.getpid())
    status = child.wait()
    with guard("telling how the command ended"):
        tell_deaths(settings, status, out_of_memory=kills.have_risen, output=child.tail())
    end_as(status)


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
