"""Server-sent events: what changes is told to whoever listens, as long as they listen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from trainer_hooks.receiver.backend import Backend
from trainer_hooks.receiver.index.index import NoSuchRun
from trainer_hooks.receiver.index.logs import LogPage, LogsWanted
from trainer_hooks.receiver.shown import RunShown
from trainer_hooks.receiver.web.common import NO_SUCH_RUN, REFUSALS, Ending, Here, RunName, refusals

router = APIRouter(tags=["streams"], responses=REFUSALS | refusals({503: "Too many listen already; see Retry-After."}))
_LOOK_EVERY = 1.0
_MOST = 200
_LONGEST = 600.0  # then the listener connects again, and is asked for its token anew
_AT_ONCE = 1000
_PING_EVERY = 15  # looks: something on the way may end a connection on which nothing is said
_PING = b": still here\n\n"

LastLog = Annotated[int | None, Query(ge=0, le=2**62, description="The id of a log record: those behind it.")]
LastEventId = Annotated[
    str | None, Header(pattern=r"^\d{1,18}$", description="As browsers send it: wins over `after`.")
]


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


class _Listeners:
    """Counts those who listen, to a bound."""

    def __init__(self) -> None:
        self._now = 0

    async def __call__(self) -> AsyncIterator[None]:
        if self._now >= _MOST:
            raise HTTPException(503, f"{_MOST} listen already", {"Retry-After": "30"})
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1


_one_of_few = Depends(_Listeners())


def _existing(run: RunName, backend: Here) -> str:
    backend.index.run(run)  # raises while an answer can still say so
    return run


@router.get("/changes", response_class=EventStream, dependencies=[_one_of_few])
async def changes(backend: Here, is_ending: Ending) -> EventStream:
    """Runs as they change: an event `run` for each, as in a list.

    First as they are now, so that nobody misses anything between two connections: the 200 that something was told of
    last, the newest at the end.
    """
    return EventStream(_changes(backend, is_ending))


@router.get("/runs/{run:path}/events", response_class=EventStream, responses=NO_SUCH_RUN, dependencies=[_one_of_few])
async def run_events(
    run: Annotated[str, Depends(_existing)],
    backend: Here,
    is_ending: Ending,
    after: LastLog = None,
    last_event_id: LastEventId = None,
) -> EventStream:
    """One run as it changes: `run`, as in a list, first as it is now; `log` for each log record, with its `id`.

    Of log records those that come from now on, or those behind `after`.
    """
    begin = int(last_event_id) if last_event_id else after
    return EventStream(_run_events(backend, is_ending, run, begin))


async def _changes(backend: Backend, is_ending: Callable[[], bool]) -> AsyncIterator[bytes]:
    known: Mapping[str, RunShown] = {}
    async for ping in _looks(is_ending):
        yield ping
        runs = await run_in_threadpool(backend.recent.runs)
        for name, run in runs.items():
            if known.get(name) != run:
                yield _event("run", run)
        known = runs


async def _run_events(
    backend: Backend, is_ending: Callable[[], bool], run: str, after: int | None
) -> AsyncIterator[bytes]:
    known: RunShown | None = None
    with contextlib.suppress(NoSuchRun):  # it has been removed meanwhile
        last = (await run_in_threadpool(_logs, backend, run, None)).last if after is None else after
        async for ping in _looks(is_ending):
            yield ping
            now = (await run_in_threadpool(backend.index.run, run)).summary
            if now != known:
                yield _event("run", now)
                known = now
            page = await run_in_threadpool(_logs, backend, run, last)
            last = page.last
            for record in page.records:
                yield _event("log", record, record.id)


def _logs(backend: Backend, run: str, after: int | None) -> LogPage:
    return backend.index.logs(run, LogsWanted(after=after, limit=1 if after is None else _AT_ONCE))


async def _looks(is_ending: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Once for each look that is to be taken: with a ping, where it is time for one."""
    until = time.monotonic() + _LONGEST
    for number in itertools.count():
        yield _PING if number % _PING_EVERY == 0 else b""
        await asyncio.sleep(_LOOK_EVERY)
        if is_ending() or time.monotonic() > until:
            return


def _event(kind: str, data: object, identity: int | None = None) -> bytes:
    place = b"" if identity is None else b"id: %d\n" % identity
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), place, msgspec.json.encode(data))
