"""Breaks one rule of trainer_hooks in every process that has this folder on its path: `CHAOS_MUTATION` says which.

The guard of the guard: with a rule broken, the oracle has to find fault. Nothing else may use this.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from typing import Any


def checksum_unchecked(lines: Any) -> None:
    """A line counts if it is JSON."""
    lines._is_whole = lambda _: True


def id_not_unique(events: Any) -> None:
    """The id leaves out the segment."""
    events.Record.id = property(lambda record: f"{record.run}.{record.seq}")


def id_missing(client: Any) -> None:
    """No Idempotency-Key goes along."""
    post = client.Client.post
    client.Client.post = lambda self, path, body, key=None: post(self, path, body)  # noqa: ARG005


def newest_first(lane: Any) -> None:
    """What is pending is delivered from its end."""
    ready = lane.Lane._until_held_back
    lane.Lane._until_held_back = lambda self, records: list(ready(self, records))[::-1]


def nothing_staged(staging: Any) -> None:
    """No copy is made: what is uploaded is the host's own file, which it goes on writing to."""

    def stage(self: Any, source: Any, names: Any) -> tuple[str, int]:  # noqa: ARG001
        folder = self._directory / "staged"
        folder.mkdir(exist_ok=True)
        link = folder / f"{self._prefix}-{next(self._numbers)}{source.suffix}"
        os.link(source, link)
        return str(link.relative_to(self._directory)), source.stat().st_size

    staging.Stager.stage = stage


def forks_unnoticed(opened: Any) -> None:
    """A forked child takes itself for its parent."""
    parent = os.getpid()
    for module in (opened, sys.modules["trainer_hooks.journal.writer"]):
        module.os = types.SimpleNamespace(**{**vars(os), "getpid": lambda: parent})


def manifest_first(checkpoint_store: Any) -> None:
    """The manifest is written, and then the object that it describes."""
    store = checkpoint_store.CheckpointStore

    def replace(self: Any, source: Any, manifest: Any, twin: str | None) -> None:  # noqa: ARG001
        self._storage.put_bytes(checkpoint_store._pretty(manifest), f"{manifest.key}.manifest.json")
        self._storage.put(source, manifest.key)

    store._replace = replace


MUTATIONS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "checksum_unchecked": ("trainer_hooks.journal.lines", checksum_unchecked),
    "id_not_unique": ("trainer_hooks.events", id_not_unique),
    "id_missing": ("trainer_hooks.wire.client", id_missing),
    "newest_first": ("trainer_hooks.courier.lane", newest_first),
    "forks_unnoticed": ("trainer_hooks.run.opened", forks_unnoticed),
    "nothing_staged": ("trainer_hooks.staging", nothing_staged),
    "manifest_first": ("trainer_hooks.checkpoint_store", manifest_first),
}


class _After(importlib.abc.MetaPathFinder):
    """Breaks the module as soon as it is imported."""

    def __init__(self, module: str, mutate: Callable[[Any], None]) -> None:
        self._module = module
        self._mutate = mutate

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002 - the protocol's
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self._mutate(module)

        spec.loader.exec_module = exec_module
        return spec


if "CHAOS_MUTATION" in os.environ:
    sys.meta_path.insert(0, _After(*MUTATIONS[os.environ["CHAOS_MUTATION"]]))
