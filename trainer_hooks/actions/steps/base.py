"""A step, and what it comes to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from trainer_hooks.actions.steps.context import BaseStepContext

C = TypeVar("C", bound=BaseStepContext)


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class StepResult:
    """What a step's `execute` returns. `rollback_data` is for its `rollback`, `data` for whoever reads the results.

    `success=False` is a failure like an exception, and `error` its message.
    """

    success: bool = True
    data: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    rollback_data: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False
    timestamp: datetime = field(default_factory=_now)


class BaseStep(ABC, Generic[C]):
    """One part of an action's work; `C` is the context that it works with.

    A later attempt of the same run does not do again what is done: see docs/steps.md.
    """

    retries: int = 0
    """How many more times `execute` is tried after it has failed."""
    retry_delay: float = 0.0
    """The seconds before the second try; doubled before each further one."""
    timeout: float | None = None
    """The seconds that one try may take; None for as long as it takes."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called, and told as: one name, one step."""

    @property
    @abstractmethod
    def progress_weight(self) -> float:
        """How much of the work it is, in proportion to the other steps' weights."""

    @abstractmethod
    def execute(self, ctx: C) -> StepResult:
        """Do it. What later steps need goes into the context."""

    def can_skip(self, ctx: C) -> bool:  # noqa: ARG002 - for those who override it
        """Whether there is nothing to do."""
        return False

    def rollback(self, ctx: C, result: StepResult) -> None:
        """Undo what `execute` has done, since a later step has failed."""
