"""How an action ended in its process, for the process that asked for it: as a file, or as a line of a job's log.

Until then a file tells which run the action has opened.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from trainer_hooks.errors import RefusedElsewhere, RemoteFailure

_MARK = "trainer_hooks outcome: "


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The run of the action; a silent one, as with `mode` disabled, has neither id nor directory."""

    run: str | None
    attempt: int
    directory: str | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`message` says what went wrong where there is no result; `run` and `attempt` are which one it was, if any."""

    ending: Literal["completed", "failed", "interrupted", "set-up"]
    result: dict[str, Any] = {}
    message: str = ""
    run: str | None = None
    attempt: int | None = None


def result_of(outcome: Outcome) -> dict[str, Any]:
    """The action's result.

    Raises:
        RefusedElsewhere, RemoteFailure: if it has none.
    """
    if outcome.ending == "completed":
        return outcome.result
    if outcome.ending == "set-up":
        raise RefusedElsewhere(outcome.message)
    how = "has failed" if outcome.ending == "failed" else "was interrupted"
    which = "the action" if outcome.run is None else f"attempt {outcome.attempt} of run {outcome.run}"
    message = f"{which} {how}: {outcome.message}"
    raise RemoteFailure(message, outcome.ending)


def encoded(told: Outcome | Opened) -> bytes:
    """As a file holds it."""
    return msgspec.json.encode(told)


def decoded(content: bytes) -> Outcome:
    """The outcome in a file.

    Raises:
        msgspec.MsgspecError: if it is none.
    """
    return msgspec.json.decode(content, type=Outcome)


def opened_in(content: bytes) -> Opened:
    """The run that the action in whose file this is has opened, and not ended yet.

    Raises:
        msgspec.MsgspecError: if it tells of none.
    """
    return msgspec.json.decode(content, type=Opened)


def as_line(outcome: Outcome) -> str:
    """As a log holds it: one line, that `found_in` knows."""
    return f"{_MARK}{encoded(outcome).decode()}"


def is_line(line: str) -> bool:
    """Whether a log's line is one of `as_line`'s."""
    return line.startswith(_MARK)


def found_in(log: str) -> Outcome | None:
    """What the last such line in a log tells; None where there is none."""
    for line in reversed(log.splitlines()):
        if is_line(line):
            try:
                return decoded(line[len(_MARK) :].encode())
            except msgspec.MsgspecError:  # of a user's own, or cut
                continue
    return None
