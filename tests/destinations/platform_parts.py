"""What the tests of the platform destination share: a run with a journal, and its delivery to a test server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer_hooks.destinations import Context, Receipt
from trainer_hooks.destinations.platform import HANDLES, PlatformDestination
from trainer_hooks.destinations.platform.address import platform_server
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import AnyEvent, CheckpointStored, Record
from trainer_hooks.history import read_history
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.settings import Settings
from trainer_hooks.wire.client import Client

WITHIN = 10.0


class Run:
    """A run directory with one attempt, delivered by as many destinations as a test likes."""

    def __init__(
        self, directory: Path, *, job: str = "7", run: str = "run", attempt: int = 1, origin: str = ""
    ) -> None:
        self.directory = directory
        self.job = job
        self.run = run
        self.stored: dict[str, CheckpointStored] = {}
        self.stopping = False
        self.asked_to_stop: list[str] = []
        self._journal = Journal(directory, run=run, attempt=attempt, writer="training", job=job, origin=origin)

    def add(self, *events: AnyEvent) -> list[Record]:
        """Append the events; returns their records."""
        before = {record.id for record in read_records(self.directory)}
        for event in events:
            self._journal.append(event)
        return [record for record in read_records(self.directory) if record.id not in before]

    def close(self) -> None:
        self._journal.close()

    def context(self, settings: Settings) -> Context:
        """What a destination is given."""
        return Context(
            run_directory=self.directory,
            run=self.run,
            job=self.job,
            settings=settings,
            emit=self.add,
            stored=lambda: dict(self.stored),
            stopping=lambda: self.stopping,
            ask_to_stop=lambda _attempt, reason: self.asked_to_stop.append(reason),
            linked=lambda: read_history(self.directory).linked,
        )

    @contextlib.contextmanager
    def destination(self, url: str, *, total: float = WITHIN, **settings: Any) -> Iterator[PlatformDestination]:
        """A destination for this run, `total` seconds per request."""
        loaded = Settings.load(environ={}, callback_url=url, **settings)
        destination = PlatformDestination(
            self.context(loaded), Client(platform_server(loaded), connect=total, total=total)
        )
        try:
            yield destination
        finally:
            destination.close()


class Outcome:
    """What one `deliver` gave: its receipts, and the RetryLater that it ended with."""

    def __init__(self, destination: PlatformDestination, records: list[Record]) -> None:
        self.receipts: list[Receipt] = []
        self.trouble: RetryLater | None = None
        try:
            for receipts in destination.deliver([r for r in records if isinstance(r.event, HANDLES)]):
                self.receipts += receipts
        except RetryLater as trouble:
            self.trouble = trouble

    @property
    def delivered(self) -> list[str]:
        return [one.record.id for one in self.receipts if one.refused is None and not one.superseded]

    @property
    def refused(self) -> dict[str, str]:
        return {one.record.id: one.refused for one in self.receipts if one.refused is not None}

    @property
    def reason(self) -> str:
        """Why the rest has to wait; empty where nothing has to."""
        return str(self.trouble or "")
