"""What a translation is given and what it makes: a record with its surroundings, and a call of predecessor B's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from trainer_hooks.destinations.platform import routes
from trainer_hooks.events import Level, Record
from trainer_hooks.replay import Attempt


@dataclass(frozen=True)
class Call:
    """One POST: its address relative to CALLBACK_URL, and its body."""

    path: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Telling:
    """A record, and what its call may need: the attempt as it was before it, and the URIs of stored checkpoints."""

    record: Record
    job: str
    attempt: Attempt
    stored: Mapping[str, str]

    @property
    def timestamp(self) -> str:
        """When it happened, which is not when it is sent."""
        return datetime.fromtimestamp(self.record.time, timezone.utc).isoformat()

    @property
    def job_id(self) -> int | str:
        """The job as bodies name it."""
        return routes.job_in_body(self.job)


def log(telling: Telling, level: Level, event_type: str, message: str, data: dict[str, Any]) -> Call:
    """A log record. B's backend keeps level, message and `event_type`, and drops `data` and the timestamp."""
    payload = {
        "job_id": telling.job_id,
        "event_type": event_type,
        "message": message,
        "level": level,
        "data": data,
        "timestamp": telling.timestamp,
    }
    return Call(routes.logs(telling.job), payload)


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have a value: optional ones are left out, not sent as null."""
    return {name: value for name, value in fields.items() if value is not None}
