"""The trainings of frameworks within one run, an action's: which of them goes on from the run's newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer_hooks.errors import CannotResume


@dataclass
class Training:
    """The `ordinal`-th training, from 1, within a step, or outside of any; `saved`: it has written a checkpoint."""

    step: str | None
    ordinal: int
    saved: bool = False

    def is_again(self, other: Training) -> bool:
        """Whether it is the same training, begun again in a later attempt."""
        return (self.step, self.ordinal) == (other.step, other.ordinal)

    def __str__(self) -> str:
        return f"training {self.ordinal}" + ("" if self.step is None else f" of step {self.step!r}")


def next_training(begun: Sequence[Training], step: str | None) -> Training:
    """The training that begins now, behind those that this attempt has begun."""
    return Training(step, 1 + sum(training.step == step for training in begun))


def goes_on(training: Training, begun: Sequence[Training], earlier: Sequence[Training]) -> bool:
    """Whether the training goes on from the newest checkpoint of earlier attempts, in which those were begun.

    `begun` are those of this attempt. Where nothing is known of earlier ones, for the disk has begun empty, it is taken
    for the first training's.

    Raises:
        CannotResume: if the training was begun before and another one after it: the checkpoint is not its own.
    """
    if not earlier:
        return not begun
    if training.is_again(earlier[-1]):
        return any(other.saved for other in earlier if training.is_again(other))
    if any(training.is_again(other) for other in earlier):
        message = (
            f"the newest checkpoint is of {earlier[-1]}, and {training} begins, which had begun before that; make each "
            "a step (one that is done is skipped), or set TRAINER_HOOKS_RESUME=never to begin both anew"
        )
        raise CannotResume(message)
    return False
