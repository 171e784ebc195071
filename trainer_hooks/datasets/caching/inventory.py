"""What is in the cache of datasets: shown, checked, and thrown out."""

from __future__ import annotations

from dataclasses import dataclass

from trainer_hooks.datasets.caching import eviction
from trainer_hooks.datasets.caching.manifest import all_damage
from trainer_hooks.datasets.caching.workplace import usable
from trainer_hooks.datasets.locks import is_in_use, take_lease
from trainer_hooks.settings import Settings

_GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset in the cache: `size` and `room` (what it takes on disk) in bytes, `last_used` in seconds since 1970."""

    key: str
    dataset_id: str
    snapshot_id: str | None
    source: str
    files: int
    size: int
    room: int
    last_used: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a dataset in the cache."""

    key: str
    dataset_id: str
    what: str


def cached(settings: Settings) -> list[Entry]:
    """What the cache holds, the one longest unused first."""
    return [_shown(held) for held in eviction.all_held(settings.cache_root)]


def prune(settings: Settings, max_gb: float | None = None, *, everything: bool = False) -> list[Entry]:
    """Remove datasets until the rest takes no more than `max_gb` (by default the settings' limit), or all of them.

    Those in use stay. Returns the removed. What killed processes have left goes as well.
    """
    limit = settings.dataset_cache_max_gb if max_gb is None else max_gb
    with usable(settings.cache_root):
        eviction.remove_leftovers(settings.cache_root, older_than=0)
        removed = eviction.make_room(settings.cache_root, -1 if everything else limit * _GB)
    return [_shown(held) for held in removed]


def verify(settings: Settings) -> list[Problem]:
    """Read every byte in the cache, and tell what isn't as it was fetched; who asks next, has it fetched anew."""
    problems = []
    for held in eviction.all_held(settings.cache_root):
        lease = take_lease(held.path)
        if lease is None:
            continue
        try:
            found = [Problem(held.key, _dataset_id(held), what) for what in all_damage(held.path)]
        finally:
            lease.release()
        if found:
            eviction.quarantine(settings.cache_root, held.path)
        problems += found
    return problems


def _shown(held: eviction.Held) -> Entry:
    about = held.about
    return Entry(
        key=held.key,
        dataset_id=_dataset_id(held),
        snapshot_id=about.snapshot_id if about else None,
        source=about.source if about else "",
        files=about.files if about else 0,
        size=about.size if about else 0,
        room=held.room,
        last_used=held.last_used,
        in_use=is_in_use(held.path),
    )


def _dataset_id(held: eviction.Held) -> str:
    return held.about.dataset_id if held.about else ""
