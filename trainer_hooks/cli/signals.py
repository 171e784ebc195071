"""Which signals the parent of a command passes on: all that are sent to the parent alone. And which end its waits."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections import deque
from collections.abc import Iterator

_HEARD_WITHIN = 0.1
_ANSWERS_WITHIN = 1.0
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
_ENOUGH = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def to_be_passed_on() -> list[int]:
    """The signals; those that are ignored here stay so, as they are in the command."""
    return [number for number in signal.valid_signals() - _OWN if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """When the command has ended: nobody who asks this process to end, too, has to wait for what it does here."""
    asked_by = [number for number in _ENOUGH if signal.getsignal(number) is not signal.SIG_IGN]
    found = {number: signal.signal(number, signal.default_int_handler) for number in asked_by}
    with contextlib.suppress(KeyboardInterrupt):
        yield
    for number, handler in found.items():
        signal.signal(number, handler)


class Sifted:
    """Tells the signals that came to this process alone from those that a witness beside it has had, too.

    Some send to one process after the other: the witness is given a moment. Then it is asked, since on a busy machine a
    moment may not be enough for it to run at all.
    """

    def __init__(self) -> None:
        self._due: deque[tuple[float, int]] = deque()
        self._asked: deque[tuple[float, int]] = deque()
        self._heard: deque[tuple[float, int]] = deque()
        self._passed_on: deque[tuple[float, int]] = deque()

    def came(self, number: int) -> None:
        """This process has had a signal."""
        self._forget()
        if not _take(self._heard, number):
            self._due.append((time.monotonic() + _HEARD_WITHIN, number))

    def was_passed_on(self, number: int) -> None:
        """This process has had one that is passed on whether the witness has had it or not."""
        self._forget()
        if not _take(self._heard, number):
            self._passed_on.append((time.monotonic() + _REMEMBERED_FOR, number))

    def was_heard(self, number: int) -> None:
        """The witness has had one."""
        self._forget()
        if not any(_take(entries, number) for entries in (self._passed_on, self._asked, self._due)):
            self._heard.append((time.monotonic() + _REMEMBERED_FOR, number))

    def is_to_ask(self) -> bool:
        """Whether the witness is to be asked now; whatever it has had, it tells before its answer."""
        now = time.monotonic()
        ripe = _take_until(self._due, now)
        self._asked.extend((now + _ANSWERS_WITHIN, number) for number in ripe)
        return bool(ripe)

    def answered(self) -> list[int]:
        """The witness has answered: those that nobody else has had."""
        return _take_until(self._asked, math.inf)

    def unanswered(self) -> list[int]:
        """Those that have waited too long for an answer."""
        return _take_until(self._asked, time.monotonic())

    @property
    def wait(self) -> float | None:
        """The seconds until there may be something to do; None where nothing is open."""
        moments = [entries[0][0] for entries in (self._due, self._asked) if entries]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _forget(self) -> None:
        now = time.monotonic()
        for entries in (self._heard, self._passed_on):
            _take_until(entries, now)


def _take_until(entries: deque[tuple[float, int]], moment: float) -> list[int]:
    found = []
    while entries and entries[0][0] <= moment:
        found.append(entries.popleft()[1])
    return found


def _take(entries: deque[tuple[float, int]], number: int) -> bool:
    """Remove the first entry for that signal; False if there is none."""
    for entry in entries:
        if entry[1] == number:
            entries.remove(entry)
            return True
    return False
