"""Images go to a server that offers to take them, each behind the record that tells of it. They hold nothing up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trainer_hooks.destinations import Context, remove_shown
from trainer_hooks.destinations.platform.routes import job_segment
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.events import ImageSaved, Record
from trainer_hooks.wire.answers import check_status

if TYPE_CHECKING:
    from trainer_hooks.wire.client import Client

_log = logging.getLogger("trainer_hooks.courier")
_MOST_TRIES = 3
# The courier holds it in memory; a receiver takes half of that.
_LARGEST = 16 << 20


class Images:
    """A run's images, on their way to one server."""

    def __init__(self, context: Context, client: Client) -> None:
        self._context = context
        self._client = client
        self._tried: tuple[str, int] = ("", 0)

    def send(self, record: Record) -> None:
        """Send the record's image, if it has one; without it where the server refuses it, or fails again and again.

        Raises:
            RetryLater: if it is worth another try.
        """
        event = record.event
        if not isinstance(event, ImageSaved) or event.staged is None:
            return
        staged = self._context.run_directory / event.staged
        place = f"/training/jobs/{job_segment(self._context.job)}/runs/{quote(record.run, safe='')}"
        path = f"{place}/images/{quote(staged.name, safe='')}"
        try:
            check_status(self._client.put(path, _content(staged)))
        except FileNotFoundError:
            pass  # sent by an earlier courier, which did not come to note it
        except Rejected as refusal:
            _log.warning("the image of %s is not shown: %s", record.id, refusal)
        except RetryLater as trouble:
            tries = self._tried[1] + 1 if self._tried[0] == record.id else 1
            self._tried = record.id, tries
            if tries < _MOST_TRIES:
                raise
            _log.warning("the image of %s is not shown: %s", record.id, trouble)
        remove_shown(self._context, record)


def _content(staged: Path) -> bytes:
    with staged.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        message = f"it has more than {_LARGEST} bytes"
        raise Rejected(message)
    return content
