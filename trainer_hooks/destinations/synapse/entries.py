"""Records as entries of predecessor A's job log, by the table at the end; pure functions (docs/synapse.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

from trainer_hooks.destinations.synapse import words
from trainer_hooks.destinations.synapse.board import Board
from trainer_hooks.destinations.synapse.figures import Category, by_category, finite, non_finite
from trainer_hooks.events import (
    TERMINAL,
    CheckpointStored,
    EpochEnded,
    Event,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Level,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    ProgressResumed,
    ProgressStalled,
    RankFailed,
    Record,
    RecordsDropped,
    RunStarted,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    StopRequested,
    TrackerLinked,
    Validated,
)
from trainer_hooks.workflow import StepEvent, in_words

Entry: TypeAlias = dict[str, Any]
Shade: TypeAlias = Literal["debug", "info", "success", "warning", "danger", "error", "critical"]
Translation: TypeAlias = Callable[[Any, Board], Iterator[Entry]]
_LONGEST_STEP = 255
_NOTHING: Mapping[Category, Metrics] = {}
_SHADES: dict[Level, Shade] = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error"}


def entries(record: Record, board: Board, job: str) -> list[Entry]:
    """All that the log is to say of the record; `board` is its attempt as it was before it."""
    tell = _TRANSLATIONS.get(type(record.event))
    found = tell(record.event, board) if tell else ()
    return [_complete(entry, record, board, job) for entry in found]


def picture(record: Record, event: ImageSaved, board: Board, job: str, data_uri: str) -> Entry:
    """An image, within the entry."""
    at = event.epoch if event.iteration is None else event.iteration
    category = "train" if event.title.startswith("train") else "validation"
    number = "".join(character for character in event.title if character.isdecimal())[:9]
    data = {"category": category, "group": str(at or 0), "index": int(number or 0), "title": event.title}
    return {**_complete({"event": "visualization", "data": data}, record, board, job), "file": data_uri}


def remark(content: str, record: Record, board: Board, job: str) -> Entry:
    """A word of our own on what could not be told of the record."""
    (entry,) = _message("warning", content)
    return _complete(entry, record, board, job)


def _complete(entry: Entry, record: Record, board: Board, job: str) -> Entry:
    # To the microsecond it is the event's own: by it an entry is found again that may have been taken already.
    when = datetime.fromtimestamp(record.time, timezone.utc).isoformat()
    step = getattr(record.event, "step", None) or board.step
    of_step = {"step": step[:_LONGEST_STEP]} if step else {}
    return {**entry, "datetime": when, "job": job, **of_step}


def _message(shade: Shade, content: str, **more: Any) -> Iterator[Entry]:
    """A's users see messages; what is for developers alone is an event of another name there, too."""
    kind = "debug" if shade == "debug" else "message"
    yield {"event": kind, "data": {"content": content, **more}, "level": shade}


def _points(
    metrics: Metrics, key: str, value: int, otherwise: Category, told: Mapping[Category, Metrics] = _NOTHING
) -> Iterator[Entry]:
    """A point of each category, without what was told of it already."""
    for category, found in by_category(metrics, otherwise).items():
        before = told.get(category, {})
        left = {name: number for name, number in found.items() if before.get(name) != number}
        if not left:
            continue
        data: dict[str, Any] = {"category": category, "key": key, "value": value, "metrics": finite(left)}
        if named := non_finite(left):
            data["non_finite"] = named
        yield {"event": "metric", "data": data}


def _epoch_ended(event: EpochEnded, _: Board) -> Iterator[Entry]:
    return _points(event.metrics, "epoch", event.epoch, "train")


def _metrics_logged(event: MetricsLogged, _: Board) -> Iterator[Entry]:
    """Those of no point in time stand in the job's metrics record alone, as A's `set_metrics` has it."""
    return iter(()) if event.iteration is None else _points(event.metrics, "iteration", event.iteration, "train")


def _validated(event: Validated, board: Board) -> Iterator[Entry]:
    kind: Category = "test" if board.operation == "test" else "validation"
    if event.final:
        return _message("info", f"{kind} of the finished model: {words.shown(event.metrics)}")
    if event.iteration is not None:
        return _points(event.metrics, "iteration", event.iteration, kind)
    # An epoch's end may have told its validation, too; it is one point.
    told = by_category(board.metrics, "train") if board.epoch == event.epoch else _NOTHING
    return _points(event.metrics, "epoch", event.epoch or 0, kind, told)


def _logged(event: Logged, _: Board) -> Iterator[Entry]:
    more = {"data": event.data} if event.data else {}
    return _message(_SHADES[event.level], event.message, source=event.source, **more)


def _stored(event: CheckpointStored, _: Board) -> Iterator[Entry]:
    about = {"uri": event.uri, "sha256": event.sha256, "size": event.size}
    return _message("info", f"checkpoint {event.name!r} is stored: {event.uri}", **about)


def _said(shade: Shade, say: Callable[[Any], str]) -> Translation:
    return lambda event, _: _message(shade, say(event))


def _step(event: StepEvent, _: Board) -> Iterator[Entry]:
    level, text = in_words(event)
    is_done = isinstance(event, StepFinished) and event.skipped is None
    return _message("success" if is_done else _SHADES[level], text)


def _started(event: RunStarted, board: Board) -> Iterator[Entry]:
    # Told again, it only says more of what has begun.
    return iter(()) if board.started else _message("info", words.started(event))


def _ended(event: Event, board: Board) -> Iterator[Entry]:
    if board.ended is not None:
        return _message("warning", f"after the end: {words.ended(event)}")
    return _message(words.SHADES_OF_ENDINGS[type(event)], words.ended(event))


# Not here: SegmentOpened, which is the journal's own; CheckpointSaved, which speaks of a local file; ProgressMade,
# which stands in the job's progress record; ImageSaved, which is `picture`.
_TRANSLATIONS: dict[type[Event], Translation] = {
    RunStarted: _started,
    EpochEnded: _epoch_ended,
    MetricsLogged: _metrics_logged,
    Validated: _validated,
    Logged: _logged,
    CheckpointStored: _stored,
    MetricsSkipped: _said("warning", words.metrics_skipped),
    RecordsDropped: _said("warning", words.records_dropped),
    SignalReceived: _said("warning", words.signal_received),
    StopRequested: _said("warning", words.stop_requested),
    ProgressStalled: _said("warning", words.progress_stalled),
    ProgressResumed: _said("info", words.progress_resumed),
    TrackerLinked: _said("info", words.tracker_linked),
    **dict.fromkeys((StepStarted, StepFinished, StepFailed, StepRolledBack), _step),
    RankFailed: _said("error", words.rank_failed),
    InferenceCompleted: _said("info", words.inference_completed),
    ExportCompleted: _said("info", words.export_completed),
    **dict.fromkeys(TERMINAL, _ended),
}
TOLD = tuple(_TRANSLATIONS)
"""The events that the log tells of."""
