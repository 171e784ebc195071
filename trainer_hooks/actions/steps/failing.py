"""What goes wrong in a step, and in undoing others because of it, as the one exception that goes out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from trainer_hooks.errors import StepError
from trainer_hooks.metrics import text_of

if sys.version_info >= (3, 11):
    from builtins import BaseExceptionGroup
else:
    from exceptiongroup import BaseExceptionGroup

T = TypeVar("T")


def kept(function: Callable[[], T]) -> T | BaseException:
    """The function's result, or what it has raised, whatever it is.

    For what has to be done before that may go on: the whole of it, and in order, even on Ctrl-C.
    """
    try:
        return function()
    except BaseException as error:
        return error


def outgoing(step: str, error: BaseException, rollbacks: Sequence[BaseException]) -> BaseException:
    """The exception to be raised, where a step has failed by this error, and rollbacks by those.

    A StepError, whose cause is what the step raised, or the group of it and of what the rollbacks raised. But what is
    no Exception (Ctrl-C, an exit) goes out as it is, and the others are its cause: nobody who waits for it knows steps.
    """
    leaving = next((one for one in (error, *rollbacks) if not isinstance(one, Exception)), None)
    if leaving is None:
        out: BaseException = StepError(step, said(error))
        out.__cause__ = _together(step, [error, *rollbacks]) if rollbacks else error
        return out
    others = [one for one in (leaving.__cause__, error, *rollbacks) if one is not None and one is not leaving]
    if rollbacks and others:
        leaving.__cause__ = _together(step, others)
    return leaving


def said(error: BaseException) -> str:
    """What the error says; an exception may be unable to."""
    return text_of(error) or type(error).__name__


def _together(step: str, errors: Sequence[BaseException]) -> BaseException:
    return BaseExceptionGroup(f"what went wrong in step {step!r}, and in rolling back those before it", errors)
