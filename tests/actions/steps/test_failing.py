"""What goes out where a step has failed, and rollbacks, too."""

from __future__ import annotations

import errno

import pytest

from trainer_hooks.actions.steps.failing import kept, outgoing
from trainer_hooks.errors import ErrorType, StepError, classify


def test_the_class_of_a_failure_is_that_of_the_first_cause_through_the_group():
    saving = RuntimeError("saving failed")
    saving.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert classify(outgoing("a", saving, [])) == ErrorType.RESOURCE_ERROR
    assert classify(outgoing("a", saving, [ConnectionError()])) == ErrorType.RESOURCE_ERROR
    assert classify(outgoing("a", ConnectionError(), [saving])) == ErrorType.NETWORK_ERROR
    assert classify(outgoing("a", ValueError(), [saving])) == ErrorType.UNKNOWN_ERROR


def test_an_error_that_says_nothing_is_told_by_its_type():
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert str(outgoing("a", KeyError(), [])) == "step 'a' failed: KeyError"
    assert str(outgoing("a", Mute(), [])) == "step 'a' failed: Mute"


def test_the_first_that_is_no_exception_goes_out():
    error, first, second = ValueError(), KeyboardInterrupt(), SystemExit()
    assert outgoing("a", error, [OSError(), first, second]) is first
    assert [type(one) for one in first.__cause__.exceptions] == [ValueError, OSError, SystemExit]
    assert outgoing("a", second, []) is second
    assert second.__cause__ is None


def test_an_exit_keeps_its_own_cause_where_no_rollback_has_failed():
    cause, leaving = ValueError(), SystemExit(1)
    leaving.__cause__ = cause
    assert outgoing("a", leaving, []).__cause__ is cause


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_whatever_is_raised_is_kept(error):
    def fail() -> None:
        raise error

    assert kept(fail) is error
    assert kept(lambda: 7) == 7


def test_a_step_error_names_its_step():
    out = outgoing("train", ValueError("x"), [])
    assert isinstance(out, StepError)
    assert (out.step, str(out)) == ("train", "step 'train' failed: x")
