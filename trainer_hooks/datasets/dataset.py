"""A dataset that has been fetched: where its files are, as long as it is needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from trainer_hooks.datasets.locks import Lease
from trainer_hooks.datasets.views import link_tree


@dataclass(frozen=True)
class Dataset:
    """The files of a dataset, below `path`.

    One that comes from the cache is shared and read-only, and stays there until `release`, the end of a `with` block,
    or the end of the process. Whatever may write beside or into the files is to work on `link_into`'s.
    """

    path: Path
    id: str
    format: str | None  # "dice", "labelme", "coco", where it is known
    files: int
    size: int  # in bytes
    missing: tuple[str, ...] = ()  # images that were named and weren't there, within the tolerance that was given
    _lease: Lease | None = field(default=None, repr=False, compare=False)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def is_cached(self) -> bool:
        """Whether it is the cache's, and nothing may be written beside it."""
        return self._lease is not None

    def release(self) -> None:
        """Let the cache remove it when it needs the room."""
        if self._lease is not None:
            self._lease.release()

    def link_into(self, folder: Path | str) -> Dataset:
        """The same files under a folder of the job's own, which takes next to no room; writing there changes no cache.

        Directories are real. Files are references where the file system has them. Elsewhere images are hard links, or
        copies where the disk has none across, and what is likely to be written to is copied: everything but images, and
        JPEGs that trainers repair in place. Only root could write to such a link, and would change the cache.

        Raises:
            DatasetError: if something is in the folder already.
            OSError: as of linking and copying.
        """
        target = Path(folder).absolute()
        link_tree(self.path, target)
        return replace(self, path=target, _lease=None)

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
