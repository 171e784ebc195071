"""Raises inside our functions, without replacing any: a trace function raises at the call of a chosen one.

As a script, `python -m tests.hosts.explosions HOST FOLDER`: trains again and again, until every function of ours that
takes part has raised once, and prints as JSON which have, and which had when which weights came out.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import trainer_hooks

_PACKAGE = f"{Path(trainer_hooks.__file__).parent}/"
# The border itself, and what the user calls to set up: these are not behind the border.
_NOT_BEHIND_IT = ("shield.py", "autologging.py")


class Exploded(Exception):
    """What our functions raise."""


class Explosions:
    """Makes each function of ours raise at its first call. Python drops a trace function that raises: `arm` again."""

    def __init__(self) -> None:
        self.seen: set[CodeType] = set()

    def arm(self) -> None:
        """Let the next function of ours that has not yet raised do so."""
        sys.settrace(self._trace)

    def disarm(self) -> None:
        """No more."""
        sys.settrace(None)

    def names(self) -> set[str]:
        """The functions that have raised."""
        return {f"{code.co_filename.removeprefix(_PACKAGE)}:{code.co_qualname}" for code in self.seen}

    def _trace(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) or code in self.seen or event != "call":
            return
        if not code.co_filename.endswith(_NOT_BEHIND_IT):
            self.seen.add(code)
            raise Exploded(code.co_qualname)


def main(name: str, folder: Path) -> None:
    """Explode."""
    host = importlib.import_module(f"tests.hosts.{name}")
    nobody = "http://127.0.0.1:9/api/v1"
    trainer_hooks.autolog(name, storage=f"file://{folder}/store", callback_url=nobody, flush_timeout=0, linger=0)
    explosions = Explosions()
    weights: dict[str, list[str]] = {}
    for number in range(_MOST_TRAININGS):
        before, names = len(explosions.seen), explosions.names()
        explosions.arm()
        try:
            trained = host.train(folder / str(number), 2, at=host.EVERYWHERE, do=explosions.arm)
        finally:
            explosions.disarm()
        weights.setdefault(str(trained.weights), []).extend(sorted(explosions.names() - names))
        if len(explosions.seen) == before:
            break
    sys.stdout.write(json.dumps({"raised": sorted(explosions.names()), "weights": weights}))


_MOST_TRAININGS = 150

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
