"""Which training of an action goes on from the newest checkpoint; it is never another one's."""

from __future__ import annotations

import pytest

from trainer_hooks.errors import CannotResume
from trainer_hooks.trainings import Training, goes_on, next_training


def training(step: str | None = None, ordinal: int = 1, *, saved: bool = False) -> Training:
    return Training(step, ordinal, saved)


def test_trainings_are_counted_within_their_step():
    begun = [training("a"), training("a", 2), training()]
    assert next_training(begun, "a") == Training("a", 3)
    assert next_training(begun, "b") == Training("b", 1)
    assert next_training(begun, None) == Training(None, 2)


@pytest.mark.parametrize(
    ("now", "begun", "earlier", "expected"),
    [
        (training(), [], [training(saved=True)], True),
        (training(), [], [training()], False),  # it never came to a checkpoint
        (training(), [], [training(saved=True), training()], True),  # two attempts at the same one
        (training("b"), [], [training("a", saved=True)], False),  # b has never begun
        (training("b"), [], [training("a", saved=True), training("b", saved=True)], True),
        (training("b"), [], [training("a", saved=True), training("b")], False),
        (training(ordinal=2), [training()], [training(saved=True)], False),
        (training(), [], [], True),  # an empty disk
        (training(ordinal=2), [training()], [], False),
    ],
)
def test_a_training_goes_on_from_its_own_checkpoint_only(now, begun, earlier, expected):
    assert goes_on(now, begun, earlier) is expected


def test_whose_checkpoint_is_gone_says_so():
    with pytest.raises(CannotResume, match="of training 1 of step 'b', and training 1 of step 'a' begins"):
        goes_on(training("a"), [], [training("a", saved=True), training("b", saved=True)])
