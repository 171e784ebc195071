"""`python -m trainer_hooks.courier RUN_DIRECTORY`: deliver one run. Credentials come by the environment only.

Exit status: 0 everything delivered or handed over, 1 something is pending, 2 the set-up is wrong.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from trainer_hooks.courier.loop import Busy, Courier
from trainer_hooks.errors import SetupError
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import Settings, environment

_log = logging.getLogger("trainer_hooks.courier")
_KINDER_BY = 5
_GRACE_ON_SIGTERM = 20.0


def main(arguments: list[str]) -> int:
    """Run the courier for the run directory named by the only argument."""
    os.nice(_KINDER_BY)
    # The training's own end is what ends the courier, not the closing of the terminal it was started from.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings = Settings.load()
        _log_without_secrets(settings.secrets())
        courier = Courier(Path(arguments[0]), settings)
        signal.signal(signal.SIGTERM, lambda *_: courier.hurry(_GRACE_ON_SIGTERM))
        courier.run()
    except Busy as reason:
        _log.warning("%s: leaving it to that one", reason)
        return 0
    except (SetupError, FileNotFoundError) as error:
        _log.error("%s", error)
        return 2
    return 0 if courier.is_clear else 1


class _CleanFormatter(logging.Formatter):
    """Log lines pass the redactor: an address or an exception of a library may carry a credential."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redactor = Redactor([*known_secrets(environment()), *secrets])

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))


def _log_without_secrets(secrets: Iterable[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_CleanFormatter(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
