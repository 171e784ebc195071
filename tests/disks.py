"""Disks that can be filled to the last byte and freed again."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """A file system that can be filled to the last byte and freed again: 32 MB of memory, where mounting is allowed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "run"
        self._ballast = path / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass

    def free(self) -> None:
        self._ballast.unlink()


class LimitedDisk(Disk):
    """Where it isn't: the kernel is told to refuse every write of this process to a file that has a byte already."""

    def fill(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """A disk at this place, which must not exist yet."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", path]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield Disk(path) if mounted else LimitedDisk(path)
    finally:
        signal.signal(signal.SIGXFSZ, handler)
        if mounted:
            subprocess.run(["umount", "-l", path], check=True)
