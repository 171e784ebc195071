"""A framework, as small as one can be: in its place think of yours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

__version__ = "1.1"


class Trainer:
    """Calls `step(epoch)` for each epoch, which returns the loss, and announces what it does to its callbacks."""

    def __init__(self, epochs: int, folder: str = ".") -> None:
        self.epochs = epochs
        self.folder = folder
        self.callbacks: dict[str, list[Callable[..., None]]] = {}
        self.stops = False

    def fit(self, step: Callable[[int], float]) -> None:
        """Train."""
        for epoch in range(self.epochs):
            loss = step(epoch)
            self.save(epoch)
            self.announce("epoch_end", epoch=epoch, loss=loss)
            if self.stops:
                break

    def save(self, epoch: int) -> str:
        """Write the checkpoint; returns its path."""
        path = Path(self.folder, "last.json")
        path.write_text(json.dumps({"epoch": epoch}))
        return str(path)

    def announce(self, what: str, **facts: object) -> None:
        """Call the callbacks that are registered for it."""
        for callback in self.callbacks.get(what, ()):
            callback(self, **facts)
