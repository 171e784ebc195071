"""Forwards the host's log records; its loggers keep their levels, handlers and propagation as they are.

No handler is put on any logger: one on the root would turn `logging.basicConfig` into a call without effect, and what a
host without handlers warns of would no longer be printed. Instead, records are seen on their way to the handlers.
"""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Callable

from trainer_hooks.metrics import text_of
from trainer_hooks.shield import Observer, Patch, ask, observed

_OURS = "trainer_hooks"
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_METHOD = "callHandlers"


class LogForwarder:
    """Hands each record that reaches one of its loggers to `tell(message, level, source=…)`, once."""

    def __init__(self, tell: Callable[..., None], level: str) -> None:
        self._tell = tell
        self._least: int = logging.getLevelName(level)
        self._loggers: set[logging.Logger] = set()
        self._formatter = logging.Formatter()
        # Not marked on the record, which is the host's: it may be pickled. A record can come by again, when a logger's
        # own method calls that of its base or a handler hands it to another logger.
        self._told: weakref.WeakSet[logging.LogRecord] = weakref.WeakSet()

    def listen(self, logger: str | logging.Logger) -> None:
        """Forward what reaches this logger, too: for those that don't propagate to the root ("")."""
        found = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._loggers.add(found)
        _tap.open(self, type(found))

    def stop(self) -> None:
        """Forward nothing more."""
        self._loggers.clear()
        _tap.close(self)

    def forward(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """A record is on its way to the logger's handlers."""
        if record.levelno < self._least or record in self._told or not self._is_reached_by(logger):
            return
        self._told.add(record)
        message = _COLOURS.sub("", _message(record))
        if record.exc_info:
            message = f"{message}\n{self._formatter.formatException(record.exc_info)}"
        if message.strip():
            self._tell(message, _level(record.levelno), source=record.name)

    def _is_reached_by(self, logger: logging.Logger) -> bool:
        reached: logging.Logger | None = logger
        while reached is not None:
            if reached in self._loggers:
                return True
            reached = reached.parent if reached.propagate else None
        return False


class _Tap(Observer):
    """Sees every record of the process on its way to the handlers, for as long as somebody listens."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forwarders: tuple[LogForwarder, ...] = ()
        self._patches: dict[type, Patch] = {}

    def open(self, forwarder: LogForwarder, kind: type[logging.Logger]) -> None:
        """Show records to the forwarder, those of this kind of logger among them."""
        # MMEngine's logger, for one, has a method of its own.
        owner = next(base for base in kind.__mro__ if _METHOD in vars(base))
        with self._lock:
            if forwarder not in self._forwarders:
                self._forwarders = (*self._forwarders, forwarder)
            if owner not in self._patches:
                self._patches[owner] = Patch(owner, _METHOD, observed(self))

    def close(self, forwarder: LogForwarder) -> None:
        """Show the forwarder nothing more; with the last one gone, all is as it was found."""
        with self._lock:
            self._forwarders = tuple(other for other in self._forwarders if other is not forwarder)
            while self._patches and not self._forwarders:
                self._patches.popitem()[1].undo()

    def before(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Part of `Observer`: the record has passed the logger's level and filters."""
        # Neither our own words nor those of the libraries that deliver for us: each would beget another.
        if record.name.split(".")[0] == _OURS or threading.current_thread().name.startswith(_OURS):
            return
        for forwarder in self._forwarders:
            forwarder.forward(logger, record)


def _message(record: logging.LogRecord) -> str:
    """What it says; where its arguments don't fit, as the host's own handlers will complain of, what it was to say."""
    message = ask(record.getMessage)
    return message if isinstance(message, str) else f"{text_of(record.msg) or ''} (its arguments can't be formatted)"


class _OwnWords(logging.Filter):
    """Takes the secrets out of what we say ourselves: the traceback of an error may quote a path or a message."""

    def __init__(self) -> None:
        super().__init__()
        self.clean: Callable[[str], str] = str
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Part of `logging.Filter`: every record passes."""
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self.clean(self._formatter.formatException(record.exc_info))  # what formatters print
        return True


_own_words = _OwnWords()


def clean_own_words(clean: Callable[[str], str]) -> None:
    """From now on, what our loggers say passes `clean`."""
    _own_words.clean = clean
    for name in (_OURS, f"{_OURS}.courier"):
        logging.getLogger(name).addFilter(_own_words)


def _level(number: int) -> str:
    levels = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARNING"), (logging.INFO, "INFO"))
    return next((name for least, name in levels if number >= least), "DEBUG")


_tap = _Tap()
