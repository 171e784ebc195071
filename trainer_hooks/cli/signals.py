"""Which signals the parent of a command passes on: all that are sent to the parent alone."""

from __future__ import annotations

import signal
import time
from collections import deque

# What is sent to all has reached all within this.
_HEARD_WITHIN = 0.1
_REMEMBERED_FOR = 1.0
# Not passed on: what can't be caught, what tells a process about itself, what a terminal tells all that read from it.
_OWN = frozenset(
    [
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGCHLD,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGXCPU,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGTTIN,
        signal.SIGTTOU,
    ]
)


def to_be_passed_on() -> list[int]:
    """The signals; those that are ignored here stay so, as they are in the command."""
    return [number for number in signal.valid_signals() - _OWN if signal.getsignal(number) is not signal.SIG_IGN]


class Sifted:
    """Tells the signals that came to this process alone from those that a witness beside it has had, too."""

    def __init__(self) -> None:
        self._due: deque[tuple[float, int]] = deque()
        self._heard: deque[tuple[float, int]] = deque()

    def came(self, number: int) -> None:
        """This process has had a signal."""
        if not _take(self._heard, number):
            self._due.append((time.monotonic() + _HEARD_WITHIN, number))

    def was_heard(self, number: int) -> None:
        """The witness has had one."""
        if not _take(self._due, number):
            self._heard.append((time.monotonic() + _REMEMBERED_FOR, number))

    def alone(self) -> list[int]:
        """Those of which it is certain by now that nobody else has had them."""
        now = time.monotonic()
        while self._heard and self._heard[0][0] < now:
            self._heard.popleft()
        found = []
        while self._due and self._due[0][0] <= now:
            found.append(self._due.popleft()[1])
        return found

    @property
    def wait(self) -> float | None:
        """The seconds until `alone` may have an answer; None where nothing is open."""
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None


def _take(entries: deque[tuple[float, int]], number: int) -> bool:
    """Remove the first entry for that signal; False if there is none."""
    for entry in entries:
        if entry[1] == number:
            entries.remove(entry)
            return True
    return False
