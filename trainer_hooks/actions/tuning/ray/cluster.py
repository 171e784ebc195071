"""The cluster that a search runs on: the one that is connected to, the one that RAY_ADDRESS names, else its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

import ray

from trainer_hooks.actions.tuning.params import TuneParams
from trainer_hooks.errors import ActionError
from trainer_hooks.settings import has_ray_cluster


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What Ray Tune has to say of its own files is of no use: there are none; how trials end is told by us."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def cluster() -> Iterator[bool]:
    """Connected to a cluster; tells whether it is the search's own, which ends with it."""
    if ray.is_initialized():
        yield False
        return
    is_own = not has_ray_cluster()
    ray.init("local" if is_own else "auto", logging_level=logging.WARNING, log_to_driver=False)
    try:
        yield is_own
    finally:
        ray.shutdown()


def resources(search: TuneParams, *, is_own: bool) -> dict[str, float]:
    """What each trial gets.

    Raises:
        ActionError: if it can never get that, since the cluster is one that doesn't grow.
    """
    there = ray.cluster_resources()
    gpus = search.num_gpus if search.num_gpus is not None else (0.5 if there.get("GPU") else 0.0)
    asked = {"cpu": search.num_cpus, "gpu": gpus}
    if is_own and any(there.get(name.upper(), 0.0) < amount for name, amount in asked.items()):
        message = f"a trial asks for {search.num_cpus:g} CPUs and {gpus:g} GPUs; {shortage()}"
        raise ActionError(message)
    return asked


def has_room(asked: Mapping[str, float]) -> bool:
    """Whether the cluster has that free now."""
    free = ray.available_resources()
    return all(free.get(name.upper(), 0.0) >= amount for name, amount in asked.items())


def shortage() -> str:
    """What is free and what there is, for the end of a message."""
    there, free = ray.cluster_resources(), ray.available_resources()
    told = (f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
    return f"free in the cluster are {' and '.join(told)}; lower num_cpus or num_gpus, or free some"
