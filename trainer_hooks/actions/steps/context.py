"""What a step is given to work with: its action's context, and what earlier steps have left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainer_hooks.actions.context import RuntimeContext
from trainer_hooks.actions.telling import Telling

if TYPE_CHECKING:
    from trainer_hooks.actions.steps.base import StepResult


@dataclass
class BaseStepContext(Telling):
    """What every step can do; subclass it for what your steps hand on to each other.

    Progress and metrics are told as the current step's, where nothing else is said.
    `step_results` has one for each step that is behind, `errors` what went wrong, as texts.
    """

    runtime_ctx: RuntimeContext
    step_results: list[StepResult] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    current_step: str | None = None

    @property
    def _context(self) -> RuntimeContext:
        return self.runtime_ctx

    @property
    def _category(self) -> str:
        return self.current_step or super()._category


@dataclass
class TrainContext(BaseStepContext):
    """What the steps of a training action hand on to each other. `params` are the action's, as plain values."""

    params: dict[str, Any] = field(default_factory=dict)
    dataset: Any = None
    model_path: str | None = None
    model: dict[str, Any] | None = None
