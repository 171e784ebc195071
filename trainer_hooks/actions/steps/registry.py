"""The steps of an action, in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic

from trainer_hooks.actions.steps.base import BaseStep, C
from trainer_hooks.errors import InvalidAction


class StepRegistry(Generic[C]):
    """Steps in the order in which they are done, each with a name of its own.

    A step that can't be used is refused where it is registered, by InvalidAction, which is a ValueError.
    """

    def __init__(self) -> None:
        self._steps: list[BaseStep[C]] = []

    def register(self, step: BaseStep[C]) -> None:
        """Add a step behind all others.

        Raises:
            InvalidAction: if its name is taken, or something about it can't be used.
        """
        self._insert(len(self._steps), step)

    def insert_before(self, name: str, step: BaseStep[C]) -> None:
        """Add a step in front of the named one.

        Raises:
            InvalidAction: as `register`, and if there is no step of that name.
        """
        self._insert(self._place(name), step)

    def insert_after(self, name: str, step: BaseStep[C]) -> None:
        """Add a step right behind the named one.

        Raises:
            InvalidAction: as `register`, and if there is no step of that name.
        """
        self._insert(self._place(name) + 1, step)

    def unregister(self, name: str) -> None:
        """Take the named step out.

        Raises:
            InvalidAction: if there is no step of that name.
        """
        del self._steps[self._place(name)]

    def get_steps(self) -> list[BaseStep[C]]:
        """The steps in their order; changing the list changes nothing here."""
        return list(self._steps)

    @property
    def total_weight(self) -> float:
        """The sum of all weights."""
        return math.fsum(step.progress_weight for step in self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __iter__(self) -> Iterator[BaseStep[C]]:
        return iter(self.get_steps())

    def _insert(self, place: int, step: BaseStep[C]) -> None:
        _check(step)
        if step.name in self._names:
            message = (
                f"there is a step {step.name!r} already (known: {', '.join(self._names)}); give this one another name"
            )
            raise InvalidAction(message)
        self._steps.insert(place, step)

    def _place(self, name: str) -> int:
        if name not in self._names:
            message = f"there is no step {name!r} (known: {', '.join(self._names) or 'none'})"
            raise InvalidAction(message)
        return self._names.index(name)

    @property
    def _names(self) -> list[str]:
        return [step.name for step in self._steps]


def _check(step: Any) -> None:
    """Raise InvalidAction for what can't be worked with."""
    if not isinstance(step, BaseStep):
        made = f"; write {step.__name__}()" if isinstance(step, type) else ""
        message = f"a step is an instance of a subclass of BaseStep, and {step!r} is none{made}"
        raise InvalidAction(message)
    name: Any = step.name
    if not (isinstance(name, str) and name.strip()):
        message = f"the name of {type(step).__qualname__} is {name!r}; it must be a text that is not empty"
        raise InvalidAction(message)
    for wrong in _wrong(step):
        message = f"step {name!r}: {wrong}"
        raise InvalidAction(message)


def _wrong(step: BaseStep[Any]) -> Iterator[str]:
    if not _is_quantity(step.progress_weight):
        yield f"progress_weight is {step.progress_weight!r}; it must be a number, finite and not below 0"
    if not (isinstance(step.retries, int) and step.retries >= 0):
        yield f"retries is {step.retries!r}; it must be a whole number, and not below 0"
    if not _is_quantity(step.retry_delay):
        yield f"retry_delay is {step.retry_delay!r}; it must be seconds, finite and not below 0"
    if step.timeout is not None and not (_is_quantity(step.timeout) and step.timeout > 0):
        yield f"timeout is {step.timeout!r}; it must be seconds, finite and above 0, or None"


def _is_quantity(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
