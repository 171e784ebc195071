"""TensorBoard: an event file for each run, written by TensorBoard's own record writer; TensorFlow is not needed.

From where a later attempt tells of a metric, what the earlier ones have told of it is left out: TensorBoard would draw
the curve back and forth.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer_hooks.attempts import safe_name
from trainer_hooks.cli.exports.points import Point, missing, points_of
from trainer_hooks.history import RunHistory

_VERSION = "brain.Event:2"
_FILE = "events.out.tfevents.{began}.trainer_hooks"


def write_tensorboard(history: RunHistory, folder: Path) -> Path:
    """Write the run into a folder of its own below that one, in place of what an earlier export has left there.

    Raises:
        MissingPackage: if tensorboard isn't installed.
        OSError: if it can't be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise missing("tensorboard", error) from error
    place = folder / safe_name(history.run)
    place.mkdir(parents=True, exist_ok=True)
    began = history.attempts[0].began
    file = place / _FILE.format(began=int(began))
    building = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with building.open("wb") as opened:
            writer = RecordWriter(opened)
            writer.write(Event(wall_time=began, file_version=_VERSION).SerializeToString())
            for event in _events(history):
                writer.write(event.SerializeToString())
            writer.flush()
        building.replace(file)
    finally:
        building.unlink(missing_ok=True)
    return place


def _events(history: RunHistory) -> Iterator[Any]:
    yield _params(history)
    began = _beginnings(history)
    numbers = sorted({number for _, _, number in began})
    for point in points_of(history.directory):
        later = [number for number in numbers if number > point.attempt]
        if all(point.step < began.get((point.metric, point.axis, number), math.inf) for number in later):
            yield _scalar(point)


def _beginnings(history: RunHistory) -> dict[tuple[str, str, int], int]:
    """Where each attempt begins to tell of each metric and axis."""
    began: dict[tuple[str, str, int], int] = {}
    for point in points_of(history.directory):
        place = point.metric, point.axis, point.attempt
        began[place] = min(point.step, began.get(place, point.step))
    return began


def _scalar(point: Point) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    value = Summary.Value(tag=_tag(point), simple_value=point.value)
    return Event(wall_time=point.time, step=point.step, summary=Summary(value=[value]))


def _tag(point: Point) -> str:
    return point.metric if point.axis == "epoch" else f"{point.metric} (iteration)"


def _params(history: RunHistory) -> Any:
    """The parameters, as a table in the plugin for texts."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    started = history.latest.state.started
    rows = [f"| {name} | {value} |" for name, value in sorted((started.params if started else {}).items())]
    text = "\n".join(["| parameter | value |", "|---|---|", *rows])
    tensor = TensorProto(
        dtype="DT_STRING", string_val=[text.encode()], tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    )
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    value = Summary.Value(tag="parameters/text_summary", metadata=about, tensor=tensor)
    return Event(wall_time=history.attempts[0].began, step=0, summary=Summary(value=[value]))
