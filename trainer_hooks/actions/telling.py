"""How an action, and each of its steps, tells: through the context that it is given."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_hooks.actions.backends import BackendClient
    from trainer_hooks.actions.context import RuntimeContext


class Telling(abc.ABC):
    """The methods of `RuntimeContext` that tell, for those who have one.

    Predecessor A has called what progress and metrics belong to `category` first, and `step` later: both are taken.
    """

    @property
    @abc.abstractmethod
    def _context(self) -> RuntimeContext: ...

    @property
    def _category(self) -> str:
        """What progress and metrics belong to where that isn't said."""
        return "train"

    @property
    def client(self) -> BackendClient:
        """The action's backend."""
        return self._context.client

    def log(
        self,
        event: str,
        data: Mapping[str, Any] | None = None,
        file: str | os.PathLike[str] | None = None,
        level: str = "INFO",
    ) -> None:
        """See `RuntimeContext.log`."""
        self._context.log(event, data, file, level)

    def log_message(self, message: str, level: str = "INFO", **fields: Any) -> None:
        """See `RuntimeContext.log_message`."""
        self._context.log_message(message, level, **fields)

    def log_metric(self, category: str, key: str, value: Any, **metrics: Any) -> None:
        """See `RuntimeContext.log_metric`."""
        self._context.log_metric(category, key, value, **metrics)

    def set_progress(
        self, current: float, total: float, category: str | None = None, *, step: str | None = None
    ) -> None:
        """See `RuntimeContext.set_progress`."""
        self._context.set_progress(current, total, category or step or self._category)

    def set_metrics(self, metrics: Mapping[str, Any], category: str | None = None, *, step: str | None = None) -> None:
        """See `RuntimeContext.set_metrics`."""
        self._context.set_metrics(metrics, category or step or self._category)
