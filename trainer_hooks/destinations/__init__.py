"""What carries a run's records to somewhere: the protocol, and how destinations are found.

A destination is a module in this package (its name is the module's name), or an entry point that names a module, in
the group `trainer_hooks.destinations`. It offers

    HANDLES: tuple[type[Event], ...]                                      the events it is for
    def open_destination(context: Context) -> Destination | None          None where nothing is configured for it

and runs in the courier, in a thread of its own, behind its own cursor: it may be slow, and no other destination waits
for it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from trainer_hooks.errors import SetupError
from trainer_hooks.events import AnyEvent, CheckpointStored, Event, ImageSaved, Record, TrackerLinked
from trainer_hooks.liveness import Liveness
from trainer_hooks.settings import Settings

_GROUP = "trainer_hooks.destinations"


@dataclass(frozen=True)
class Receipt:
    """What became of one record. Neither `refused` nor `superseded`: it is delivered.

    `refused` says why the other side will never take it; `superseded` that a newer record has made it pointless.
    """

    record: Record
    refused: str | None = None
    superseded: bool = False


class Destination(Protocol):
    """Where records go."""

    waits_for_checkpoints: bool
    """Whether a terminal event is held back until this attempt's checkpoints are stored (bounded by the courier)."""

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        """Deliver in order; yield the receipts of a few records as soon as their delivery is certain.

        A record yielded is never given again; all others are, so their delivery must be harmless to repeat: by
        `Record.id` where the other side can tell.

        Raises:
            RetryLater: if the rest can't be delivered now.
        """
        ...

    def close(self) -> None:
        """Let go of connections; called once, from the thread that delivered."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """A destination that wants to know that the training lives, also while there is nothing to tell."""

    def beat(self, liveness: Liveness) -> None:
        """Tell it; called at each heartbeat, from the thread that delivers. What it raises is not said again."""
        ...


@dataclass(frozen=True)
class Context:
    """What a destination may know of the run it delivers for."""

    run_directory: Path
    run: str
    job: str
    settings: Settings
    emit: Callable[[AnyEvent], None]
    """Appends an event of the courier's own to the run's journal."""
    stored: Callable[[], Mapping[str, CheckpointStored]]
    """The newest stored checkpoint of each name, in the newest attempt."""
    stopping: Callable[[], bool]
    """Whether the courier wants to end: long work should stop at the next good moment, by RetryLater."""
    ask_to_stop: Callable[[int, str], None] = lambda *_: None
    """Asks that attempt, if it is at work, to stop at its next epoch, and says why."""
    linked: Callable[[], Mapping[str, TrackerLinked]] = dict
    """The newest link of the run to each other tracker; those of the training stand there before a courier starts."""
    is_awaited: Callable[[Record], bool] = lambda _: False
    """Whether a destination that the record is for has yet to take it."""


class DestinationModule(Protocol):
    """What a destination's module offers."""

    HANDLES: tuple[type[Event], ...]
    """The events it is for; it is given no others."""

    def open_destination(self, context: Context) -> Destination | None:
        """The destination, or None where nothing is configured for it.

        Raises:
            SetupError: if it is configured wrongly, or its package is missing.
        """
        ...


def remove_shown(context: Context, record: Record) -> None:
    """Remove the private copy of an image that is shown, unless another destination is yet to show it."""
    event = record.event
    if isinstance(event, ImageSaved) and event.staged is not None and not context.is_awaited(record):
        (context.run_directory / event.staged).unlink(missing_ok=True)


def known_destinations() -> dict[str, DestinationModule]:
    """The module of every destination, by name; ours first, then those of entry points."""
    ours = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = {name: cast("DestinationModule", importlib.import_module(f"{__name__}.{name}")) for name in ours}
    for point in importlib.metadata.entry_points(group=_GROUP):
        if point.name in found:
            message = f"the destination {point.name!r} of {point.value!r} has a name that is taken; rename it"
            raise SetupError(message)
        found[point.name] = point.load()
    return found


def open_destinations(context: Context) -> tuple[dict[str, Destination], dict[str, SetupError]]:
    """All destinations that are configured: those that could be opened, and why the others could not."""
    opened: dict[str, Destination] = {}
    misconfigured: dict[str, SetupError] = {}
    for name, module in known_destinations().items():
        try:
            destination = module.open_destination(context)
        except SetupError as error:
            misconfigured[name] = error
            continue
        if destination is not None:
            opened[name] = destination
    return opened, misconfigured
