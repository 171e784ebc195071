"""What Ray calls our trials: by their numbers."""

from __future__ import annotations

from typing import Any

from trainer_hooks.actions.tuning.numbers import Numbers


class Names:
    """Names Ray's trials by our numbers."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def __deepcopy__(self, _: dict[int, Any]) -> Names:
        return self  # Ray copies what it is configured with; there is one numbering

    def __call__(self, trial: Any) -> str:
        """The name of a trial that Ray has just made."""
        return f"trial-{self._numbers.number_of(trial.config)}"


def number_in(trial_name: str) -> int:
    """Our number in the name that Ray's trial has."""
    return int(trial_name.rpartition("-")[2])
