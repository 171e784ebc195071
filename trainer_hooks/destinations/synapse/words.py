"""Events in words, for A's log, which shows texts."""

from __future__ import annotations

from typing import Any, Literal

from trainer_hooks.events import (
    Event,
    ExportCompleted,
    InferenceCompleted,
    Metrics,
    MetricsSkipped,
    ProgressResumed,
    ProgressStalled,
    RankFailed,
    RecordsDropped,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunStarted,
    SignalReceived,
    StopRequested,
    TrackerLinked,
)

SHADES_OF_ENDINGS: dict[type[Event], Literal["success", "error", "warning"]] = {
    RunCompleted: "success",
    RunFailed: "error",
    RunInterrupted: "warning",
    RunLost: "error",
}


def shown(metrics: Metrics) -> str:
    """Metrics in a line."""
    return ", ".join(f"{name} {value}" for name, value in metrics.items()) or "no metrics"


def started(event: RunStarted) -> str:
    """The work begins."""
    counts = {"epochs": event.total_epochs, "iterations": event.total_iterations}
    parts = [event.framework, event.model, *(f"{count} {unit}" for unit, count in counts.items() if count)]
    about = ", ".join(part for part in parts if part)
    return f"{event.operation} begins{f': {about}' if about else ''}"


def ended(event: Any) -> str:
    """How the work ended, with what there is to say of it."""
    if isinstance(event, RunFailed):
        trace = event.traceback or event.output
        return f"failed: {failure(event)}\n{trace or ''}".rstrip()
    if isinstance(event, RunCompleted):
        return "completed" if event.duration is None else f"completed in {event.duration:.1f} s"
    return f"{'interrupted' if isinstance(event, RunInterrupted) else 'lost'}: {event.reason}"


def failure(event: RunFailed) -> str:
    """What went wrong, in a line."""
    rank = "" if event.rank is None else f"rank {event.rank}: "
    return f"[{event.error}] {rank}{event.message}"


def metrics_skipped(event: MetricsSkipped) -> str:
    """Metrics that could not be read."""
    return "metrics skipped: " + "; ".join(f"{name}: {reason}" for name, reason in event.reasons.items())


def records_dropped(event: RecordsDropped) -> str:
    """Events that were never written."""
    return f"{event.count} events were lost before they reached the disk: {event.reason}"


def signal_received(event: SignalReceived) -> str:
    """The process was asked to stop."""
    return f"received {event.signal}"


def stop_requested(event: StopRequested) -> str:
    """A platform wants it to stop."""
    return f"asked to stop: {event.reason}"


def progress_stalled(event: ProgressStalled) -> str:
    """The training lives, and gets nowhere."""
    return f"no progress for {event.idle:.0f} s, where {event.usual:.3g} s are usual"


def progress_resumed(event: ProgressResumed) -> str:
    """It goes on after all."""
    return f"progress again, after {event.idle:.0f} s"


def tracker_linked(event: TrackerLinked) -> str:
    """Where else the run is shown."""
    return f"the run is shown in {event.tracker}, too: task {event.id}{f': {event.url}' if event.url else ''}"


def rank_failed(event: RankFailed) -> str:
    """One rank of a distributed job failed."""
    return f"rank {event.rank} failed: [{event.error}] {event.message}\n{event.traceback or ''}".rstrip()


def inference_completed(event: InferenceCompleted) -> str:
    """An inference's results, in number."""
    return f"inference: {event.total_images} images in {event.total_time_ms:g} ms"


def export_completed(event: ExportCompleted) -> str:
    """An exported model is in storage."""
    return f"exported as {event.export_format}: {event.uri} ({event.size} bytes)"
