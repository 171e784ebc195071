"""Many threads at one long list of things to do: in bounded memory, until the first of them fails."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from trainer_hooks.errors import ObjectMissing, StorageError, StorageRefused

T = TypeVar("T")
R = TypeVar("R")

THREADS = 32
_TICK = 0.2
_ATTEMPTS = 6
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 20.0
_random = random.Random()  # noqa: S311 - not the global one, which is the training's


def work_through(
    items: Iterable[T],
    work: Callable[[T, threading.Event], object],
    *,
    threads: int = THREADS,
    tick: Callable[[], object] | None = None,
) -> None:
    """Do `work` for each item, in threads; `tick` is called meanwhile, in this thread, several times a second.

    The first error of any of them ends it: the event that `work` is given is set, nothing new is begun, what has been
    begun is waited for, the error is raised.
    """
    stopped = threading.Event()
    queue = _Queue(items, stopped)

    def loop() -> None:
        for item in queue:
            work(item, stopped)

    with ThreadPoolExecutor(threads, thread_name_prefix="dataset") as pool:
        loops = [pool.submit(loop) for _ in range(threads)]
        try:
            _watch(loops, tick)
        finally:
            stopped.set()


def with_retries(call: Callable[[], R], stopped: threading.Event | None = None) -> R:
    """What the call returns, in one of six attempts: what may mend itself is tried again, at random intervals.

    Once `stopped` is set, there is no further attempt.
    """
    pause = stopped or threading.Event()
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except (ObjectMissing, StorageRefused):  # noqa: PERF203 - it is what the loop is for
            raise
        except StorageError:
            if pause.wait(_random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt))):
                raise
    return call()


class _Queue(Iterator[T]):
    """The items, each for one of the threads that ask; none any more once it is stopped."""

    def __init__(self, items: Iterable[T], stopped: threading.Event) -> None:
        self._items = iter(items)
        self._stopped = stopped
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            if self._stopped.is_set():
                raise StopIteration
            return next(self._items)


def _watch(loops: list[Future[None]], tick: Callable[[], object] | None) -> None:
    left = set(loops)
    while left:
        done, left = wait(left, timeout=_TICK, return_when=FIRST_EXCEPTION)
        for loop in done:
            loop.result()
        if tick is not None:
            tick()
