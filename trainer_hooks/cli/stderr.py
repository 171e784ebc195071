"""Where a command's stderr goes, and how its end is kept without the command or its readers noticing."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Any

from trainer_hooks.cli.relay import KEPT, Relay

_STDOUT, _STDERR = 1, 2


class Stderr:
    """A terminal, or nothing at all: the command has it as it is, and its end is not kept."""

    source: int | None = None
    """The end of a pipe that somebody has to read."""

    def for_the_command(self) -> dict[str, Any]:
        """As `Popen` wants it."""
        return {}

    def has_been_given(self) -> None:
        """The command has it."""

    def tail(self, relay: Relay) -> bytes:  # noqa: ARG002 - there is nothing to ask for
        """The end of what was written; a part of a line may stand first."""
        return b""


class _File(Stderr):
    """A file: the command has it as it is, and its end is read when the command has ended."""

    def __init__(self) -> None:
        appends = fcntl.fcntl(_STDERR, fcntl.F_GETFL) & os.O_APPEND
        self._start = os.lseek(_STDERR, 0, os.SEEK_END if appends else os.SEEK_CUR)

    def tail(self, relay: Relay) -> bytes:  # noqa: ARG002 - it is in the file
        with Path(f"/proc/self/fd/{_STDERR}").open("rb") as file:  # where it was opened for writing only, too
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._start, end - KEPT))
            return file.read(KEPT)


class _Pipe(Stderr):
    """Anything else: the command writes into a pipe, from which a relay passes it on."""

    def __init__(self, *, both: bool) -> None:
        # `2>&1`: through one pipe, or they would come out in another order.
        self._both = both
        self.source, self._sink = os.pipe()

    def for_the_command(self) -> dict[str, Any]:
        return {"stderr": self._sink, **({"stdout": self._sink} if self._both else {})}

    def has_been_given(self) -> None:
        os.close(self._sink)

    def tail(self, relay: Relay) -> bytes:
        return relay.tail()


def take_stderr() -> Stderr:
    """This process's stderr, for a command."""
    was_open = _is_open(_STDERR)
    both = was_open and _is_open(_STDOUT) and os.path.sameopenfile(_STDOUT, _STDERR)
    _occupy_standard_streams()
    if not was_open or os.isatty(_STDERR):
        return Stderr()
    return _File() if stat.S_ISREG(os.fstat(_STDERR).st_mode) else _Pipe(both=both)


def _occupy_standard_streams() -> None:
    """No pipe of ours may take the number of one that is closed; in the command it is closed all the same."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(handle)


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True
