"""Progress and stalling, told from when a training told what."""

from __future__ import annotations

import pytest

from trainer_hooks.courier.pulse import Pulse
from trainer_hooks.events import AnyEvent, EpochEnded, Logged, MetricsLogged, Record, RunStarted, Validated


def told(pulse: Pulse, *moments: tuple[float, AnyEvent]) -> Pulse:
    for time, event in moments:
        pulse.note(Record("run", 1, 1, 1, time, event, 0))
    return pulse


def epochs(*times: float, duration: float | None = 10.0) -> list[tuple[float, AnyEvent]]:
    return [(time, EpochEnded(epoch=number, duration=duration)) for number, time in enumerate(times, 1)]


@pytest.fixture
def pulse() -> Pulse:
    return Pulse(5, least=20)


def test_before_the_first_epoch_nothing_is_usual_yet(pulse: Pulse) -> None:
    told(pulse, (0, RunStarted()))
    assert pulse.state(1e6) == "starting"
    assert pulse.usual is None


def test_too_few_epochs_tell_nothing_of_what_is_usual(pulse: Pulse) -> None:
    told(pulse, *epochs(10, 20))
    assert pulse.state(1e6) == "progressing"


def test_stalled_is_many_times_the_usual_epoch(pulse: Pulse) -> None:
    told(pulse, *epochs(10, 20, 30))
    assert pulse.usual == 10
    assert pulse.state(79) == "progressing"
    assert pulse.state(81) == "stalled"
    assert pulse.idle(81) == 51
    told(pulse, (82, EpochEnded(epoch=4, duration=52)))
    assert pulse.state(83) == "progressing"


def test_one_epoch_that_took_very_long_does_not_change_what_is_usual(pulse: Pulse) -> None:
    told(pulse, *epochs(10, 20, 30), (1000, EpochEnded(epoch=4, duration=970)))
    assert pulse.usual == 10


def test_epochs_of_milliseconds_are_not_stalled_by_a_short_break(pulse: Pulse) -> None:
    told(pulse, *epochs(0.1, 0.2, 0.3, duration=0.1))
    assert pulse.state(20) == "progressing"
    assert pulse.state(21) == "stalled"


def test_a_validation_is_progress_and_a_log_record_is_not(pulse: Pulse) -> None:
    told(pulse, *epochs(10, 20, 30), (70, Logged(level="INFO", message="still trying")))
    assert pulse.state(81) == "stalled"
    told(pulse, (82, Validated(metrics={})))
    assert pulse.state(100) == "progressing"


def test_without_epochs_told_iterations_count(pulse: Pulse) -> None:
    told(pulse, *((10 * n, MetricsLogged(metrics={}, iteration=n)) for n in range(1, 6)))
    assert pulse.usual == 10
    assert pulse.state(50 + 51) == "stalled"


def test_with_epochs_the_iterations_in_between_do_not_count(pulse: Pulse) -> None:
    told(pulse, *((n, MetricsLogged(metrics={}, iteration=n)) for n in range(1, 30)))
    assert pulse.usual == 1
    told(pulse, *epochs(30, 60, 90, duration=30))
    assert pulse.usual == 30


def test_epochs_without_a_duration_are_measured_from_one_to_the_next(pulse: Pulse) -> None:
    told(pulse, *epochs(0, 40, 80, 120, duration=None))
    assert pulse.usual == 40


def test_a_factor_of_0_never_stalls() -> None:
    assert told(Pulse(0, least=0), *epochs(10, 20, 30)).state(1e9) == "progressing"
