"""The faults between us and the platform and the storage, as planned, for as long as they last."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator

from tests.chaos.plan import Plan, Storm
from tests.servers.platform import PlatformServer, Reply
from tests.servers.tcp_proxy import TcpProxy

_CALLS = "/jobs/"
_PROBES = "/trainer-hooks$"


@contextlib.contextmanager
def weather(plan: Plan, server: PlatformServer, platform: TcpProxy, storage: TcpProxy) -> Iterator[Counter[str]]:
    """Let the plan's faults happen until the block ends; what has happened is counted."""
    server.script(plan.replies, path=_CALLS)
    server.script(plan.probes, path=_PROBES)
    seen: Counter[str] = Counter()
    clear = threading.Event()
    proxies = {"platform": platform, "storage": storage}
    thread = threading.Thread(target=_storms, args=(plan.storms, proxies, clear, seen), name="weather")
    thread.start()
    try:
        yield seen
    finally:
        clear.set()
        thread.join()
        server.normal()
        for proxy in proxies.values():
            proxy.reset()
        seen.update(_replies_given(plan, server))


def _storms(storms: list[Storm], proxies: dict[str, TcpProxy], clear: threading.Event, seen: Counter[str]) -> None:
    for storm in itertools.cycle(storms):
        if clear.wait(storm.pause):
            return
        proxy = proxies[storm.target]
        _begin(proxy, storm)
        seen[f"{storm.target}: {storm.kind}"] += 1
        over = clear.wait(storm.lasts)
        proxy.reset()
        if over:
            return


def _begin(proxy: TcpProxy, storm: Storm) -> None:
    match storm.kind.split():
        case ["refuse"]:
            proxy.refuse = True
        case ["stall"]:
            proxy.stall = True
        case ["rate"]:
            proxy.rate = storm.amount
        case ["cut"]:
            proxy.cut()
        case [fault, way]:
            proxy.refuse_after_cut = False
            setattr(proxy, f"{fault}_{way}_after", storm.amount)


def _replies_given(plan: Plan, server: PlatformServer) -> Counter[str]:
    """Which faulty replies were given: scripts are used up one request at a time, in order."""
    seen: Counter[str] = Counter()
    calls = sum(_CALLS in request.path for request in server.requests)
    probes = sum(_CALLS not in request.path for request in server.requests)
    for reply in [*plan.replies[:calls], *plan.probes[:probes]]:
        if reply != Reply():
            seen[f"reply: {_name(reply)}"] += 1
    return seen


def _name(reply: Reply) -> str:
    if reply.status is not None:
        after = " with Retry-After" if reply.headers else ""
        return f"{reply.status}{after}"
    manners = ("commit_then_drop", "reset", "truncate", "drip", "delay")
    return next(manner.replace("_", " ") for manner in manners if getattr(reply, manner))
