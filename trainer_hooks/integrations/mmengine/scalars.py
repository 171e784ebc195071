"""The host's own records of what it measures: a HistoryBuffer by name in its message hub, with a value per iteration.

RuntimeInfoHook fills them, and has waited for the device to do so: reading them makes nobody wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TRAIN, _VAL = "train/", "val/"
_TIMES = {f"{_VAL}time", f"{_VAL}data_time"}  # of the last batch
# What an optimizer has at a time, and not what an iteration gave: the last value tells more than the mean.
_STATES = ("lr", "momentum")


class Window:
    """What has been measured of a training since a moment."""

    def __init__(self, runner: Any) -> None:
        self.begun: int = runner.iter
        """How many iterations were finished then."""
        self._before = _sizes(runner)
        self._read: tuple[dict[str, int], dict[str, float]] = ({}, {})

    def read(self, runner: Any) -> dict[str, float]:
        """The mean of each since then, by its full name; of learning rates and momenta the last value."""
        sizes = _sizes(runner)
        if sizes != self._read[0]:  # the epoch and each of its checkpoints ask for the same
            self._read = sizes, self._means(runner, sizes)
        return self._read[1]

    def begin_anew(self, begun: int) -> None:
        """Measure from the last reading on, at which so many iterations were finished."""
        self.begun, self._before, self._read = begun, self._read[0], ({}, {})

    def _means(self, runner: Any, sizes: dict[str, int]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, buffer in _buffers(runner, TRAIN):
            count = sizes[name] - self._before.get(name, 0)
            if sizes[name] == buffer.max_length:  # after a million of them, the oldest are dropped
                count = max(1, runner.iter - self.begun)
            if name.endswith(_STATES) or count == 1:
                values[name] = float(buffer.current())
            elif count > 1:
                values[name] = float(buffer.mean(count))
        return values


def newest_validation(runner: Any) -> dict[str, Any]:
    """What the validation that is going on has found, by its own names."""
    found = _buffers(runner, _VAL)
    return {name.removeprefix(_VAL): float(buffer.current()) for name, buffer in found if name not in _TIMES}


def _buffers(runner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    return ((name, buffer) for name, buffer in runner.message_hub.log_scalars.items() if name.startswith(prefix))


def _sizes(runner: Any) -> dict[str, int]:
    """How many values there are of each."""
    return {name: len(buffer.data[0]) for name, buffer in _buffers(runner, TRAIN)}
