"""Events that predecessor B has no call of their own for, told as log records: the message says it all.

B's backend keeps the message and drops `data`, so that what matters stands in both.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trainer_hooks.destinations.platform.calls import Call, Telling, log
from trainer_hooks.events import (
    CheckpointStored,
    EpochEnded,
    Logged,
    Metrics,
    MetricsLogged,
    MetricsSkipped,
    ProgressMade,
    ProgressResumed,
    ProgressStalled,
    RankFailed,
    RecordsDropped,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SignalReceived,
    StopRequested,
    TrackerLinked,
    Validated,
)
from trainer_hooks.workflow import StepEvent, in_words

_OWN = "trainer_hooks"


def logged(telling: Telling, event: Logged) -> Call:
    """A log record as it is."""
    return log(telling, event.level, event.source, event.message, event.data)


def checkpoint_stored(telling: Telling, event: CheckpointStored) -> Call:
    """What B's own `upload_checkpoint` sends, with the checksum."""
    data = {
        "s3_uri": event.uri,
        "metrics": event.metrics,
        "name": event.name,
        "epoch": event.epoch,
        "iteration": event.iteration,
        "sha256": event.sha256,
        "size": event.size,
    }
    call = log(telling, "INFO", "checkpoint", f"checkpoint {event.name!r} is stored: {event.uri}", data)
    return Call(call.path, {"type": "log_event", **call.payload})


def tracker_linked(telling: Telling, event: TrackerLinked) -> Call:
    """Where else the run is shown."""
    where = f"task {event.id}" + (f": {event.url}" if event.url else "")
    return log(telling, "INFO", event.tracker, f"the run is shown in {event.tracker}, too: {where}", _fields(event))


def metrics_logged(telling: Telling, event: MetricsLogged) -> Call:
    """Metrics of an iteration: B's metric rows are for epochs."""
    where = "metrics" if event.iteration is None else f"iteration {event.iteration}"
    data = {"metrics": event.metrics, "iteration": event.iteration}
    return log(telling, "DEBUG", "metrics", f"{where}: {_shown(event.metrics)}", data)


def metrics_skipped(telling: Telling, event: MetricsSkipped) -> Call:
    """Metrics that could not be read."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in event.reasons.items())
    return log(telling, "WARNING", "metrics", f"metrics skipped: {reasons}", {"reasons": event.reasons})


def records_dropped(telling: Telling, event: RecordsDropped) -> Call:
    """Events that were never written."""
    message = f"{event.count} events were lost before they reached the disk: {event.reason}"
    return log(telling, "WARNING", _OWN, message, {"count": event.count, "reason": event.reason})


def signal_received(telling: Telling, event: SignalReceived) -> Call:
    """The process was asked to stop."""
    return log(telling, "WARNING", "signal", f"received {event.signal}", {"signal": event.signal})


def stop_requested(telling: Telling, event: StopRequested) -> Call:
    """The platform's own wish, on its way."""
    return log(telling, "WARNING", "stop", f"asked to stop: {event.reason}", {"reason": event.reason})


def progress_stalled(telling: Telling, event: ProgressStalled) -> Call:
    """The training lives, and gets nowhere."""
    message = f"no progress for {event.idle:.0f} s, where {event.usual:.3g} s are usual"
    return log(telling, "WARNING", "liveness", message, _fields(event))


def progress_resumed(telling: Telling, event: ProgressResumed) -> Call:
    """It goes on after all."""
    return log(telling, "INFO", "liveness", f"progress again, after {event.idle:.0f} s", _fields(event))


def of_a_step(telling: Telling, event: StepEvent) -> Call:
    """What a workflow step does, or what comes of it."""
    level, message = in_words(event)
    return log(telling, level, "step", message, _fields(event))


def rank_failed(telling: Telling, event: RankFailed) -> Call:
    """One rank of a distributed job failed; how the job ends is told by its own event."""
    message = f"rank {event.rank} failed: [{event.error}] {event.message}\n{event.traceback or ''}".rstrip()
    return log(telling, "ERROR", f"rank {event.rank}", message, _fields(event))


def epoch_ended(telling: Telling, event: EpochEnded) -> Call:
    """An epoch of what is no training: B's progress route would set the training of the same number running."""
    return log(telling, "INFO", "progress", f"epoch {event.epoch}: {_shown(event.metrics)}", _fields(event))


def progress_made(telling: Telling, event: ProgressMade) -> Call:
    """Progress of what is no training, as above."""
    message = f"{event.category}: {event.current:g} of {event.total:g}"
    return log(telling, "INFO", "progress", message, _fields(event))


def validated(telling: Telling, event: Validated) -> Call:
    """A validation in what is no training, as above."""
    where = f"epoch {event.epoch}" if event.iteration is None else f"iteration {event.iteration}"
    kind = "test" if telling.attempt.operation == "test" else "validation"
    return log(telling, "INFO", kind, f"{where}: {_shown(event.metrics)}", _fields(event))


def evaluation_started(telling: Telling, event: RunStarted) -> Call:
    """A validation or test by itself begins."""
    return log(telling, "INFO", event.operation, f"{event.operation} of {event.model or 'a model'} begins", {})


def evaluation_ended(telling: Telling, event: RunFailed | RunInterrupted | RunLost) -> Call:
    """A validation or test by itself came to no result: that says nothing about the job of that number."""
    fields, operation = _fields(event), telling.attempt.operation
    said = fields.get("message") or fields.get("reason") or "no further word"
    message = f"{operation} {fields['type'].removeprefix('run_')}: {said}\n{fields.get('traceback') or ''}".rstrip()
    return log(telling, "ERROR", operation, message, fields)


def ended_again(telling: Telling, event: msgspec.Struct) -> Call:
    """A second ending of one attempt: its state stands, and this is kept as a word about it."""
    fields = _fields(event)
    said = fields.get("message") or fields.get("reason") or "no further word"
    return log(telling, "WARNING", _OWN, f"after the end: {fields['type']}: {said}", fields)


def _fields(event: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return fields


def _shown(metrics: Metrics) -> str:
    return ", ".join(f"{name} {value}" for name, value in metrics.items()) or "no metrics"
