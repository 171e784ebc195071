"""What an action, and each of its steps, is given to work with: its run, its backend, and ways to tell."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainer_hooks.actions.progress import checked
from trainer_hooks.run import Run
from trainer_hooks.settings import Settings

if TYPE_CHECKING:
    from trainer_hooks.actions.backends import BackendClient

# Predecessor A's levels that Python has no name for.
_LEVELS = {"success": "INFO", "danger": "ERROR"}


@dataclass
class RuntimeContext:
    """What an action runs with."""

    run: Run
    settings: Settings

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        """What the run goes on from, where it resumes: path, category ("resumed"), id (of the run) and name."""
        restored = self.run.checkpoint
        if restored is None:
            return None
        return {"path": str(restored.path), "category": "resumed", "id": self.run.id, "name": restored.name}

    @property
    def job_id(self) -> str | None:
        """The platform's job that this work is."""
        return self.settings.synapse_job or self.settings.job_id

    @cached_property
    def client(self) -> BackendClient:
        """The backend that the settings name; by default a local directory."""
        from trainer_hooks.actions.backends import open_backend

        return open_backend(self.settings)

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """A model's files on this machine, whole and verified: path, category ("base" if it has none), id, name.

        Raises:
            BackendError: if the backend has no such model, or it can't be had whole.
        """
        from trainer_hooks.actions.model_files import restored_model

        model = self.client.get_model(model_id)
        path = restored_model(self.client, model, self.settings.model_cache)
        return {
            "path": str(path),
            "category": model.get("category") or "base",
            "id": model["id"],
            "name": model.get("name"),
        }

    def log(
        self,
        event: str,
        data: Mapping[str, Any] | None = None,
        file: str | os.PathLike[str] | None = None,
        level: str = "INFO",
    ) -> None:
        """Tell a log record of that kind, with its data, in which a file is named; an image is told as such, too."""
        named = {} if file is None else {"file": os.fsdecode(file)}
        self.run.log(event, _level(level), source="action", extra={**(data or {}), **named})
        if file is not None and _is_image(file):
            self.run.log_image(file)

    def log_message(self, message: str, level: str = "INFO", **fields: Any) -> None:
        """Tell a message; where there are `fields`, they stand in for its "{name}"."""
        self.run.log(message.format(**fields) if fields else message, _level(level), source="action")

    def log_metric(self, category: str, key: str, value: Any, **metrics: Any) -> None:
        """Tell a metric, and others with it, as `set_metrics` does."""
        self.set_metrics({**metrics, key: value}, category)

    def set_progress(
        self, current: float, total: float, category: str | None = None, *, step: str | None = None
    ) -> None:
        """Tell that `current` of `total` units of `category` are done; `step` is another word for it.

        Raises:
            ValueError: if `total` is not above 0, or `current` not between 0 and `total`.
        """
        named = category or step or "train"
        self.run.progress(*checked(current, total, named), named)

    def set_metrics(self, metrics: Mapping[str, Any], category: str | None = None, *, step: str | None = None) -> None:
        """Tell metrics; their names are told as "category/name"."""
        named = category or step or "train"
        self.run.log_metrics({f"{named}/{name}": value for name, value in metrics.items()})

    def end_log(self) -> None:
        """Have what was told delivered, as at the run's end, which is told by itself."""
        self.run.flush()


def _level(level: str) -> str:
    return _LEVELS.get(str.lower(level), level) if isinstance(level, str) else level


def _is_image(file: str | os.PathLike[str]) -> bool:
    return (mimetypes.guess_type(os.fsdecode(file))[0] or "").startswith("image/")
