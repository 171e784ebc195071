"""How far a workflow of steps is, as its events tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.events import (
    EpochEnded,
    MetricsLogged,
    ProgressMade,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
)
from trainer_hooks.history import RunState
from trainer_hooks.workflow import in_words

SHARES = {"load": 0.25, "train": 0.5, "upload": 0.25}
NAMES = list(SHARES)


def state_after(*events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def begins(name: str, retry: int = 0) -> StepStarted:
    return StepStarted(step=name, order=NAMES.index(name) + 1, total=len(NAMES), share=SHARES[name], retry=retry)


def fails(name: str, *, retrying: bool = False) -> StepFailed:
    return StepFailed(step=name, error="UnknownError", message="x", duration=1.0, retrying=retrying)


DONE = [begins("load"), StepFinished(step="load", duration=2.0)]


def test_without_steps_there_is_no_workflow():
    state = state_after(RunStarted(total_epochs=2), EpochEnded(epoch=1), ProgressMade(current=1, total=2))
    assert (state.overall, state.steps) == (None, {})
    assert state.overall_after(EpochEnded(epoch=2)) is None


@pytest.mark.parametrize(
    ("events", "overall"),
    [
        ([begins("load")], 0.0),
        ([begins("load"), ProgressMade(current=1, total=2)], 0.125),
        (DONE, 0.25),
        ([begins("load"), StepFinished(step="load", skipped="done in attempt 1")], 0.25),
        ([*DONE, begins("train")], 0.25),
        ([*DONE, begins("train"), ProgressMade(current=1, total=4, category="anything")], 0.375),
        ([*DONE, begins("train"), RunStarted(total_epochs=4), EpochEnded(epoch=1)], 0.375),
        ([*DONE, begins("train"), RunStarted(total_epochs=4, epoch=2)], 0.5),
        ([*DONE, begins("train"), EpochEnded(epoch=1, total_epochs=2), ProgressMade(current=3, total=4)], 0.625),
        ([*DONE, begins("train"), ProgressMade(current=1, total=4), EpochEnded(epoch=3, total_epochs=4)], 0.625),
        ([*DONE, begins("train"), EpochEnded(epoch=1)], 0.25),  # of an unknown number
        ([*DONE, begins("train"), RunStarted(total_iterations=40), MetricsLogged(metrics={}, iteration=10)], 0.375),
        ([*DONE, begins("train"), RunStarted(total_epochs=40), MetricsLogged(metrics={}, iteration=10)], 0.25),
        ([*DONE, begins("train"), ProgressMade(current=9, total=1)], 0.75),
        ([*DONE, begins("train"), ProgressMade(current=-1, total=1)], 0.25),
        ([*DONE, ProgressMade(current=1, total=1)], 0.25),  # between two steps
    ],
)
def test_the_whole_is_what_is_done_and_the_part_of_the_current_step(events, overall):
    assert state_after(*events).overall == overall


def test_it_never_goes_back_in_a_retry_a_rollback_or_a_repeated_epoch():
    state = state_after(*DONE, begins("train"), EpochEnded(epoch=3, total_epochs=4))
    for event in (EpochEnded(epoch=1), fails("train", retrying=True), begins("train", retry=1), EpochEnded(epoch=2)):
        state.apply(event)
        assert state.overall == 0.625
    state.apply(fails("train"))
    state.apply(StepRolledBack(step="load"))
    assert state.overall == 0.625
    told = [(name, step.status, step.duration) for name, step in state.steps.items()]
    assert told == [("load", "rolled back", 2.0), ("train", "failed", 2.0)]
    assert state.steps["train"].retries == 1


def test_what_could_not_be_rolled_back_is_still_done():
    state = state_after(*DONE, StepRolledBack(step="load", error="UnknownError", message="x"))
    assert state.steps["load"].status == "done"


def test_when_all_is_done_it_is_exactly_one():
    state = RunState()
    for order in range(1, 11):
        state.apply(StepStarted(step=str(order), order=order, total=10, share=0.7 / 7))
        state.apply(StepFinished(step=str(order)))
    assert state.overall == 1.0


def test_it_can_be_asked_ahead_and_nothing_changes_by_that():
    state = state_after(*DONE, begins("train"))
    assert state.overall_after(EpochEnded(epoch=1, total_epochs=2)) == 0.5
    assert state.overall_after(StepFinished(step="train")) == 0.75
    assert (state.overall, state.epoch, state.steps["train"].fraction) == (0.25, 0, 0.0)


def test_a_step_whose_start_was_lost_does_no_harm():
    assert state_after(StepFinished(step="load"), fails("train"), StepRolledBack(step="x")).steps == {}


names = st.sampled_from([*NAMES, "stranger"])
numbers = st.floats(-2, 10)
counts = st.integers(0, 9)
events = st.one_of(
    st.builds(
        StepStarted, step=names, order=counts, total=st.integers(1, 4), share=st.floats(0, 1), retry=st.integers(0, 2)
    ),
    st.builds(StepFinished, step=names, duration=numbers, skipped=st.none() | st.just("why")),
    st.builds(fails, names, retrying=st.booleans()),
    st.builds(StepRolledBack, step=names, error=st.none() | st.just("UnknownError")),
    st.builds(ProgressMade, current=numbers, total=numbers),
    st.builds(EpochEnded, epoch=counts, total_epochs=st.none() | counts),
    st.builds(MetricsLogged, metrics=st.just({}), iteration=st.none() | counts),
    st.builds(
        RunStarted, total_epochs=st.none() | counts, total_iterations=st.none() | counts, epoch=st.none() | counts
    ),
)


@given(st.lists(events, max_size=40))
def test_it_is_monotone_and_within_bounds_whatever_happens(told):
    state, before = RunState(), None
    for event in told:
        if isinstance(event, (ProgressMade, EpochEnded, MetricsLogged, RunStarted, StepFinished)):
            ahead = state.overall_after(event)
            state.apply(event)
            assert ahead == (None if before is None else state.overall)
        else:
            state.apply(event)
        if state.overall is None:
            assert before is None
        else:
            assert (before or 0.0) <= state.overall <= 1.0
        before = state.overall


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (begins("train"), ("INFO", "step 'train' begins (2 of 3)")),
        (begins("train", retry=2), ("INFO", "step 'train' begins (2 of 3, retry 2)")),
        (StepFinished(step="a", duration=2.26), ("INFO", "step 'a' is done, in 2.3 s")),
        (StepFinished(step="a", skipped="done in attempt 1"), ("INFO", "step 'a' is skipped: done in attempt 1")),
        (fails("a"), ("ERROR", "step 'a' failed: [UnknownError] x")),
        (fails("a", retrying=True), ("WARNING", "step 'a' failed, and is tried again: [UnknownError] x")),
        (StepRolledBack(step="a"), ("INFO", "step 'a' is rolled back")),
        (
            StepRolledBack(step="a", error="ResourceError", message="no room", traceback="Trace\n"),
            ("ERROR", "step 'a' could not be rolled back: [ResourceError] no room\nTrace"),
        ),
    ],
)
def test_each_event_can_be_said(event, told):
    assert in_words(event) == told
