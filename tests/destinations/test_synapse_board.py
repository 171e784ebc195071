"""What Synapse shows of an attempt, whatever order its events come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.destinations.synapse.board import Board
from trainer_hooks.events import (
    AnyEvent,
    EpochEnded,
    MetricsLogged,
    ProgressMade,
    Record,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
)

_STEPS = st.sampled_from(["load", "fit", "upload"])
_COUNTS = st.integers(0, 5)
_ANYTHING: st.SearchStrategy[AnyEvent] = st.one_of(
    st.builds(RunStarted, total_epochs=st.none() | _COUNTS, total_iterations=st.none() | _COUNTS),
    st.builds(EpochEnded, epoch=_COUNTS, total_epochs=st.none() | _COUNTS, time_left=st.none() | st.floats(0, 9)),
    st.builds(MetricsLogged, metrics=st.just({"loss": "NaN"}), iteration=st.none() | _COUNTS),
    st.builds(
        ProgressMade,
        current=st.floats(-1, 9),
        total=st.floats(-1, 9),
        category=st.sampled_from(["dataset", "train", "model_upload", "convert"]),
    ),
    st.builds(StepStarted, step=_STEPS, order=st.integers(1, 3), total=st.just(3), share=st.floats(0, 1)),
    st.builds(StepFinished, step=_STEPS),
    st.builds(StepFailed, step=_STEPS, error=st.just("UnknownError"), message=st.just("no")),
    st.builds(StepRolledBack, step=_STEPS),
    st.just(RunCompleted()),
    st.just(RunFailed(error="UnknownError", message="no")),
)


@given(st.lists(st.tuples(_ANYTHING, st.floats(-1, 5)), max_size=30))
def test_the_whole_stays_within_bounds_and_never_goes_back(told: list[tuple[AnyEvent, float]]) -> None:
    board, overall, now = Board(), 0.0, 1e9
    for number, (event, later) in enumerate(told):
        now += later  # clocks are set back, too
        board.take(Record("run", 1, 1, number, now, event, number))
        shown = board.progress_record(elapsed=True)
        assert overall <= shown["current_progress"]["overall"] <= 100.0
        overall = shown["current_progress"]["overall"]
        for part in shown["record"]["steps"].values():
            assert 0.0 <= part["percent"] <= 100.0
            assert part["time_remaining"] is None or part["time_remaining"] >= 0.0
