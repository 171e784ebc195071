"""The events: everything a training job tells, as frozen values.

A framework integration, or a hand-written loop through `Run`, turns what happens into these; the journal stores
them; destinations translate them for their platform. Adding a field with a default is compatible in both directions;
renaming or removing one is a new journal format.

Conventions in every event: epochs and iterations are counted from 1 and mean *finished* ones; a training that its host
counts in iterations has no epochs. Durations are seconds; sizes are bytes. A metric value is a JSON number or one of
the strings "NaN", "Infinity", "-Infinity" (JSON has no such numbers; `float()` reads all of them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Scalar: TypeAlias = int | float | Literal["NaN", "Infinity", "-Infinity"]
Metrics: TypeAlias = dict[str, Scalar]
Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Operation: TypeAlias = Literal["training", "validation", "test", "inference", "export"]
ErrorKind: TypeAlias = Literal[
    "DatasetError",
    "CheckpointError",
    "ConfigError",
    "ResourceError",
    "NetworkError",
    "FrameworkError",
    "ValidationError",
    "UnknownError",
]


def _tag(class_name: str) -> str:
    return re.sub(r"(?<=.)([A-Z])", r"_\1", class_name).lower()


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=_tag, tag_field="type"):
    """Base of all events; the class name in snake case is the event's `type` on disk and on the wire."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Which process this is, so that a later one can tell whether it still lives (`trainer_hooks.process`)."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


class SegmentOpened(Event, frozen=True):
    """The first record of every segment: whose it is. `writer` is "training", "courier" or "rank <n>".

    `launch` is what the processes of one distributed launch have in common, where there is one. `origin` tells this
    run directory from another one of the same run: a container that starts with an empty disk numbers its segments
    anew. `supervisor` is the `trainer-hooks run` that waits for this very process, and will tell how it ended.
    `copy_of` is the number that this segment has where it was written, if this is the copy that a receiver keeps.
    """

    format: int
    version: str
    run: str
    attempt: int
    writer: str
    process: Process
    job: str | None = None
    launch: str | None = None
    origin: str = ""
    supervisor: Process | None = None
    copy_of: int | None = None


class RunStarted(Event, frozen=True):
    """Work begins, of which kind `operation` says. `params` and `dataset` are redacted plain values.

    Told again where more comes to be known, as when an action's training begins: the newest says it all. `action` is
    the name of the action that does the work, where it is one, and `trainings` how many of frameworks have begun in it;
    `parent` is the id of the run that this one is a part of, as a trial is of a search.

    A "validation" or "test" is one by itself, of a model that exists already. `epoch` or `iteration` is how many are
    finished already, in a training that goes on from a checkpoint of an earlier attempt.
    """

    operation: Operation = "training"
    action: str | None = None
    trainings: int = 0
    parent: str | None = None
    framework: str | None = None
    task: str | None = None
    model: str | None = None
    total_epochs: int | None = None
    total_iterations: int | None = None
    params: dict[str, Any] = {}
    dataset: dict[str, Any] = {}
    class_names: list[str] = []
    output_dir: str | None = None
    resumed_from: str | None = None
    epoch: int | None = None
    iteration: int | None = None
    versions: dict[str, str] = {}


class ProgressMade(Event, frozen=True):
    """`current` of `total` units of `category` are done."""

    current: float
    total: float
    category: str = "train"


class EpochEnded(Event, frozen=True):
    """An epoch is over, with everything measured in it. A repeated epoch number replaces the earlier one."""

    epoch: int
    total_epochs: int | None = None
    metrics: Metrics = {}
    duration: float | None = None
    time_left: float | None = None


class MetricsLogged(Event, frozen=True):
    """Metrics that belong to an iteration, or to no point in time at all.

    In a training that is counted in iterations this is what an epoch's end is elsewhere.
    """

    metrics: Metrics
    iteration: int | None = None


class MetricsSkipped(Event, frozen=True):
    """Metrics that could not be read, by name, with the reason; said once per name."""

    reasons: dict[str, str]


class Validated(Event, frozen=True):
    """A validation result, after so many epochs or iterations. `final`: of the finished model."""

    metrics: Metrics
    epoch: int | None = None
    iteration: int | None = None
    task: str | None = None
    primary: str | None = None
    is_best: bool = False
    final: bool = False
    class_names: list[str] = []
    per_class: dict[str, Metrics] = {}
    images: dict[str, str] = {}


class CheckpointSaved(Event, frozen=True):
    """The host wrote a checkpoint. `names` are what it is stored as ("last", "best", "epoch_10").

    `path` is the host's file, which the host may rewrite or delete at any time; `staged` is our own private copy,
    relative to the run directory, or None where nothing is to be uploaded. `uncopied`: why that could not be made.
    Where `path` is a `folder`, the copy is a tar of it, and `size` that tar's.
    """

    names: list[str]
    path: str
    size: int
    epoch: int | None = None
    iteration: int | None = None
    metrics: Metrics = {}
    final: bool = False
    staged: str | None = None
    uncopied: str | None = None
    folder: bool = False


class CheckpointStored(Event, frozen=True):
    """A checkpoint is in storage, whole and verified."""

    name: str
    uri: str
    manifest_uri: str
    size: int
    sha256: str
    epoch: int | None = None
    iteration: int | None = None
    metrics: Metrics = {}
    final: bool = False


class ImageSaved(Event, frozen=True):
    """The host drew something: a plot, or predictions on a batch. `title` says what.

    `path` is the host's file; `staged` our own private copy, relative to the run directory, or None where none could be
    made.
    """

    title: str
    path: str
    epoch: int | None = None
    iteration: int | None = None
    staged: str | None = None


class TrackerLinked(Event, frozen=True):
    """The run is shown in another tracker, too: as its task `id`, named `name`, to be seen at `url`.

    `joined`: the task is the training's own, which its script has made; else it was made for the run.
    `captures_console`: the tracker's own package in the training already sends what that prints.
    """

    tracker: str
    id: str
    name: str = ""
    url: str = ""
    joined: bool = False
    captures_console: bool = False


class Logged(Event, frozen=True):
    """A log record. `source` is the logger's name, or what the caller says.

    `forwarded`: the host's own, which its handlers have had, too; else one that only the run was told.
    """

    level: Level
    message: str
    source: str = "trainer"
    data: dict[str, Any] = {}
    forwarded: bool = False


class SignalReceived(Event, frozen=True):
    """The process was asked to stop; whether it does is up to the host's own handler."""

    signal: str


class StopRequested(Event, frozen=True):
    """The platform wants the training to stop; `reason` is what it said."""

    reason: str


class ProgressStalled(Event, frozen=True):
    """The process lives, and has told nothing for `idle` seconds, where `usual` ones pass between two epochs.

    Between two told iterations, where no epochs are counted.
    """

    idle: float
    usual: float
    epoch: int | None = None
    iteration: int | None = None


class ProgressResumed(Event, frozen=True):
    """After that many seconds, a training that had stalled goes on."""

    idle: float


class StepStarted(Event, frozen=True):
    """A workflow step begins, the `order`-th of `total`, counted from 1.

    `share` is its part of the whole work: those of all steps add up to 1. `retry` is 0 for the first try.
    """

    step: str
    order: int
    total: int
    share: float
    retry: int = 0


class StepFinished(Event, frozen=True):
    """A workflow step is done. `skipped` says why nothing had to be done for it; the duration is then 0."""

    step: str
    duration: float = 0.0
    skipped: str | None = None


class StepFailed(Event, frozen=True):
    """A try at a workflow step ended by an error; `retrying`: there will be another one."""

    step: str
    error: ErrorKind
    message: str
    exception: str | None = None
    traceback: str | None = None
    duration: float = 0.0
    retrying: bool = False


class StepRolledBack(Event, frozen=True):
    """What a finished step had done is undone; or could not be, for this error."""

    step: str
    duration: float = 0.0
    error: ErrorKind | None = None
    message: str | None = None
    exception: str | None = None
    traceback: str | None = None


class RankFailed(Event, frozen=True):
    """One rank of a distributed job ended by an error; the job's end is told by the process that launched it."""

    rank: int
    error: ErrorKind
    message: str
    exception: str | None = None
    traceback: str | None = None
    epoch: int | None = None
    iteration: int | None = None


class RecordsDropped(Event, frozen=True):
    """Events that were never written, counted: the disk was full for too long, or the journal had reached its limit."""

    count: int
    reason: str


class InferenceCompleted(Event, frozen=True):
    """An inference job's results, in predecessor B's shape (`results[]` need `image_path`)."""

    total_images: int
    total_time_ms: float
    results: list[dict[str, Any]]
    result_urls: dict[str, str] = {}


class ExportCompleted(Event, frozen=True):
    """An exported model is in storage."""

    export_format: str
    uri: str
    size: int
    metadata: dict[str, Any] = {}


class RunCompleted(Event, frozen=True):
    """Terminal: the work ended as it should. `result` is what an action has returned."""

    epochs: int = 0
    iterations: int | None = None
    metrics: Metrics = {}
    best_epoch: int | None = None
    best_iteration: int | None = None
    best_metrics: Metrics = {}
    duration: float | None = None
    checkpoints: dict[str, str] = {}
    result: dict[str, Any] = {}


class RunFailed(Event, frozen=True):
    """Terminal: the work ended by an error. `exception` is the type's qualified name.

    `exit_status` is as a shell shows it: 128 and the number for a signal. `output` is the end of what the process wrote
    to stderr, where somebody else had to find words for its death.
    """

    error: ErrorKind
    message: str
    exception: str | None = None
    traceback: str | None = None
    epoch: int | None = None
    iteration: int | None = None
    exit_status: int | None = None
    rank: int | None = None
    output: str | None = None


class RunInterrupted(Event, frozen=True):
    """Terminal: someone or something stopped the work: a signal, Ctrl-C, a cancel."""

    reason: str
    epoch: int | None = None
    iteration: int | None = None


class RunLost(Event, frozen=True):
    """Terminal: the process is gone and left no word. Written by whoever finds it."""

    reason: str
    epoch: int | None = None
    iteration: int | None = None


AnyEvent: TypeAlias = (
    SegmentOpened
    | RunStarted
    | ProgressMade
    | EpochEnded
    | MetricsLogged
    | MetricsSkipped
    | Validated
    | CheckpointSaved
    | CheckpointStored
    | ImageSaved
    | TrackerLinked
    | Logged
    | SignalReceived
    | StopRequested
    | ProgressStalled
    | ProgressResumed
    | StepStarted
    | StepFinished
    | StepFailed
    | StepRolledBack
    | RankFailed
    | RecordsDropped
    | InferenceCompleted
    | ExportCompleted
    | RunCompleted
    | RunFailed
    | RunInterrupted
    | RunLost
)

TERMINAL = (RunCompleted, RunFailed, RunInterrupted, RunLost)
LIFECYCLE = (
    RunStarted,
    CheckpointStored,
    TrackerLinked,
    InferenceCompleted,
    ExportCompleted,
    SignalReceived,
    StopRequested,
    StepStarted,
    StepFinished,
    StepFailed,
    StepRolledBack,
    RankFailed,
    *TERMINAL,
)

DROPPABLE: Mapping[type[Event], float] = {Logged: 0.75, MetricsLogged: 1.0, ProgressMade: 1.0}
"""What is left out of a journal beyond its declared limit, and from which share of the limit on: log records first."""


class Record(msgspec.Struct, frozen=True):
    """An event as it stands in the journal. `end` is the byte offset just behind it in its segment."""

    run: str
    attempt: int
    segment: int
    seq: int
    time: float
    event: AnyEvent
    end: int
    origin: str = ""
    copy_of: int | None = None

    @property
    def id(self) -> str:
        """Unique for ever, the idempotency key of the event: run, run directory, segment, sequence within it.

        A receiver's copy has the id of what it is a copy of.
        """
        segment = self.segment if self.copy_of is None else self.copy_of
        place = f"{self.origin}-{segment}" if self.origin else segment
        return f"{self.run}.{place}.{self.seq}"
