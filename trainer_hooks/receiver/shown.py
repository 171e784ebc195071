"""What is shown of runs: plain values, as the index keeps them and the API answers them.

Times are unix seconds. A metric value is a number, or one of the texts "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Value: TypeAlias = int | float | str
Shown: TypeAlias = Literal["opened", "running", "completed", "failed", "interrupted", "lost"]
Alive: TypeAlias = Literal["starting", "progressing", "stalled"]


@dataclass(frozen=True)
class BestShown:
    """The best value of the metric that the run is judged by, and where it was reached ("epoch 3")."""

    metric: str
    value: Value
    at: str


@dataclass(frozen=True)
class FailureShown:
    """Why an attempt ended as it shouldn't. `kind` is one of B's error types, else "interrupted" or "lost"."""

    kind: str
    message: str
    exception: str | None = None
    traceback: str | None = None
    output: str | None = None
    rank: int | None = None
    exit_status: int | None = None


@dataclass(frozen=True)
class CheckpointShown:
    """A checkpoint by its name. `uri` is None as long as it is in no storage; `path` is the training machine's."""

    name: str
    uri: str | None = None
    path: str | None = None
    size: int | None = None
    sha256: str | None = None
    epoch: int | None = None
    iteration: int | None = None
    metrics: dict[str, Value] = field(default_factory=dict)
    final: bool = False


@dataclass(frozen=True)
class ImageShown:
    """Something that was drawn. `name` is what it is asked for by; `time` is when it was told."""

    name: str
    title: str
    time: float
    epoch: int | None = None
    iteration: int | None = None


@dataclass(frozen=True)
class StepShown:
    """A step of a workflow: `share` of the whole, of which `fraction` is done; `duration` in seconds, of all tries."""

    step: str
    status: str
    order: int
    share: float
    fraction: float
    duration: float
    retries: int
    skipped: str | None = None


@dataclass(frozen=True)
class Heartbeat:
    """The newest sign of life: that long ago it came, and what the training was doing."""

    ago: float
    state: Alive
    idle: float


@dataclass(frozen=True)
class RunShown:
    """A run in a list, as its newest attempt stands.

    `done` of `total` units ("epochs", "iterations") are finished; `total` is None where nobody knows. `time_left` is in
    seconds. `action` is the name of the action that it is the run of. `cancelled`: somebody wants its job to end;
    an attempt that began later, and writes here itself, has not been asked.
    """

    run: str
    job: str
    status: Shown
    operation: str
    attempts: int
    began: float
    last: float
    action: str | None = None
    framework: str | None = None
    task: str | None = None
    model: str | None = None
    host: str | None = None
    unit: str = "epochs"
    done: int = 0
    total: int | None = None
    share: float | None = None
    time_left: float | None = None
    best: BestShown | None = None
    failure: FailureShown | None = None
    warnings: int = 0
    errors: int = 0
    cancelled: bool = False


@dataclass(frozen=True)
class AttemptShown:
    """One attempt at a run. `values` are metrics that belong to no point in time."""

    number: int
    status: Shown
    operation: str
    began: float
    last: float
    unit: str = "epochs"
    done: int = 0
    total: int | None = None
    framework: str | None = None
    task: str | None = None
    model: str | None = None
    resumed_from: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Value] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    best: BestShown | None = None
    checkpoints: list[CheckpointShown] = field(default_factory=list)
    images: list[ImageShown] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    steps: list[StepShown] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    failure: FailureShown | None = None
    duration: float | None = None
    dropped: int = 0


@dataclass(frozen=True)
class RunTold:
    """A run with all its attempts, the oldest first."""

    summary: RunShown
    attempts: list[AttemptShown]
    heartbeat: Heartbeat | None = None
