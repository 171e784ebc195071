"""What a download is to bring into an entry of the cache, and the doing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.datasets.caching.cache import Cache
from trainer_hooks.datasets.caching.manifest import FileRecord
from trainer_hooks.datasets.caching.workplace import Workplace, room_of
from trainer_hooks.datasets.fetching.downloads import Download, Progress, Wanted
from trainer_hooks.errors import DatasetError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fetched, and the annotation files that have been, to find that out."""

    annotations: list[tuple[FileRecord, Path]]
    wanted: list[Wanted]
    missing: tuple[str, ...]
    format: str | None

    def objects(self) -> str:
        """A digest of all objects as the store tells of them (address, size and time), and of where they go."""
        digest = hashlib.sha256()
        for record, _ in self.annotations:
            digest.update(f"{record.path}\n{record.sha256}\n".encode())
        for one in self.wanted:
            what = f"{one.storage.uri(one.key)}\n{one.path}\n{one.size} {one.modified!r}\n"
            digest.update(what.encode())
        return digest.hexdigest()


def carry_out(plan: Plan, workplace: Workplace, cache: Cache, progress: Progress | None) -> None:
    """Bring all of the plan into the workplace; what an attempt before has brought is not fetched again.

    Raises:
        DatasetError, StorageError, OSError: as `Download.run`; ENOSPC where there is no room for it, before it begins.
    """
    left = workplace.resume(plan.wanted)
    cache.reserve(sum(room_of(one.size) for one in left), len(left))
    for record, file in plan.annotations:
        workplace.take(file, record)
    come = len(plan.wanted) - len(left), sum(one.size for one in plan.wanted) - sum(one.size for one in left)

    def tell(files: int, size: int) -> None:
        workplace.show_life()
        if progress is not None:
            progress(come[0] + files, come[1] + size)

    Download(workplace.files, workplace.keep, tell).run(left)


def check_places(paths: Iterable[str], source: str) -> None:
    """Raise DatasetError if one of the paths would have to be a file and a folder."""
    paths = set(paths)
    folders = {path[:end] for path in paths for end, character in enumerate(path) if character == "/"}
    both = folders.intersection(paths)
    if both:
        message = f"{source} has {min(both)!r} both as a file and as a folder, which no disk can keep; rename it"
        raise DatasetError(message)


def check_missing(source: str, missing: Sequence[str], found: int, max_missing: int) -> None:
    """Raise DatasetError if more is missing than was allowed for, or nothing was found at all."""
    if len(missing) > max_missing:
        message = (
            f"{len(missing)} of {len(missing) + found} images aren't in the storage, by {source}, among them "
            f"{', '.join(missing[:_SHOWN])}: upload them, or allow for so many by max_missing"
        )
        raise DatasetError(message)
    if not found:
        message = f"the annotations in {source} name no image that is there: check them"
        raise DatasetError(message)
