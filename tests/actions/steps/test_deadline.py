"""Time limits: in the main thread and elsewhere, beside the host's own timers."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.actions.steps.parts import Step, Undoable, context_in, in_short, raising, work
from tests.waiting import wait_until
from trainer_hooks.actions.steps.base import StepResult
from trainer_hooks.actions.steps.deadline import within
from trainer_hooks.errors import ErrorType, StepError, StepTimedOut, classify

SHORT, LONG = 0.05, 60.0


def here(function: Callable[[], Any]) -> Any:
    return function()


def elsewhere(function: Callable[[], Any]) -> Any:
    """In a thread of its own; raises here what it raised there."""
    outcome: list[Any] = []

    def note() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - goes on below
            outcome.append(error)

    thread = threading.Thread(target=note)
    thread.start()
    thread.join(LONG)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


everywhere = pytest.mark.parametrize("thread", [here, elsewhere])


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A host without a timer of its own; pytest-timeout's is put back."""
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    left = signal.setitimer(signal.ITIMER_REAL, *timer), signal.signal(signal.SIGALRM, handler)
    assert left == ((0, 0), signal.SIG_DFL)
    assert not [thread for thread in threading.enumerate() if "deadline" in thread.name]


def busy() -> None:
    wait_until(lambda: False, timeout=LONG)


@everywhere
def test_what_takes_too_long_is_broken_off(thread):
    began = time.monotonic()
    with pytest.raises(StepTimedOut, match=r"step 'a' took longer than its timeout of 0.05 s"):
        thread(lambda: within(SHORT, "step 'a'", busy))
    assert time.monotonic() - began < LONG / 2


@everywhere
def test_what_is_done_in_time_is_left_alone(thread):
    assert thread(lambda: within(LONG, "it", lambda: 7)) == 7
    with pytest.raises(LookupError, match="its own"):
        thread(lambda: within(LONG, "it", raising(LookupError("its own"))))
    assert within(None, "it", lambda: 7) == 7


@everywhere
def test_a_broad_except_does_not_swallow_it(thread):
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                busy()

    with pytest.raises(StepTimedOut):
        thread(lambda: within(SHORT, "it", stubborn))


@everywhere
@pytest.mark.parametrize("reaction", [lambda: None, raising(ValueError("cleaning up failed"))])
def test_what_the_call_makes_of_it_does_not_hide_it(thread, reaction):
    def catches_everything() -> None:
        try:
            busy()
        except BaseException:  # noqa: BLE001 - as careless code does
            reaction()

    with pytest.raises(StepTimedOut):
        thread(lambda: within(SHORT, "it", catches_everything))


@everywhere
def test_what_is_done_at_the_last_moment_is_done_or_timed_out_and_nothing_comes_later(thread):
    def one_race() -> bool:
        with contextlib.suppress(StepTimedOut):
            within(0.0005, "it", lambda: threading.Event().wait(0.0004))
        return True

    assert thread(lambda: sum(one_race() for _ in range(300))) == 300


def test_a_timeout_is_no_trouble_of_the_network():
    assert classify(StepTimedOut("too long")) == ErrorType.UNKNOWN_ERROR


def test_the_hosts_timer_goes_off_meanwhile_and_goes_on_afterwards():
    rings: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rings.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        within(LONG, "it", lambda: wait_until(lambda: len(rings) >= 3))
        assert signal.getitimer(signal.ITIMER_REAL)[1] == pytest.approx(0.02)
        wait_until(lambda: len(rings) >= 5)
        with pytest.raises(StepTimedOut):
            within(SHORT, "it", busy)
        so_far = len(rings)
        wait_until(lambda: len(rings) > so_far)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_host_timer_that_is_due_later_is_given_back_with_what_is_left_of_it():
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 30)
        with pytest.raises(StepTimedOut):
            within(SHORT, "it", busy)
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 1 < left <= 30 - SHORT
        assert interval == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_that_is_sent_by_hand_is_the_hosts():
    rings: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rings.append(number))
    try:
        within(LONG, "it", lambda: signal.raise_signal(signal.SIGALRM))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rings == [signal.SIGALRM]


def test_a_step_that_takes_too_long_fails_and_what_was_done_is_rolled_back(tmp_path):
    diary: list[str] = []
    with context_in(tmp_path) as context:
        with pytest.raises(StepError, match="step 'b' failed: step 'b' took longer") as raised:
            work(context, Undoable("a", diary), Step("b", diary, timeout=SHORT, do=lambda _: busy()))
        assert isinstance(raised.value.__cause__, StepTimedOut)
        assert in_short(context.runtime_ctx.run) == ["+a", "a", "+b", "!b", "~a"]
    assert diary == ["a", "b", "undo a"]


def test_each_try_has_its_own_time(tmp_path):
    tries: list[int] = []

    def slow_at_first(_: Any) -> StepResult:
        tries.append(1)
        if len(tries) < 3:
            busy()
        return StepResult()

    with context_in(tmp_path) as context:
        work(context, Step("a", timeout=SHORT, retries=2, do=slow_at_first))
        assert in_short(context.runtime_ctx.run) == ["+a", "!a", "+a", "!a", "+a", "a"]
