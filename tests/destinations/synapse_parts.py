"""What the tests of the Synapse destination share: a run's journal, and its delivery to a test server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.destinations.platform_parts import Run
from tests.servers.synapse_jobs import SynapseServer
from trainer_hooks.destinations import Receipt
from trainer_hooks.destinations.synapse import HANDLES, SynapseDestination
from trainer_hooks.destinations.synapse.address import synapse_server
from trainer_hooks.errors import RetryLater
from trainer_hooks.events import AnyEvent, Record
from trainer_hooks.settings import Settings
from trainer_hooks.wire.client import Client

JOB = "j-1"


def settings(server: SynapseServer, **given: Any) -> Settings:
    return Settings.load(environ={}, synapse_host=server.url, synapse_job=JOB, **given)


@contextlib.contextmanager
def opened(run: Run, server: SynapseServer, *, total: float = 10.0, **given: Any) -> Iterator[SynapseDestination]:
    """A destination for this run, `total` seconds per request."""
    loaded = settings(server, **given)
    client = Client(synapse_server(loaded), connect=total, total=total)
    destination = SynapseDestination(run.context(loaded), client, JOB)
    try:
        yield destination
    finally:
        destination.close()


class Delivery:
    """What one `deliver` gave: its receipts, and the RetryLater that it ended with."""

    def __init__(self, destination: SynapseDestination, records: list[Record]) -> None:
        self.receipts: list[Receipt] = []
        self.trouble = ""
        self.after: float | None = None
        try:
            for receipts in destination.deliver([each for each in records if isinstance(each.event, HANDLES)]):
                self.receipts += receipts
        except RetryLater as trouble:
            self.trouble, self.after = str(trouble), trouble.after

    @property
    def delivered(self) -> list[str]:
        return [each.record.id for each in self.receipts if each.refused is None and not each.superseded]

    @property
    def superseded(self) -> list[str]:
        return [each.record.id for each in self.receipts if each.superseded]

    @property
    def refused(self) -> dict[str, str]:
        return {each.record.id: each.refused for each in self.receipts if each.refused is not None}


def told(run: Run, server: SynapseServer, *events: AnyEvent) -> Delivery:
    """Append the events and deliver them, as a courier does that finds the others delivered."""
    with opened(run, server) as destination:
        return Delivery(destination, run.add(*events))
