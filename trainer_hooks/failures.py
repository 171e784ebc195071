"""A failure as an event: what the exception says, as far as it is able to say anything."""

from __future__ import annotations

import sys
import traceback
from typing import cast, get_args

from trainer_hooks.errors import ErrorType, classify
from trainer_hooks.events import ErrorKind, RunFailed
from trainer_hooks.metrics import text_of
from trainer_hooks.redact import Redactor
from trainer_hooks.shield import ask


def describe(
    error: BaseException | str, redactor: Redactor, *, error_type: ErrorKind | None, traceback_text: str | None
) -> RunFailed:
    """The failure, free of secrets. An exception is classified, unless `error_type` does, and its traceback told."""
    # By its type: anything else that a caller may give can raise at any question.
    exception = cast("BaseException", error) if issubclass(type(error), BaseException) else None
    text = traceback_text if exception is None or traceback_text is not None else _traceback(exception)
    return RunFailed(
        error=_known(error_type) or _classified(exception),
        message=redactor.text(_said(error)),
        exception=redactor.text(_qualified_name(exception)) if exception is not None else None,
        traceback=redactor.word(text) or None,
    )


def is_pruning(error: BaseException) -> bool:
    """Whether a search for hyper-parameters gives its trial up by it, which is no failure: Optuna's `TrialPruned`."""
    pruned = getattr(sys.modules.get("optuna.exceptions"), "TrialPruned", None)
    return isinstance(pruned, type) and issubclass(type(error), pruned)


def _known(error_type: ErrorKind | None) -> ErrorKind | None:
    name = text_of(error_type)
    return next((kind for kind in get_args(ErrorKind) if kind == name), None)


def _classified(error: BaseException | None) -> ErrorKind:
    kind = ask(lambda: classify(error)) if error is not None else None
    return kind if isinstance(kind, str) else ErrorType.UNKNOWN_ERROR


def _said(error: BaseException | str) -> str:
    """What the error says; an exception may be unable to."""
    return text_of(error) or type(error).__name__


def _traceback(error: BaseException) -> str | None:
    text = ask(lambda: "".join(traceback.format_exception(type(error), error, error.__traceback__)))
    return text if isinstance(text, str) else None


def _qualified_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
