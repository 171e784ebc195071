"""The border with the host: no exception of ours gets out, and no other file decides that.

`guard` is for our own work inside the host's functions; `Patch` replaces a host function by one that calls the original
exactly once and is otherwise transparent: its arguments, its result and its exception object go through untouched, but
for arguments that `redirected` replaces.
KeyboardInterrupt and SystemExit are the user's, even when they strike inside our code: they pass. So does what a signal
handler of the host's raises while our code happens to be running. And so does CannotResume, which the user has asked
for with `resume="auto"`: not to begin anew by mistake.

What was caught is logged once per place and kind, and counted in `caught`, so that tests can be red where production
is silent.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, TracebackType
from typing import Any, TypeVar

from trainer_hooks.errors import CannotResume, SetupError

_log = logging.getLogger("trainer_hooks")
_ABSENT = object()
_SIGNALS = tuple(signal.valid_signals())  # asked for once: it takes longer than all the rest of an exception
_T = TypeVar("_T")

caught: Counter[str] = Counter()
"""Errors of ours that the host was kept from, by place and kind."""


class guard:  # noqa: N801 - reads as a statement: `with guard("saving a checkpoint"):`
    """Nothing of ours gets out of this block: `with guard("saving a checkpoint"):`."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None or not isinstance(error, Exception) or isinstance(error, CannotResume):
            return False
        if _is_of_a_signal_handler(error):
            return False
        _report(self._doing, error)
        return True


def attempt(doing: str, function: Callable[..., _T], *arguments: Any) -> _T | None:
    """The function's result, or None if it fails; for reading what a host may or may not have."""
    with guard(doing):
        return function(*arguments)
    return None


def ask(question: Callable[[], _T]) -> _T | Exception:
    """The answer of a foreign object, or the exception it raised, where that is an answer, too: nothing is reported."""
    try:
        return question()
    except Exception as error:
        if _is_of_a_signal_handler(error):
            raise
        return error


@contextlib.contextmanager
def resuming() -> Iterator[None]:
    """What goes wrong in this block goes on to the host, as CannotResume.

    A mistake in the set-up, and what a signal handler of the host's raises, stay what they are.
    """
    try:
        yield
    except SetupError:
        raise
    except Exception as error:
        if _is_of_a_signal_handler(error):
            raise
        message = (
            f"the run is to be resumed, and its checkpoint can't be had: {type(error).__name__}: {error}; mend that "
            "and start again, or set TRAINER_HOOKS_RESUME=never to begin anew, which replaces what is there"
        )
        raise CannotResume(message) from error


def harmless(function: Callable[..., _T]) -> Callable[..., _T | None]:
    """Decorator: an error in the function is reported and the caller gets None."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> _T | None:
        with guard(function.__qualname__):
            return function(*arguments, **options)
        return None

    return guarded


class Observer:
    """What `observed` tells about each call of a host function; override what is of interest."""

    def before(self, *arguments: Any, **options: Any) -> None:
        """The host function is about to be called."""

    def returned(self, *arguments: Any, **options: Any) -> None:
        """The host function has returned; its result comes first, then its arguments."""

    def raised(self, error: BaseException, *arguments: Any, **options: Any) -> None:
        """The host function has raised; the error goes on to its caller in any case."""


class Patch:
    """A host's function, replaced by what `wrap` makes of it: `observed(…)`, `followed(…)` or their like.

    Once it is not `active` any more, the replacement does nothing but call the original.
    """

    def __init__(self, owner: Any, name: str, wrap: _Wrap) -> None:
        self.active = True
        self._owner = owner
        self._name = name
        # As found in the owner itself: restoring an inherited one by assignment would leave a copy behind.
        self._found = vars(owner).get(name, _ABSENT)
        self._wrapper = wrap(getattr(owner, name), self)
        setattr(owner, name, self._wrapper)

    def undo(self) -> None:
        """Put the original object back; if somebody has replaced the function again since, ours only passes on."""
        self.active = False
        if vars(self._owner).get(self._name) is not self._wrapper:
            _log.warning("%s.%s was wrapped again by others: left as it is", self._owner.__name__, self._name)
        elif self._found is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._found)


_Wrap = Callable[[Callable[..., Any], Patch], Callable[..., Any]]


def observed(observer: Observer) -> _Wrap:
    """Wrap so that the observer is told before and after each call."""

    def wrap(original: Callable[..., Any], patch: Patch) -> Callable[..., Any]:
        where = original.__qualname__

        @functools.wraps(original)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if not patch.active:
                return original(*arguments, **options)
            with guard(where):
                observer.before(*arguments, **options)
            try:
                result = original(*arguments, **options)
            except BaseException as error:
                with guard(where):
                    observer.raised(error, *arguments, **options)
                raise
            with guard(where):
                observer.returned(result, *arguments, **options)
            return result

        return wrapper

    return wrap


def followed(handlers: Mapping[str, Callable[..., None]]) -> _Wrap:
    """Wrap a host's method that announces events by name: `call_hook(self, "after_val_epoch", metrics=…)`.

    After each announcement the handler of that name, if there is one, is called with the host's object and what was
    announced behind the name; also when a callback of the user's has raised. Other announcements, such as those of
    every batch, cost one look-up.
    """

    def wrap(original: Callable[..., Any], patch: Patch) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if not patch.active:
                return original(*arguments, **options)
            try:
                return original(*arguments, **options)
            finally:
                # The name itself by keyword, which no host does, is not heard.
                handler = handlers.get(arguments[1]) if len(arguments) > 1 else None
                if handler is not None:
                    with guard(arguments[1]):
                        handler(arguments[0], *arguments[2:], **options)

        return wrapper

    return wrap


def redirected(redirect: Callable[..., tuple[tuple[Any, ...], dict[str, Any]] | None]) -> _Wrap:
    """Wrap so that the host's function is called with other arguments, where `redirect` gives some for the call's own.

    For a host that can be told what to do by its arguments alone.
    """

    def wrap(original: Callable[..., Any], patch: Patch) -> Callable[..., Any]:
        where = original.__qualname__

        @functools.wraps(original)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            instead = None
            if patch.active:
                with guard(where):
                    instead = redirect(*arguments, **options)
            if instead is not None:
                arguments, options = instead
            return original(*arguments, **options)

        return wrapper

    return wrap


def extended(name: str, answer: Callable[[Any], Any]) -> _Wrap:
    """Wrap a host's `__getattr__`: its objects have one attribute more, `answer(object)`, all others as ever.

    What `answer` raises is for the user who asks for that attribute: an AttributeError that says why it isn't there.
    """

    def wrap(original: Callable[..., Any], patch: Patch) -> Callable[..., Any]:
        @functools.wraps(original)
        def look_up(instance: Any, wanted: str) -> Any:
            return answer(instance) if wanted == name and patch.active else original(instance, wanted)

        return look_up

    return wrap


def _is_of_a_signal_handler(error: Exception) -> bool:
    """Whether a handler that is set for a signal has raised it, and not what was being done when the signal came."""
    # The first entry is the frame of the guard: that may be a handler's, when we are called in one.
    trace = error.__traceback__ and error.__traceback__.tb_next
    codes = {_code(signal.getsignal(number)) for number in _SIGNALS} - {None} if trace else ()
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code(handler: object) -> CodeType | None:
    """The code of a function, a method, a partial of them, or an object that can be called; None for other things."""
    if isinstance(handler, functools.partial):
        return _code(handler.func)
    if not callable(handler):
        return None
    return getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)


# Re-entrant: a signal handler may report while this very thread is reporting.
_lock = threading.RLock()


def _report(doing: str, error: Exception) -> None:
    place = f"{doing}: {type(error).__qualname__}"
    with _lock:
        caught[place] += 1
        first = caught[place] == 1
    if first:
        # A logging handler of the host's may raise, too.
        ask(lambda: _log.warning("an error while %s; the training goes on (said once)", doing, exc_info=error))
