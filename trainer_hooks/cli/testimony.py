"""What `trainer-hooks run` tells of a training that was its command, and has died without a word."""

from __future__ import annotations

import re

from trainer_hooks.attempts import began_at, find_supervised
from trainer_hooks.cli.relay import KEPT
from trainer_hooks.cli.signals import ended_by_signals
from trainer_hooks.courier.start import wait_for_courier
from trainer_hooks.deaths import learn
from trainer_hooks.last_word import recent_state, say
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment

# A credential may have been cut where the tail begins: half of it would not be recognized.
_MAY_BE_CUT = 4096
# What a progress bar has painted over.
_PAINTED_OVER = re.compile(r"[^\n]*\r(?!\n)")


def tell_deaths(settings: Settings, status: int, *, out_of_memory: bool, output: bytes) -> None:
    """Say the last word on every run that the command has left open, and wait a bounded time for its delivery.

    `status` is the command's exit status, or the signal that it died of as a negative number; `output` the end of its
    stderr.
    """
    redactor = Redactor([*known_secrets(environment()), *settings.secrets()])
    for directory, header in find_supervised(settings):
        if recent_state(directory, header.attempt).ended is None:
            death = learn(
                directory,
                header.attempt,
                redactor,
                status=status,
                out_of_memory=out_of_memory,
                output=_readable(output, redactor),
            )
            say(directory, header, "supervisor", death.as_event)
            if settings.has_courier:
                with ended_by_signals():
                    wait_for_courier(directory, header.attempt, settings, began_at(directory))


def _readable(output: bytes, redactor: Redactor) -> str:
    """Without secrets, and as a terminal would show it at the end."""
    text = redactor.text(output.decode(errors="replace"), longest=2 * KEPT)
    if len(output) == KEPT:
        text = text[_MAY_BE_CUT:]
    return _PAINTED_OVER.sub("", text).strip()
