"""The runs that are open in this process, and which of them a training is a part of."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer_hooks.run.run import Run

_open_runs: list[Run] = []
# Of this thread: the runs that take trainings in, the innermost last. Actions may run in several threads at once.
_around: ContextVar[tuple[Run, ...]] = ContextVar("trainer_hooks_around", default=())


def current_run() -> Run | None:
    """The run that was opened last in this process and has not ended; None if there is none."""
    return _open_runs[-1] if _open_runs else None


def surrounding_run() -> Run | None:
    """The open run that a training of this thread is told as part of; None where it is a run of its own.

    A thread that knows of none has probably been started by an action: where just one is at work, that is it.
    """
    own = [run for run in _around.get() if not run.is_over]
    others = [run for run in _open_runs if run.takes_in_trainings]
    return own[-1] if own else others[0] if len(others) == 1 else None


def keep(run: Run) -> None:
    """The run is open now."""
    _open_runs.append(run)


def forget(run: object) -> None:
    """The run is open no more."""
    _open_runs[:] = [other for other in _open_runs if other is not run]


def surround(run: Run) -> None:
    """From now on, trainings of this thread are told as part of the run."""
    run.takes_in_trainings = True
    _around.set((*(other for other in _around.get() if not other.is_over), run))
