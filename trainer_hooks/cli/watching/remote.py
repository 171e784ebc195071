"""Looking at a run of a receiver, over its API."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from trainer_hooks.cli.watching.seen import Seen, Unreachable, main_metric
from trainer_hooks.errors import SetupError
from trainer_hooks.receiver.index.curves import Curve, MetricShown
from trainer_hooks.receiver.index.lists import RunList
from trainer_hooks.receiver.index.logs import LogPage
from trainer_hooks.receiver.shown import RunTold
from trainer_hooks.settings import Settings

_API = "/api/v1"
_WITHIN = 15.0
_POINTS = 200
_AT_ONCE = 1000
_T = TypeVar("_T")


class RemoteRuns:
    """The runs of the receiver at `url`, with or without the API's path; the token is the settings'."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Nothing is asked yet.

        Raises:
            SetupError: if that is no HTTP address.
        """
        base = url.rstrip("/").removesuffix(_API) + _API
        if not base.startswith(("http://", "https://")):
            message = f"--url {url!r} is no address of a receiver: it takes http://host:port or https://host/prefix"
            raise SetupError(message)
        token = settings.bearer_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._shown = base
        self._http = httpx.Client(base_url=base, headers=headers, timeout=_WITHIN)
        self._last: dict[str, int] = {}

    def __enter__(self) -> RemoteRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def newest(self) -> str | None:
        """The newest one that is open."""
        found = self._get("/runs", RunList, status=["opened", "running"], limit=1)
        return found.runs[0].run if found.runs else None

    def look(self, run: str, metric: str | None) -> Seen:
        """The run by now."""
        path = f"/runs/{quote(run, safe='')}"
        told = self._get(path, RunTold)
        chosen = metric or main_metric(
            told, lambda: [one.name for one in self._get(f"{path}/metrics", list[MetricShown])]
        )
        curves = self._get(f"{path}/series", list[Curve], metric=chosen, points=_POINTS) if chosen else []
        behind = {"after": self._last[run]} if run in self._last else {}  # at first the newest
        page = self._get(f"{path}/logs", LogPage, tail=_AT_ONCE, level="DEBUG", **behind)
        self._last[run] = max(self._last.get(run, 0), page.last)
        return Seen(told, chosen, [value for curve in curves for value in curve.mean], page.records)

    def _names(self, path: str) -> list[str]:
        return [metric.name for metric in self._get(f"{path}/metrics", list[MetricShown])]

    def _get(self, path: str, kind: type[_T], **query: Any) -> _T:
        try:
            answer = self._http.get(path, params=query)
        except httpx.TransportError as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        if answer.status_code >= 500 or answer.status_code == 429:  # noqa: PLR2004 - it may be well again soon
            message = f"{self._shown} answered {answer.status_code}"
            raise Unreachable(message)
        if answer.status_code in (401, 403):
            message = f"{self._shown} wants another token: set TRAINER_HOOKS_TOKEN or TRAINER_HOOKS_TOKEN_FILE"
            raise SetupError(message)
        if answer.status_code != 200:  # noqa: PLR2004 - what it answers with if all is well
            message = f"{self._shown}{path} answered {answer.status_code}: {answer.text[:200]}"
            raise SetupError(message)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.MsgspecError as error:
            message = f"{self._shown} is no receiver of this version: {error}"
            raise SetupError(message) from error
