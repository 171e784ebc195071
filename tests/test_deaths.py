"""How a death is told: the most that is known, and nothing more."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cli.parts import TRAINING, write_run
from trainer_hooks.deaths import Death, learn
from trainer_hooks.events import EpochEnded, RankFailed, RunFailed, RunInterrupted, RunLost, RunStarted, SignalReceived
from trainer_hooks.faults import forget_stack
from trainer_hooks.history import RunState
from trainer_hooks.journal import Journal, owner, read_headers, segments
from trainer_hooks.redact import Redactor

STACK = 'Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "train.py", line 1'


def state(*events) -> RunState:
    known = RunState()
    for event in (RunStarted(total_epochs=9), EpochEnded(epoch=2), *events):
        known.apply(event)
    return known


def failed(error: str, message: str, exit_status: int | None, **more) -> RunFailed:
    return RunFailed(error=error, message=message, exit_status=exit_status, epoch=2, **more)


@pytest.mark.parametrize(
    ("death", "told"),
    [
        (Death(status=-signal.SIGSEGV), failed("FrameworkError", "died of SIGSEGV", 139)),
        (Death(status=-signal.SIGBUS), failed("FrameworkError", "died of SIGBUS", 135)),
        (
            Death(status=-signal.SIGABRT, output="what()"),
            failed("FrameworkError", "died of SIGABRT", 134, output="what()"),
        ),
        (
            Death(status=-signal.SIGABRT, stack=STACK),
            failed("FrameworkError", "Fatal Python error: Aborted", 134, traceback=STACK),
        ),
        (Death(stack=STACK), failed("FrameworkError", "Fatal Python error: Aborted", None, traceback=STACK)),
        (
            Death(status=-signal.SIGKILL, out_of_memory=True),
            failed("ResourceError", "killed (SIGKILL) by the kernel for lack of memory", 137),
        ),
        (Death(status=-signal.SIGKILL), RunLost(reason="killed (SIGKILL)", epoch=2)),
        (Death(status=-signal.SIGTERM), RunInterrupted(reason="SIGTERM", epoch=2)),
        (Death(status=-signal.SIGUSR1), RunInterrupted(reason="SIGUSR1", epoch=2)),
        (Death(status=-40), RunInterrupted(reason="signal 40", epoch=2)),
        (
            Death(status=4, output="Bus error"),
            failed("UnknownError", "exited with status 4 and without a word", 4, output="Bus error"),
        ),
        (Death(status=0), RunInterrupted(reason="the process exited while the run was open", epoch=2)),
        (
            Death(out_of_memory=True),
            failed(
                "ResourceError",
                "the process ended without a word while the kernel killed processes for lack of memory",
                None,
            ),
        ),
        (
            Death(),
            RunLost(
                reason="the process ended without a word: killed (SIGKILL), crashed, or the machine went down", epoch=2
            ),
        ),
    ],
)
def test_what_is_known_of_a_death_is_told(death: Death, told: object) -> None:
    assert death.as_event(state()) == told


@pytest.mark.parametrize("status", [3, -signal.SIGKILL, None])
def test_memory_that_ran_out_elsewhere_is_not_blamed_for_an_exit(status: int | None) -> None:
    event = Death(status=status, out_of_memory=True).as_event(state())
    assert isinstance(event, RunFailed)
    assert (event.error == "ResourceError") == (status != 3)


def test_a_fault_that_the_process_survived_is_not_blamed_for_its_death() -> None:
    assert Death(status=-signal.SIGKILL, stack=STACK).as_event(state()) == RunLost(reason="killed (SIGKILL)", epoch=2)


def test_a_signal_that_had_asked_for_it_is_the_reason() -> None:
    asked = state(SignalReceived(signal="SIGTERM"))
    assert Death(status=-signal.SIGKILL).as_event(asked) == RunInterrupted(reason="SIGTERM", epoch=2)


def test_a_rank_that_has_failed_is_the_cause() -> None:
    asked = state(RankFailed(rank=3, error="ResourceError", message="no memory"), SignalReceived(signal="SIGTERM"))
    event = Death(status=-signal.SIGTERM).as_event(asked)
    assert isinstance(event, RunFailed)
    assert (event.error, event.rank) == ("ResourceError", 3)


def test_the_stack_is_read_without_secrets_and_only_the_last_one(tmp_path) -> None:
    (tmp_path / "fault-1.log").write_text(f"Fatal Python error: Bus error\n\nearlier\n{STACK} password=hunter2222")
    death = learn(tmp_path, 1, Redactor(), output="the token is hunter3333, AWS_SECRET_ACCESS_KEY=hunter4444")
    assert death.stack == f"{STACK} password=****"
    assert "hunter4444" not in (death.output or "")
    assert learn(tmp_path, 2, Redactor()).stack is None


def test_where_the_status_is_unknown_a_fault_that_the_process_has_survived_is_not_the_cause(tmp_path) -> None:
    directory = write_run(tmp_path, "run", TRAINING)
    (directory / "fault-1.log").write_text(STACK)
    other = Journal.beside(directory, owner(read_headers(directory)), "courier")
    other.append(EpochEnded(epoch=3))
    other.close()
    training, courier = (path for _, path in segments(directory))
    os.utime(courier, (2000, 2000))
    os.utime(directory / "fault-1.log", (1000, 1000))
    for last_word, stack in ((1002, None), (1000.5, STACK), (900, STACK)):
        os.utime(training, (last_word, last_word))
        assert learn(directory, 1, Redactor()).stack == stack
        assert learn(directory, 1, Redactor(), status=-signal.SIGABRT).stack == STACK


def test_a_file_without_a_stack_is_not_kept(tmp_path) -> None:
    for attempt, content in ((1, ""), (2, STACK)):
        (tmp_path / f"fault-{attempt}.log").write_text(content)
        learn(tmp_path, attempt, Redactor())
        forget_stack(tmp_path, attempt)
    assert [path.name for path in tmp_path.iterdir()] == ["fault-2.log"]
