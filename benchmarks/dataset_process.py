"""One conversion, timed in a process of its own; dataset_speed.py starts it.

    python benchmarks/dataset_process.py PEER SOURCE TARGET TASK FROM TO TOLD [LIKE]

The peer "bare" reads and parses the same files with the fastest JSON library, writes as many bytes into as many files
as our result LIKE has, and links its images. What it took is written to TOLD; imports are not counted.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dataset_peers
import measuring  # noqa: F401  # finds trainer_hooks
import orjson

_IMAGES = {".jpg", ".jpeg", ".png"}


def _bare(source: Path, out: Path, like: Path) -> Callable[[], None]:
    folders = [path.relative_to(like) for path in sorted(like.rglob("*")) if path.is_dir()]
    files = [path for path in sorted(like.rglob("*")) if path.is_file()]
    images = [(path, out / path.relative_to(like)) for path in files if path.suffix in _IMAGES]
    texts = [(out / path.relative_to(like), path.stat().st_size) for path in files if path.suffix not in _IMAGES]
    content = memoryview(bytes(max(size for _, size in texts)))

    def run() -> None:
        _parse(source)
        out.mkdir()
        for folder in folders:
            (out / folder).mkdir()
        for path, size in texts:
            with open(path, "wb", buffering=0) as file:  # noqa: PTH123  # a third faster than Path's
                file.write(content[:size])
        for path, target in images:
            os.link(path, target)

    return run


def _parse(source: Path) -> None:
    """Read every annotation; a whole file of them is held, as the fastest way is."""
    for entry in _annotations(source):
        with open(entry, "rb", buffering=0) as file:  # noqa: PTH123  # as above
            content = file.read()
        if entry.endswith(".json"):
            orjson.loads(content)
        else:
            for row in content.splitlines():
                list(map(float, row.split()))


def _annotations(folder: Path) -> list[str]:
    found = []
    for above, _, names in os.walk(folder):
        found += [os.path.join(above, name) for name in names if name.endswith((".json", ".txt"))]  # noqa: PTH118
    return found


def _main() -> None:
    peer, source_format, target, task, source, out, told, *like = sys.argv[1:]
    if peer == "bare":
        run = _bare(Path(source), Path(out), Path(like[0]))
    else:
        conversion = dataset_peers.load(peer).conversions[source_format, target, task]  # type: ignore[union-attr]

        def run() -> None:
            conversion.run(Path(source), Path(out))

    begun, worked = time.perf_counter(), _worked()
    run()
    took = {"seconds": time.perf_counter() - begun, "worked": _worked() - worked, "memory": _highest()}
    Path(told).write_text(json.dumps(took))


def _highest() -> float:
    """The most MB that this process ever had resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def _worked() -> float:
    """Seconds on the processor, of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    _main()
