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

    def __init__(self, runner: Any, begun: int | None = None) -> None:
        """`begun`: how many iterations were finished then; by default as many as the runner says."""
        self.begun: int = runner.iter if begun is None else begun
        self._sizes = {name: _size(buffer) for name, buffer in _buffers(runner, TRAIN)}

    def read(self, runner: Any) -> dict[str, Any]:
        """The mean of each since then, by its full name; of learning rates and momenta the last value."""
        values = {}
        for name, buffer in _buffers(runner, TRAIN):
            count = _size(buffer) - self._sizes.get(name, 0)
            if name.endswith(_STATES) or count == 1:
                values[name] = buffer.current()
            elif count > 1:
                values[name] = buffer.mean(count)
        return values


def newest_validation(runner: Any) -> dict[str, Any]:
    """What the validation that is going on has found, by its own names."""
    found = _buffers(runner, _VAL)
    return {name.removeprefix(_VAL): buffer.current() for name, buffer in found if name not in _TIMES}


def _buffers(runner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    return ((name, buffer) for name, buffer in runner.message_hub.log_scalars.items() if name.startswith(prefix))


def _size(buffer: Any) -> int:
    values, _ = buffer.data
    return len(values)
