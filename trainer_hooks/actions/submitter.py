"""An action in a process of its own ends with the process that has submitted it, unless that leaves it to itself.

Not by the kernel's signal at a parent's death (`prctl`): that comes when the thread ends that has started the child,
and can't be called off when the action is left to itself later.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

import msgspec

from trainer_hooks.events import Process
from trainer_hooks.process import is_alive, this_process

_log = logging.getLogger("trainer_hooks")
_LEFT = "left-to-itself"
_LOOKS_EVERY = 1.0
_ENDS_WITHIN = 30.0


def as_submitter() -> str:
    """This process, as `end_with` is told of it."""
    return msgspec.json.encode(this_process()).decode()


def leave_to_itself(outcome: Path) -> None:
    """Let the action go on that tells its outcome there, whatever becomes of its submitter."""
    outcome.with_name(_LEFT).touch()


def end_with(submitter: str, outcome: Path) -> None:
    """Have this process, and what it has started, end when its submitter is gone; first as by SIGTERM.

    The process leads its own group, or its parent does: the group is what is killed when it has not ended in time.
    """
    process = msgspec.json.decode(submitter, type=Process)
    threading.Thread(target=_end, args=(process, outcome), name="trainer_hooks-submitter", daemon=True).start()


def _end(submitter: Process, outcome: Path) -> None:
    never = threading.Event()
    while is_alive(submitter) is not False:
        never.wait(_LOOKS_EVERY)
    if outcome.with_name(_LEFT).exists():
        return
    _log.warning("the process that has submitted this action is gone; the action is stopped")
    os.kill(os.getpid(), signal.SIGTERM)
    never.wait(_ENDS_WITHIN)
    os.killpg(0, signal.SIGKILL)
