"""Asking a receiver, over its API."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from trainer_hooks.cli.watching.seen import Unreachable
from trainer_hooks.errors import SetupError
from trainer_hooks.receiver.index.lists import RunList
from trainer_hooks.receiver.shown import RunShown, RunTold
from trainer_hooks.settings import Settings

_API = "/api/v1"
_WITHIN = 15.0
_LONGEST_LIST = 1000
_T = TypeVar("_T")


class ReceiverClient:
    """The receiver at `url`, with or without the API's path; the token is the settings'."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Nothing is asked yet.

        Raises:
            SetupError: if that is no HTTP address.
        """
        self.page = url.rstrip("/").removesuffix(_API)
        """Where its page is."""
        if not _is_address(self.page):
            message = f"--url {url!r} is no address of a receiver: give one like http://127.0.0.1:8765"
            raise SetupError(message)
        token = settings.bearer_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._shown = self.page + _API
        self._http = httpx.Client(base_url=self._shown, headers=headers, timeout=_WITHIN)

    def page_of(self, run: str) -> str:
        """Where a browser finds the run."""
        return f"{self.page}/run/{quote(run, safe='')}"

    def __enter__(self) -> ReceiverClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def list(self, **wanted: Any) -> RunList:
        """A part of the runs, the newest first; `wanted` is the call's query. Raises as `get`."""
        return self.get("/runs", RunList, **wanted)

    def all_runs(self, status: str | None) -> Sequence[RunShown]:
        """All runs that stand so, the newest first. Raises as `get`."""
        wanted = {"status": status} if status else {}
        told: dict[str, RunShown] = {}
        offset, total = 0, 1
        while offset < total:
            page = self.list(limit=_LONGEST_LIST, offset=offset, **wanted)
            # One that has begun meanwhile moves the others on: the last of the page before comes once more.
            told.update((run.run, run) for run in page.runs)
            offset, total = offset + _LONGEST_LIST, page.total
        return list(told.values())

    def newest(self) -> str:
        """The id of the newest run. Raises as `get`; SetupError where there is none."""
        found = self.list(limit=1).runs
        if not found:
            message = f"there are no runs at {self.page}"
            raise SetupError(message)
        return found[0].run

    def run(self, run: str) -> RunTold:
        """The run with all its attempts. Raises as `get`."""
        return self.get(path_of(run), RunTold)

    def get(self, path: str, kind: type[_T], **query: Any) -> _T:
        """What it answers.

        Raises:
            Unreachable: if it can't answer now.
            SetupError: if it refuses, or is no receiver.
        """
        try:
            answer = self._http.get(path, params=query)
        except httpx.RequestError as error:
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


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # as the socket will
    except (httpx.InvalidURL, UnicodeError):
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def path_of(run: str) -> str:
    """The path of the run."""
    return f"/runs/{quote(run, safe='')}"
