"""`python -m trainer_hooks.actions ENTRYPOINT --params FILE`: one action, in a process of its own.

Exit status: 0 the action has completed, 1 it has failed, and Python prints its traceback; 2 the call, a parameter or a
setting is wrong, which is said in one message.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.calling import wanted_entrypoint, wanted_params
from trainer_hooks.actions.loading import load_action
from trainer_hooks.actions.outcome import Opened, Outcome, as_line, encoded
from trainer_hooks.actions.running import do_action
from trainer_hooks.actions.submitter import end_with
from trainer_hooks.errors import SetupError
from trainer_hooks.files import write_whole
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.run import JoinedRun, Run
from trainer_hooks.settings import environment
from trainer_hooks.shield import guard

_WRONG = 2
_TO_STDOUT = "-"


def main() -> int:
    """Do what the command line says; returns the exit status."""
    asked = _arguments().parse_args()
    told = _Told(asked.outcome)
    if asked.submitter:
        end_with(asked.submitter, Path(asked.outcome))
    try:
        action = load_action(wanted_entrypoint(asked.entrypoint))
        result = do_action(action, wanted_params(asked.params), {}, told.opened)
    except SetupError as error:
        if told.run is not None:  # the action's own mistake, in its own code
            told.failed(error)
            raise
        told.refused(error)
        return _WRONG
    except BaseException as error:
        told.failed(error)
        raise
    told.completed(result)
    if asked.result and told.speaks:
        write_whole(Path(asked.result), msgspec.json.encode(result) + b"\n")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer_hooks.actions", description="Run one action.")
    parser.add_argument("entrypoint", nargs="?", help="module:Class; modules of the working directory go first")
    parser.add_argument("--params", metavar="FILE", help="a JSON object; -: stdin")
    parser.add_argument("--result", metavar="FILE", help="where the result is written, as JSON")
    parser.add_argument("--outcome", metavar="FILE", help="where an executor looks for how it ended; -: stdout")
    parser.add_argument("--submitter", help=argparse.SUPPRESS)
    return parser


class _Told:
    """Tells how it ended, to who has asked for it; of several ranks, one does."""

    def __init__(self, place: str | None) -> None:
        self._place = place
        self._redactor = Redactor(known_secrets(environment()))
        self.run: Run | None = None

    @property
    def speaks(self) -> bool:
        return not isinstance(self.run, JoinedRun)

    def opened(self, run: Run) -> None:
        self.run = run
        self._redactor = Redactor([*known_secrets(environment()), *run.settings.secrets()])
        if self._place != _TO_STDOUT:
            directory = str(run.directory) if run.directory else None
            self._write(Opened(run=run.id, attempt=run.attempt, directory=directory))

    def completed(self, result: dict[str, Any]) -> None:
        # A log is read by many; a file here by who has asked for it.
        shown = self._redactor.mapping(result) if self._place == _TO_STDOUT else result
        self._tell(Outcome(ending="completed", result=shown, **self._which()))

    def refused(self, error: SetupError) -> None:
        message = self._redactor.text(str(error))
        sys.stderr.write(f"trainer_hooks: {message}\n")
        self._tell(Outcome(ending="set-up", message=message))

    def failed(self, error: BaseException) -> None:
        message = self._redactor.text(f"{type(error).__name__}: {error}")
        stopped = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and not error.code)
        self._tell(Outcome(ending="interrupted" if stopped else "failed", message=message, **self._which()))

    def _which(self) -> dict[str, Any]:
        return {} if self.run is None else {"run": self.run.id, "attempt": self.run.attempt}

    def _tell(self, outcome: Outcome) -> None:
        if self._place == _TO_STDOUT and self.speaks:
            sys.stdout.write(f"{as_line(outcome)}\n")
            sys.stdout.flush()
        else:
            self._write(outcome)

    def _write(self, told: Outcome | Opened) -> None:
        if self._place and self.speaks:
            with guard("telling the submitter of the action"):  # who may be gone, with the place
                write_whole(Path(self._place), encoded(told))


if __name__ == "__main__":
    sys.exit(main())
