"""What a job writes into the folder that is being built: whole files, and lines of what is put together at the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from trainer_hooks.datasets.jobs import Job


class Output:
    """One job's. Where nothing is being built, as in a validation, it takes everything and keeps nothing."""

    def __init__(self, job: Job) -> None:
        self._root = job.whole.staging
        self._pieces = job.whole.pieces
        self._number = job.number
        self._folders: set[str] = set()
        self._open: dict[str, IO[bytes]] = {}
        self._closing = contextlib.ExitStack()

    def save(self, path: str, content: bytes) -> None:
        """A new file at that path of the target."""
        if self._root is None:
            return
        # By the system's calls: for each of a million files, the layers above them would double the time.
        handle = os.open(self.place(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            while content:
                content = content[os.write(handle, content) :]
        finally:
            os.close(handle)

    def append(self, piece: str, lines: bytes) -> None:
        """More lines of the piece of that name; `lines_of` gives all jobs' lines back."""
        if self._root is None:
            return
        if piece not in self._open:
            file = (self._pieces / piece_name(piece, self._number)).open("wb")
            self._open[piece] = self._closing.enter_context(file)
        self._open[piece].write(lines)

    def place(self, path: str) -> str:
        """Where that path of the target is now; its folder is there."""
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self._make(folder)
            self._folders.add(folder)
        return f"{self._root}/{path}"

    def _make(self, folder: str) -> None:
        # Below the root, never the root itself: where that is gone, this process has been left over by a conversion
        # that was killed, and the next one has removed what it was building.
        path = self._root
        for part in filter(None, folder.split("/")):
            path = f"{path}/{part}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)  # noqa: PTH102 - strings all the way, as above

    def close(self) -> None:
        """Everything is written."""
        self._closing.close()


def piece_name(piece: str, number: int) -> str:
    """The file that holds the job's lines of that piece."""
    return f"{piece}-{number:05}.jsonl"


def lines_of(pieces: Path, piece: str, jobs: int) -> Iterator[bytes]:
    """All jobs' lines of the piece, in the order of the jobs."""
    for number in range(jobs):
        path = pieces / piece_name(piece, number)
        if path.exists():
            with path.open("rb") as file:
                yield from file
