"""Records as ClearML's events: scalars, log lines and tables; pure functions (docs/clearml.md has the table).

Shapes: https://clear.ml/docs, reference of the server's `events.add`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from trainer_hooks.events import (
    TERMINAL,
    EpochEnded,
    Event,
    ImageSaved,
    InferenceCompleted,
    Level,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    RankFailed,
    Record,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    Scalar,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    Validated,
)
from trainer_hooks.replay import Attempt
from trainer_hooks.workflow import StepEvent, in_words

SUMMARY = -(2**31)
"""The iteration of values that belong to no point in time: ClearML shows them as a table, "Summary"."""
Point = dict[str, Any]
_EXCEPT = "lr"  # all learning rates on one plot; by the rule below each would have its own


def place(name: str, series: str) -> tuple[str, str]:
    """The title and the series of a metric, by predecessor B's rule: "a/b" is series a of plot b.

    So a loss of training and of validation, "train/loss" and "val/loss", share a plot. A name without "/" is of the
    series that is given. Learning rates, "lr/pg0", share the plot "lr".
    """
    prefix, separator, rest = name.partition("/")
    if not separator or not prefix or not rest:
        return name, series
    return (prefix, rest) if prefix == _EXCEPT else (rest, prefix)


def points(record: Record, attempt: Attempt) -> list[Point]:
    """All that ClearML is to show of the record; `attempt` is its attempt as it was before it."""
    tell = _TRANSLATIONS.get(type(record.event))
    found = tell(record.event, attempt) if tell else ()
    return [{"timestamp": _milliseconds(record), **point} for point in found]


def image(record: Record, event: ImageSaved, url: str) -> Point:
    """An image at that address, among ClearML's debug samples."""
    at = event.epoch if event.iteration is None else event.iteration
    shown = {"type": "training_debug_image", "metric": event.title, "variant": event.title, "iter": at or 0}
    return {"timestamp": _milliseconds(record), **shown, "url": url, "key": url}


def _milliseconds(record: Record) -> int:
    return round(record.time * 1000)


def _epoch_ended(event: EpochEnded, _: Attempt) -> Iterator[Point]:
    yield from _scalars(event.metrics, event.epoch, "train", f"epoch {event.epoch}")


def _logged_metrics(event: MetricsLogged, attempt: Attempt) -> Iterator[Point]:
    if event.iteration is None:
        yield from _scalars(event.metrics, SUMMARY, "train", "of the run")
        return
    # Epochs and iterations on one axis would be one line that jumps.
    suffix = "" if attempt.counts_iterations or not attempt.total_epochs else " (iterations)"
    yield from _scalars(event.metrics, event.iteration, "train", f"iteration {event.iteration}", suffix)


def _validation(event: Validated, attempt: Attempt) -> Iterator[Point]:
    at = event.epoch or 0 if event.iteration is None else event.iteration
    where = f"epoch {at}" if event.iteration is None else f"iteration {at}"
    series = "test" if attempt.operation == "test" else "val"
    metrics = event.metrics
    if event.final:
        yield from _scalars(metrics, SUMMARY, series, "of the finished model")
    else:
        if event.iteration is None and attempt.epoch == event.epoch:
            # An epoch's end may have told its validation, too; it is one point.
            told = attempt.metrics
            metrics = {name: value for name, value in metrics.items() if not _is_told(name, value, told, series)}
        yield from _scalars(metrics, at, series, where)
    if event.per_class:
        yield _table("metrics per class", series, at, event.per_class)


def _is_told(name: str, value: Scalar, told: Metrics, series: str) -> bool:
    return told.get(name) == value and place(name, "train") == place(name, series)


def _scalars(metrics: Metrics, iteration: int, series: str, where: str, suffix: str = "") -> Iterator[Point]:
    """A point for each; what is no finite number gets a line in the log, for ClearML has no point for it but 0."""
    for name, value in metrics.items():
        if isinstance(value, str) or not math.isfinite(value):
            yield _log("WARNING", f"{where}: {name} is {value}")
            continue
        title, of = ("Summary", name) if iteration == SUMMARY else place(name, series)
        yield {
            "type": "training_stats_scalar",
            "iter": iteration,
            "metric": title + suffix,
            "variant": of,
            "value": value,
        }


def _table(title: str, series: str, iteration: int, rows: Mapping[str, Metrics]) -> Point:
    """A table, as ClearML's own SDK makes them: a figure of plotly's."""
    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    columns = [list(rows), *([metrics.get(name, "") for metrics in rows.values()] for name in names)]
    figure = {
        "data": [{"type": "table", "header": {"values": ["", *names]}, "cells": {"values": columns}}],
        "layout": {"title": f"{title}, {series}"},
    }
    shown = msgspec.json.encode(figure).decode()
    return {"type": "plot", "iter": iteration, "metric": title, "variant": series, "plot_str": shown}


def _logged(event: Logged, _: Attempt) -> Iterator[Point]:
    yield _log(event.level, f"{event.source}: {event.message}")


def _metrics_skipped(event: MetricsSkipped, _: Attempt) -> Iterator[Point]:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in event.reasons.items())
    yield _log("WARNING", f"metrics skipped: {reasons}")


def _records_dropped(event: RecordsDropped, _: Attempt) -> Iterator[Point]:
    yield _log("WARNING", f"{event.count} events were lost before they reached the disk: {event.reason}")


def _signal_received(event: SignalReceived, _: Attempt) -> Iterator[Point]:
    yield _log("WARNING", f"received {event.signal}")


def _of_a_step(event: StepEvent, _: Attempt) -> Iterator[Point]:
    yield _log(*in_words(event))


def _step_finished(event: StepFinished, attempt: Attempt) -> Iterator[Point]:
    """Its place among the steps stands in for the iteration, which the workflow as a whole has none of."""
    yield from _of_a_step(event, attempt)
    overall, step = attempt.overall_after(event), attempt.steps.get(event.step)
    if overall is not None and step is not None:
        yield from _scalars({"workflow": 100.0 * overall}, step.order, "percent", "")


def _rank_failed(event: RankFailed, _: Attempt) -> Iterator[Point]:
    yield _log("ERROR", f"rank {event.rank} failed: [{event.error}] {event.message}\n{event.traceback or ''}")


def _inference_completed(event: InferenceCompleted, _: Attempt) -> Iterator[Point]:
    yield _log("INFO", f"inference: {event.total_images} images in {event.total_time_ms:g} ms")


def _ended(event: RunCompleted | RunFailed | RunInterrupted | RunLost, attempt: Attempt) -> Iterator[Point]:
    said = _how_it_ended(event)
    if attempt.ended is not None:
        yield _log("WARNING", f"after the end: {said}")
    elif not isinstance(event, RunCompleted):
        trace = (event.traceback or event.output) if isinstance(event, RunFailed) else None
        yield _log("ERROR", f"{said}\n{trace or ''}")


def _how_it_ended(event: RunCompleted | RunFailed | RunInterrupted | RunLost) -> str:
    if isinstance(event, RunFailed):
        rank = "" if event.rank is None else f"rank {event.rank}: "
        return f"failed: [{event.error}] {rank}{event.message}"
    if isinstance(event, RunCompleted):
        return "completed"
    return f"{'interrupted' if isinstance(event, RunInterrupted) else 'lost'}: {event.reason}"


def _log(level: Level, message: str) -> Point:
    return {"type": "log", "level": level.lower(), "worker": "trainer_hooks", "msg": message.rstrip()}


_TRANSLATIONS: dict[type[Event], Callable[[Any, Attempt], Iterator[Point]]] = {
    EpochEnded: _epoch_ended,
    MetricsLogged: _logged_metrics,
    Validated: _validation,
    Logged: _logged,
    MetricsSkipped: _metrics_skipped,
    RecordsDropped: _records_dropped,
    SignalReceived: _signal_received,
    StepStarted: _of_a_step,
    StepFinished: _step_finished,
    StepFailed: _of_a_step,
    StepRolledBack: _of_a_step,
    RankFailed: _rank_failed,
    InferenceCompleted: _inference_completed,
    **dict.fromkeys(TERMINAL, _ended),
}
