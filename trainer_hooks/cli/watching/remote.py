"""Looking at a run of a receiver."""

from __future__ import annotations

from trainer_hooks.cli.receiver_client import ReceiverClient, path_of
from trainer_hooks.cli.watching.seen import Seen, main_metric
from trainer_hooks.receiver.index.curves import Curve, MetricShown
from trainer_hooks.receiver.index.logs import LogPage

_POINTS = 200
_AT_ONCE = 1000


class RemoteRuns:
    """The runs of that receiver."""

    def __init__(self, receiver: ReceiverClient) -> None:
        self._receiver = receiver
        self._last: dict[str, int] = {}

    def newest(self) -> str | None:
        """The newest one that is open."""
        found = self._receiver.list(status=["opened", "running"], limit=1)
        return found.runs[0].run if found.runs else None

    def look(self, run: str, metric: str | None) -> Seen:
        """The run by now."""
        path, get = path_of(run), self._receiver.get
        told = self._receiver.run(run)
        chosen = metric or main_metric(told, lambda: [one.name for one in get(f"{path}/metrics", list[MetricShown])])
        curves = get(f"{path}/series", list[Curve], metric=chosen, points=_POINTS) if chosen else []
        behind = {"after": self._last[run]} if run in self._last else {}  # at first the newest
        page = get(f"{path}/logs", LogPage, tail=_AT_ONCE, level="DEBUG", **behind)
        self._last[run] = max(self._last.get(run, 0), page.last)
        return Seen(told, chosen, [value for curve in curves for value in curve.mean], page.records)
