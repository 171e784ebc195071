"""What staging a checkpoint costs beside one bare kernel copy (copy_file_range) of the same file, in turn."""

from __future__ import annotations

import fcntl
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring import Row, main, rotated, with_range

from trainer_hooks.staging import Stager

SIZES = {5: 25, 50: 11, 500: 5}
"""How many rounds for files of so many MB."""
BUDGET = "≤ 1.2 x one kernel copy"
_FICLONE = 0x40049409


def measure(folder: Path) -> Iterator[Row]:
    """A row per size. The source is in the page cache, as just after the host has written it."""
    cloned = _clone(folder)
    yield Row("file system", f"{_file_system(folder)}; reflink {cloned}")
    for size, rounds in SIZES.items():
        source = folder / "last.pt"
        source.write_bytes(os.urandom(1_000_000) * size)
        taken = _measured(folder, source, rounds)
        ratio = statistics.median(a / b for a, b in zip(taken["stage"], taken["kernel copy"], strict=True))
        text = f"{with_range(taken['stage'], 'ms', 1e3)}; kernel copy {with_range(taken['kernel copy'], 'ms', 1e3)}"
        yield Row(f"staging {size} MB", f"{ratio:.2f} x: {text}", BUDGET, ratio <= 1.2)


def _measured(folder: Path, source: Path, rounds: int) -> dict[str, list[float]]:
    stager = Stager(folder, keep_all=True)
    target = folder / "copy"

    def stage() -> Path:
        return folder / stager.stage(source, ["last"])[0]

    def kernel_copy() -> Path:
        _kernel_copy(source, target)
        return target

    cases: dict[str, Callable[[], Path]] = {"stage": stage, "kernel copy": kernel_copy}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, copy in rotated(cases, number):
            begun = time.perf_counter()
            made = copy()
            if number:
                taken[name].append(time.perf_counter() - begun)
            made.unlink()
    return taken


def _kernel_copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
            pass


def _clone(folder: Path) -> str:
    source, target = folder / "source", folder / "clone"
    source.write_bytes(b"x" * 4096)
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError as error:
            return f"not possible ({error.strerror})"
    return "works"


def _file_system(folder: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(above, key=lambda mount: len(mount[0]))[1]


if __name__ == "__main__":
    main(measure)
