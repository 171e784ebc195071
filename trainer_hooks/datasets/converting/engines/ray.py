"""On a Ray cluster: the one that is connected to, the one that RAY_ADDRESS names, else one of its own on this machine.

A job names files, and carries none: every node must see the dataset and the target at the same paths, as on a shared
file system, and have this package installed. The one file that knows Ray.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from trainer_hooks.datasets.converting.engines import Reports
from trainer_hooks.datasets.converting.work import run as run_job
from trainer_hooks.datasets.jobs import Job
from trainer_hooks.datasets.report import Report
from trainer_hooks.errors import DatasetError, MissingPackage
from trainer_hooks.settings import has_ray_cluster

try:
    import ray
except ImportError as error:
    _missing = 'the engine "ray" needs Ray: pip install "trainer-hooks[ray]"'
    raise MissingPackage(_missing) from error

_PATIENCE = 30.0  # seconds, for the jobs that have begun


def run(jobs: Sequence[Job], workers: int, progress: Callable[[int], object]) -> Reports:
    """A task for each job, `workers` of them at a time."""
    with _connected():
        # Not again by Ray itself: half of a job's files may be there already.
        task = ray.remote(max_retries=0, num_cpus=1)(_do)
        waiting = list(reversed(jobs))
        running: dict[Any, Job] = {}
        try:
            while waiting or running:
                while waiting and len(running) < max(workers, 1):
                    job = waiting.pop()
                    running[task.remote(msgspec.msgpack.encode(job))] = job
                (done,), _ = ray.wait(list(running))
                report = _report(done)
                progress(len(running.pop(done).planned))
                yield report
        finally:
            _await_end(list(running))


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    address = "auto" if has_ray_cluster() else "local"
    ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def _do(job: bytes) -> bytes:
    return msgspec.msgpack.encode(run_job(msgspec.msgpack.decode(job, type=Job)))


def _report(done: Any) -> Report:
    try:
        return msgspec.msgpack.decode(ray.get(done), type=Report)
    except ray.exceptions.RayTaskError as error:
        # What the task has raised, without Ray's own traceback around it.
        raise error.cause from error
    except ray.exceptions.RayError as error:
        message = f"a task of the conversion has ended: {error}"
        raise DatasetError(message) from error


def _await_end(running: list[Any]) -> None:
    """What is still at work would write into a folder that is being removed."""
    # Not cancelled: where a task comes to its end just then, Ray aborts the process that cancels it (up to 2.60).
    if running:
        ray.wait(running, num_returns=len(running), timeout=_PATIENCE)
