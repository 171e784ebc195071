"""What the tests of where actions run share: a plugin with toys, and what a run's record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.events import AnyEvent, ProgressMade, SegmentOpened
from trainer_hooks.history import list_runs
from trainer_hooks.journal import read_headers, read_records

PLUGIN = Path(__file__).parent / "plugin"
FIT = "toy_actions:Fit"
_OF_ITS_TIME = ("duration", "time")


def told(run: Path, *kinds: type[AnyEvent]) -> list[Any]:
    """The run's events of these kinds."""
    return [record.event for record in read_records(run) if isinstance(record.event, kinds)]


def record(run: Path) -> list[dict[str, Any]]:
    """All that the run tells, but for times, ids and processes."""
    events = [found.event for found in read_records(run) if not isinstance(found.event, SegmentOpened)]
    plain = [msgspec.to_builtins(event) for event in events]
    return [{name: value for name, value in event.items() if name not in _OF_ITS_TIME} for event in plain]


def attempts(run: Path) -> set[int]:
    """The numbers of its attempts."""
    return {header.attempt for header in read_headers(run).values()}


def is_at_work(root: Path) -> bool:
    """Whether the only run there has told of its progress."""
    return any(told(run, ProgressMade) for run in list_runs(root))
