"""The platform: predecessor B's callbacks over HTTP, or our own batch protocol where the server has it.

The server is asked which it speaks before the first delivery, and again after trouble: it may be another one by then.
docs/platform.md is the contract as it is spoken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from trainer_hooks.destinations import Context, Receipt, remove_shown
from trainer_hooks.destinations.platform.address import platform_server
from trainer_hooks.destinations.platform.batch import Batches, ask_for_batches
from trainer_hooks.destinations.platform.calls import Call, Telling
from trainer_hooks.destinations.platform.contract import TRANSLATIONS, translate
from trainer_hooks.destinations.platform.images import Images
from trainer_hooks.errors import NotSent, Rejected, RetryLater
from trainer_hooks.events import ImageSaved, Record
from trainer_hooks.liveness import Liveness
from trainer_hooks.replay import Attempt, Attempts
from trainer_hooks.wire.answers import NOT_FOUND, read_answer

if TYPE_CHECKING:  # httpx stays unloaded where no platform is configured
    from trainer_hooks.wire.client import Client

HANDLES = (*TRANSLATIONS, ImageSaved)
_CANCELLED = frozenset({"cancelled", "canceled", "cancelling", "canceling", "stopped", "stopping", "aborted"})


def open_destination(context: Context) -> PlatformDestination | None:
    """The platform that CALLBACK_URL names; None where it is not set."""
    url = context.settings.callback_url
    if not url:
        return None
    from trainer_hooks.wire.client import Client

    return PlatformDestination(context, Client(platform_server(context.settings)))


class PlatformDestination:
    """Carries a run's records to the platform, one request at a time, in order."""

    waits_for_checkpoints = True

    def __init__(self, context: Context, client: Client) -> None:
        self._context = context
        self._client = client
        self._attempts = Attempts(context.run_directory, Attempt)
        self._batches: Batches | None = None
        self._images = Images(context, client)
        self._asked = False
        self._sent: tuple[str, Call | None] | None = None

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        """Deliver in order; see `Destination.deliver`.

        Raises:
            RetryLater: if the rest can't be delivered now.
        """
        try:
            if not self._asked:
                self._batches, self._asked = ask_for_batches(self._client, self._context.job)
            if self._batches is None:
                yield from self._one_by_one(records)
            else:
                yield from self._by_batches(self._batches, records)
        except RetryLater:
            self._asked = False
            raise

    def beat(self, liveness: Liveness) -> None:
        """Tell a server that wants heartbeats; B has no call for them."""
        if self._batches is not None:
            self._heed(liveness.attempt, self._batches.beat(liveness))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _by_batches(self, batches: Batches, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        for receipts in batches.deliver(records, self._pause, self._heed):
            for receipt in receipts:
                if batches.takes_images and receipt.refused is None:
                    self._images.send(receipt.record)
                else:
                    remove_shown(self._context, receipt.record)
            yield receipts

    def _one_by_one(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        for place, record in enumerate(records):
            if place:
                self._pause()
            yield [self._deliver_one(record)]
            remove_shown(self._context, record)
            # Only now has the receipt been taken: until then the record may be given again.
            self._attempts.passed(record)

    def _deliver_one(self, record: Record) -> Receipt:
        try:
            call = self._call(record)
            if call is not None:
                body = msgspec.json.encode(call.payload)
                answer = read_answer(self._client.post(call.path, body, key=record.id), json_only=NOT_FOUND)
                self._heed(record.attempt, answer)
        except Rejected as refusal:
            return Receipt(record, refused=str(refusal))
        except NotSent:
            self._sent = None
            raise
        return Receipt(record)

    def _heed(self, attempt: int, answer: dict[str, Any]) -> None:
        """Where the platform says that the job is cancelled, the training that it was told of is to stop."""
        status = answer.get("job_status")
        if isinstance(status, str) and status.lower() in _CANCELLED:
            self._context.ask_to_stop(attempt, f"the platform says that the job is {status!r}")

    def _call(self, record: Record) -> Call | None:
        """What tells the record; on a repeat the same, though more may be stored by now: it has the same key."""
        if self._sent is None or self._sent[0] != record.id:
            stored = {name: event.uri for name, event in self._context.stored().items()}
            told = Telling(record, self._context.job, self._attempts.before(record), stored)
            self._sent = record.id, None if isinstance(record.event, ImageSaved) else translate(told)
        return self._sent[1]

    def _pause(self) -> None:
        if self._context.stopping():
            raise RetryLater("the courier is ending")
