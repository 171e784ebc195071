"""Which run a command is about."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.attempts import safe_name
from trainer_hooks.errors import SetupError
from trainer_hooks.history import RunHistory, list_runs, read_history


def read_runs(root: Path) -> list[RunHistory]:
    """All runs under `root`, the newest first; directories without a readable record are left out."""
    histories = (read_history(directory) for directory in list_runs(root))
    return [history for history in histories if history.attempts]


def find_run(root: Path, named: str | None) -> RunHistory:
    """The run of that id, or in that directory; the newest where none is named.

    Raises:
        SetupError: if there is none.
    """
    candidates = list_runs(root) if named is None else iter([root / safe_name(named), Path(named)])
    for directory in candidates:
        history = read_history(directory)
        if history.attempts:
            return history
    if named is None:
        message = f"there are no runs in {root}; name another directory with --dir, or set TRAINER_HOOKS_DIR"
        raise SetupError(message)
    message = f"there is no run {named!r} in {root}; list them with: trainer-hooks runs ls --dir {root}"
    raise SetupError(message)
