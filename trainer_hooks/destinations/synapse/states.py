"""The job's status and result, in predecessor A's words: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED."""

from __future__ import annotations

from typing import Any

from trainer_hooks.destinations.synapse.board import Board
from trainer_hooks.destinations.synapse.figures import finite
from trainer_hooks.destinations.synapse.words import failure
from trainer_hooks.events import AnyEvent, RunCompleted, RunFailed, RunInterrupted, RunLost, RunStarted

STOPPED = "STOPPED"


def state(event: AnyEvent, board: Board, *, has_ended: bool) -> dict[str, Any] | None:
    """The job's fields that the event sets; None where it sets none. `has_ended`: the job has a terminal status.

    Never RUNNING after that: a status that users have seen to be final stays so, until there is another final one.
    """
    if isinstance(event, RunStarted):
        return None if has_ended or board.started else {"status": "RUNNING"}
    if board.ended is not None:
        return None
    return _ending(event, board)


def _ending(event: AnyEvent, board: Board) -> dict[str, Any] | None:
    if isinstance(event, RunCompleted):
        return {"status": "SUCCEEDED", "result": event.result or _summary(event, board)}
    if isinstance(event, RunFailed):
        return {"status": "FAILED", "result": {"error": failure(event), "error_type": event.error}}
    if isinstance(event, RunInterrupted):
        return {"status": STOPPED, "result": {"error": f"interrupted: {event.reason}"}}
    if isinstance(event, RunLost):
        return {"status": "FAILED", "result": {"error": f"lost: {event.reason}"}}
    return None


def _summary(event: RunCompleted, board: Board) -> dict[str, Any]:
    """What came out of work that has returned nothing."""
    checkpoints = {**event.checkpoints, **{name: stored.uri for name, stored in board.stored.items()}}
    return {"epochs": event.epochs, "metrics": finite(event.metrics), "checkpoints": checkpoints}
