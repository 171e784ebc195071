"""ClearML: the run mirrored to a task of its server's: the training's own where it has one, else one made for it.

It happens in the courier, so that neither ClearML's server nor its package can touch the training. docs/clearml.md says
what of a run becomes what.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trainer_hooks.clearml_task import check_installed
from trainer_hooks.destinations import Context, Receipt, remove_shown
from trainer_hooks.destinations.clearml.points import Point, image, points
from trainer_hooks.destinations.clearml.server import Server, preload
from trainer_hooks.destinations.clearml.task import NAME, Task, make_task
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.events import (
    TERMINAL,
    CheckpointStored,
    EpochEnded,
    ExportCompleted,
    ImageSaved,
    InferenceCompleted,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    RankFailed,
    Record,
    RecordsDropped,
    RunStarted,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    TrackerLinked,
    Validated,
)
from trainer_hooks.history import read_history
from trainer_hooks.journal import read_headers
from trainer_hooks.replay import Attempt, Attempts
from trainer_hooks.shield import ask

_OF_EVENTS = (
    EpochEnded,
    InferenceCompleted,
    Logged,
    MetricsLogged,
    MetricsSkipped,
    RankFailed,
    RecordsDropped,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepRolledBack,
    StepStarted,
    Validated,
)
_OF_TASKS = (RunStarted, CheckpointStored, ExportCompleted, ImageSaved, TrackerLinked, *TERMINAL)
HANDLES = (*_OF_EVENTS, *_OF_TASKS)
_MOST_POINTS = 1_000
_MOST_CHARACTERS = 2_000_000  # the server takes 15 MB at once
_TRIES_OF_AN_IMAGE = 5
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)
_TRAINING, _COURIER = "training", "courier"


def open_destination(context: Context) -> ClearMLDestination | None:
    """ClearML where the settings say so, or where the training has a task of its own; else None."""
    wanted = context.settings.clearml
    if wanted is False or not (wanted or NAME in context.linked()):
        return None
    check_installed()
    if context.settings.delivery == "thread":
        ask(preload)  # while the training waits, and not beside it
    return ClearMLDestination(context)


class ClearMLDestination:
    """Mirrors a run's records to its task, in order."""

    waits_for_checkpoints = True

    def __init__(self, context: Context) -> None:
        self._context = context
        self._server = Server()
        self._tasks: dict[int, Task] = {}
        self._writers: dict[int, str] = {}
        self._start = RunStarted()
        self._images = _Patience()
        self._attempts = Attempts(context.run_directory, Attempt)

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        """Deliver in order; see `Destination.deliver`.

        Raises:
            RetryLater: if the rest can't be delivered now.
        """
        starts = (record.event for record in records if isinstance(record.event, RunStarted))
        self._start = next(starts, self._start)
        done = False
        try:
            for together in self._split(records):
                if self._context.stopping():
                    raise RetryLater("the courier is ending")
                receipts = self._receipts(together)
                yield receipts
                for receipt in receipts:
                    if receipt.refused is None:
                        remove_shown(self._context, receipt.record)
            done = True
        finally:
            if not done:  # it may have run ahead of what has been delivered
                self._attempts = Attempts(self._context.run_directory, Attempt)

    def close(self) -> None:
        """Let go of the session."""
        self._server.close()

    def _split(self, records: Sequence[Record]) -> Iterator[list[tuple[Record, list[Point]]]]:
        """What is sent together: a record that changes the task by itself, or the points of many others."""
        together: list[tuple[Record, list[Point]]] = []
        size = 0
        for record in records:
            found = points(record, self._attempts.before(record))
            adds = sum(map(_size, found))
            alone = isinstance(record.event, _OF_TASKS)
            if together and (alone or size + adds > _MOST_CHARACTERS):
                yield together
                together, size = [], 0
            together.append((record, found))
            size += adds
            if alone:
                yield together
                together, size = [], 0
            self._attempts.passed(record)
        if together:
            yield together

    def _receipts(self, together: Sequence[tuple[Record, list[Point]]]) -> list[Receipt]:
        record = together[0][0]
        try:
            if isinstance(record.event, _OF_TASKS):
                self._tell_task(record, self._attempts.before(record))
            self._send(together)
        except Rejected as refusal:
            if len(together) > 1:  # one of them spoils it
                return [receipt for one in together for receipt in self._receipts([one])]
            return [Receipt(record, refused=str(refusal))]
        return [Receipt(each) for each, _ in together]

    def _tell_task(self, record: Record, attempt: Attempt) -> None:
        event = record.event
        if isinstance(event, TrackerLinked):
            if event.tracker == NAME:
                self._tasks[record.attempt] = Task(self._server, event)
            return
        task = self._task(record)
        if isinstance(event, RunStarted):
            about = {"run": record.run, "attempt": record.attempt, "job": self._context.job}
            task.start(event, about, joined=_is_joined(attempt) or self._is_of_a_later_script(record))
        elif isinstance(event, CheckpointStored):
            task.add_model(event, attempt)
        elif isinstance(event, ExportCompleted):
            task.add_export(event)
        elif isinstance(event, ImageSaved):
            self._show(record, event, task)
        elif isinstance(event, TERMINAL) and attempt.ended is None and self._may_end(record, attempt):
            task.end(event)

    def _show(self, record: Record, event: ImageSaved, task: Task) -> None:
        if event.staged is None:
            return
        staged = self._context.run_directory / event.staged
        if not staged.is_file():
            message = f"its private copy {event.staged!r} is gone"
            raise Rejected(message)
        try:
            url = self._server.upload(staged, f"trainer_hooks/{task.id}/{_UNSAFE.sub('_', staged.name)}")
        except RetryLater as trouble:
            task.find()  # where all of the server is away, the image is no reason
            self._images.fail(trouble)
            raise
        self._images.succeed()
        self._server.add_events([{**image(record, event, url), "task": task.id}])

    def _send(self, together: Sequence[tuple[Record, list[Point]]]) -> None:
        told = [
            {**point, "task": self._task(record).id}
            for record, found in together
            if not self._is_captured(record)
            for point in found
        ]
        if told:
            self._server.add_events(told)

    def _task(self, record: Record) -> Task:
        """The task of the record's attempt, else that of the nearest one before or behind; made where none has any."""
        attempt = record.attempt
        if attempt not in self._tasks:
            links = self._links()
            nearest = max((number for number in links if number <= attempt), default=min(links, default=None))
            if nearest is None:
                link = make_task(self._server, self._context, self._start)
                self._context.emit(link)
            else:
                link = links[nearest]
            self._tasks[attempt] = Task(self._server, link)
        return self._tasks[attempt]

    def _links(self) -> dict[int, TrackerLinked]:
        attempts = read_history(self._context.run_directory).attempts
        return {each.number: each.state.linked[NAME] for each in attempts if NAME in each.state.linked}

    def _is_captured(self, record: Record) -> bool:
        """Whether the SDK in the training has sent the line already; what a launched rank prints it doesn't see."""
        if not (isinstance(record.event, Logged) and record.event.forwarded):
            return False
        link = self._attempts.before(record).linked.get(NAME)
        return link is not None and link.captures_console and self._writer(record) == _TRAINING

    def _may_end(self, record: Record, attempt: Attempt) -> bool:
        """A joined task is the script's: while that lives, its SDK kills it when the task is ended by others.

        It also tells the end itself. What it can't tell, for it was killed, a courier has written that saw it die.
        """
        if self._is_of_a_later_script(record):
            return False
        return not _is_joined(attempt) or self._writer(record) == _COURIER

    def _is_of_a_later_script(self, record: Record) -> bool:
        """Whether a later attempt's script has joined the same task, and may be at work in it."""
        later = {link.id for number, link in self._links().items() if number > record.attempt and link.joined}
        return self._task(record).id in later

    def _writer(self, record: Record) -> str | None:
        if record.segment not in self._writers:
            headers = read_headers(self._context.run_directory)
            self._writers.update({number: header.writer for number, header in headers.items()})
        return self._writers.get(record.segment)


class _Patience:
    """How long images may hold up the rest, where only the server for files is away: a few tries of the first one."""

    def __init__(self) -> None:
        self._tries = 0

    def fail(self, trouble: RetryLater) -> None:
        """One more try has failed.

        Raises:
            Rejected: if it was one too many; then the images that follow are tried once.
        """
        self._tries += 1
        if self._tries >= _TRIES_OF_AN_IMAGE:
            raise Rejected(str(trouble)) from trouble

    def succeed(self) -> None:
        """The server for files is there."""
        self._tries = 0


def _is_joined(attempt: Attempt) -> bool:
    """Whether the task is that of the attempt's own script; a later attempt may go on in it without."""
    link = attempt.linked.get(NAME)
    return link is not None and link.joined


def _size(point: Point) -> int:
    """About how many characters it is on the wire; so many that not too many points are sent together."""
    texts = (point.get(name, "") for name in ("msg", "plot_str"))
    return max(_MOST_CHARACTERS // _MOST_POINTS, sum(map(len, texts)))
