"""How fast datasets are converted, beside the fastest other tools and beside the bare work.

    make bench-datasets                                            all pairs, into docs/datasets-benchmarks.md
    python benchmarks/dataset_speed.py --images 2000 --rounds 1    smaller; nothing is written

20,000 images with 151,000 annotations, three of five of them polygons (benchmarks/dataset_scale.py). Each conversion
runs in a fresh process, imports not counted, in turn within each round; the files are in the page cache, and what the
one before has written is on the disk. Ours places the images, checks each file's size and orientation, and writes a
report; the others convert annotations, and only labelme2yolo places images, too. Bare is one process that reads and
parses the same files with orjson, writes as many bytes into as many files as our result has, and links its images.
Work is the time on the processor, of all processes together, which a busy machine changes less. Memory is the most
that the process and its children had resident at one time, added up.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dataset_scale
from measuring import ROOT, Row, clean_environment, rotated, shown, verdict, with_range
from run_all import machine

PAGE = ROOT / "docs" / "datasets-benchmarks.md"
OURS, BARE = "trainer_hooks", "bare"
_SAMPLED = 0.03
_TIMES, _OF_BARE = 2.0, 1.5
_NAMES = {"coco": "COCO", "dice": "DICE", "labelme": "LabelMe", "yolo": "YOLO"}


@dataclass(frozen=True)
class Pair:
    """A conversion and its fastest peers. One that can't read the format is given the same content as `instead`."""

    source: str
    target: str
    task: str
    peers: tuple[str, ...]
    instead: str = ""

    def __str__(self) -> str:
        return f"{_NAMES[self.source]} to {_NAMES[self.target]}, {self.task}"


PAIRS = (
    Pair("coco", "yolo", "detection", ("ultralytics",)),
    Pair("coco", "yolo", "segmentation", ("ultralytics",)),
    Pair("labelme", "yolo", "detection", ("labelme2yolo", "globox")),
    Pair("labelme", "yolo", "segmentation", ("labelme2yolo",)),
    Pair("labelme", "coco", "segmentation", ("labelme2yolo",)),
    Pair("yolo", "coco", "detection", ("supervision", "datumaro", "globox")),
    Pair("dice", "yolo", "detection", ("ultralytics",), instead="coco"),
)


@dataclass(frozen=True)
class Taken:
    """Seconds, seconds on the processor, and MB resident at most."""

    seconds: float
    worked: float
    memory: float


def measure(folder: Path, images: int, rounds: int, pairs: Sequence[Pair]) -> Iterator[Row]:
    """The rows of each pair."""
    data = folder / "data"
    annotations = dataset_scale.write(data, images)
    yield Row("dataset", f"{images:,} images, {annotations:,} annotations")
    for pair in pairs:
        yield from _rows(pair, _measured(pair, data, folder, rounds), images)


def _measured(pair: Pair, data: Path, folder: Path, rounds: int) -> Mapping[str, list[Taken]]:
    """What each tool took in each round; the first of ours, which shows what is to be written, doesn't count."""
    like = folder / "like"
    _converted(OURS, pair, data, like)
    names = {name: name for name in (OURS, BARE, *pair.peers)}
    found: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(rounds):
        for name, _ in rotated(names, number):
            out = folder / "out"
            found[name].append(_converted(name, pair, data, out, *([str(like)] if name == BARE else [])))
            shutil.rmtree(out)
    shutil.rmtree(like)
    return found


def _converted(name: str, pair: Pair, data: Path, out: Path, *like: str) -> Taken:
    source = pair.instead if pair.instead and name not in {OURS, BARE} else pair.source
    told = out.with_name("told.json")
    script = str(Path(__file__).with_name("dataset_process.py"))
    asked = [name, source, pair.target, pair.task, str(data / source), str(out), str(told), *like]
    os.sync()
    command = [sys.executable, script, *asked]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, cwd=out.parent, stdout=said, stderr=said)
        memory = _highest(process)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{name}, {pair}: {said.read().decode()[-2000:]}")  # noqa: EM102
    taken = Taken(**json.loads(told.read_text()))
    return dataclasses.replace(taken, memory=max(taken.memory, memory))


def _highest(process: subprocess.Popen[bytes]) -> float:
    """The most MB that the process and its children have resident, until it ends."""
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_resident, _family(process.pid))))
        time.sleep(_SAMPLED)
    return most / 1e6


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):  # gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:  # gone
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _rows(pair: Pair, found: Mapping[str, list[Taken]], images: int) -> Iterator[Row]:
    for name, taken in found.items():
        seconds, memory = [one.seconds for one in taken], max(one.memory for one in taken)
        rate = images / statistics.median(seconds)
        worked = statistics.median(one.worked for one in taken)
        other = f" (as {_NAMES[pair.instead]})" if pair.instead and name not in {OURS, BARE} else ""
        yield Row(
            f"{pair}: {name}{other}",
            f"{with_range(seconds, 's')}; {rate:,.0f} images/s; {worked:.3g} s of work; {memory:.0f} MB",
        )
    fastest = min(pair.peers, key=lambda name: statistics.median(one.seconds for one in found[name]))
    times, of_bare = 1 / _ratio(found, fastest), _ratio(found, BARE)
    ours, bare = (max(one.memory for one in found[name]) for name in (OURS, BARE))
    yield Row(f"{pair}: ours beside {fastest}", f"{times:.2f} x as fast", f"≥ {_TIMES:g} x", times >= _TIMES)
    yield Row(f"{pair}: ours beside bare", f"{of_bare:.2f} x its time", f"≤ {_OF_BARE:g} x", of_bare <= _OF_BARE)
    yield Row(f"{pair}: memory beside bare", f"{ours:.0f} MB; bare {bare:.0f} MB", "≤ bare", ours <= bare)


def _ratio(found: Mapping[str, list[Taken]], other: str) -> float:
    """Our time by the other's, round by round; the median."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(found[OURS], found[other], strict=True))


def _page(rows: Sequence[Row]) -> Iterator[str]:
    yield "# Speed of converting datasets\n"
    yield "Written by `make bench-datasets` (`python benchmarks/dataset_speed.py`).\n"
    yield f"- date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"
    yield f"- machine: {machine()}\n"
    for part in (ast.get_docstring(ast.parse(Path(__file__).read_text())) or "").split("\n\n")[2:]:
        yield " ".join(part.split()) + "\n"
    yield "| what | budget | measured | verdict |\n|---|---|---|---|"
    yield from (f"| {row.what} | {row.budget or '-'} | {row.measured} | {verdict(row) or '-'} |" for row in rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="how many (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each (default: 3)")
    parser.add_argument("--pairs", nargs="+", metavar="SOURCE-TARGET-TASK", help="only these, e.g. coco-yolo-detection")
    parser.add_argument("--folder", type=Path, help="where to work (default: among the temporary files)")
    options = parser.parse_args()
    pairs = [pair for pair in PAIRS if f"{pair.source}-{pair.target}-{pair.task}" in (options.pairs or _all())]
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for row in measure(Path(folder), options.images, options.rounds, pairs):
            rows.append(row)
            print(shown(row), flush=True)
    if not options.pairs and options.images == parser.get_default("images"):
        PAGE.write_text("\n".join(_page(rows)) + "\n", encoding="utf-8")
        print(f"written to {PAGE.relative_to(ROOT)}")


def _all() -> list[str]:
    return [f"{pair.source}-{pair.target}-{pair.task}" for pair in PAIRS]


if __name__ == "__main__":
    main()
