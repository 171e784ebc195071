"""Memory of converting one large file of annotations: of all processes of the conversion together, at its highest.

    MEGABYTES=1000 python benchmarks/dataset_memory.py

The file is mapped, not read: its pages are the system's cache, which is given back when memory is short. What is
counted against the budget is what can't be given back (RssAnon); what is resident with the cache is told beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from measuring import Row, clean_environment, main
from PIL import Image

MEGABYTES = int(os.environ.get("MEGABYTES", "100"))
BUDGET = 650
OUTLINE = [round(100 + 0.37 * place, 2) for place in range(40)]
_PER_IMAGE = 8
_LINKS = 50_000  # one file can have some more on most file systems
_CONVERSION = """
import sys, time
from trainer_hooks.datasets import convert

source, root, target, workers = sys.argv[1:]
began = time.monotonic()
convert(root, source=source, target=target, task="segmentation", to=root + "-made", workers=int(workers))
print(time.monotonic() - began)
"""


def measure(folder: Path) -> Iterator[Row]:
    """COCO and DICE, each with two workers."""
    for source, target, write in (
        ("coco", "coco", _write_coco),
        ("coco", "yolo", _write_coco),
        ("dice", "coco", _write_dice),
    ):
        yield _converted(folder / source, source, target, write)


def _converted(root: Path, source: str, target: str, write: Callable[[IO[str], int], None]) -> Row:
    images = _write(root, source, write)
    took, highest, resident = _watch([source, str(root), target, "2"])
    shutil.rmtree(root)
    shutil.rmtree(f"{root}-made")
    measured = f"{highest:.0f} MB ({resident:.0f} MB with cached pages of the file), {took:.0f} s, {images:,} images"
    return Row(f"{source} to {target}, {MEGABYTES} MB of annotations", measured, f"≤ {BUDGET} MB", highest <= BUDGET)


def _write(root: Path, source: str, write: Callable[[IO[str], int], None]) -> int:
    folder = root / "images"
    folder.mkdir(parents=True)
    name = "annotations_segmentation.json" if source == "dice" else "instances_train.json"
    images = 0
    with (root / name).open("w") as file:
        size = len(json.dumps(_annotation(10**6, 10**6))) * _PER_IMAGE + 100
        images = MEGABYTES * 1_000_000 // size
        write(file, images)
    for number in range(images):
        first = folder / _name(number - number % _LINKS)
        if number % _LINKS == 0:
            Image.new("RGB", (640, 480)).save(first)
        else:
            os.link(first, folder / _name(number))
    return images


def _name(number: int) -> str:
    return f"{number:08}.jpg"


def _annotation(number: int, image: int) -> dict[str, object]:
    box = {"bbox": [100.0, 100.0, 50.0, 50.0], "area": 2500.0, "iscrowd": 0, "segmentation": [OUTLINE]}
    return {"id": number, "image_id": image, "category_id": number % 3, **box}


def _image(number: int) -> dict[str, object]:
    return {"id": number, "file_name": _name(number), "width": 640, "height": 480}


_CATEGORIES = json.dumps([{"id": number, "name": f"class {number}"} for number in range(3)])


def _write_coco(file: IO[str], images: int) -> None:
    file.write(f'{{"categories": {_CATEGORIES}, "images": [')
    for number in range(images):
        file.write((", " if number else "") + json.dumps(_image(number)))
    file.write('], "annotations": [')
    for number in range(images * _PER_IMAGE):
        # In no order, as some tools write them.
        annotation = _annotation(number + 1, number % images)
        file.write((", " if number else "") + json.dumps(annotation))
    file.write("]}")


def _write_dice(file: IO[str], images: int) -> None:
    file.write(f'{{"classes": {_CATEGORIES}, "images": [')
    for number in range(images):
        annotations = [_annotation(number * _PER_IMAGE + at, number) for at in range(_PER_IMAGE)]
        file.write((", " if number else "") + json.dumps(_image(number) | {"annotations": annotations}))
    file.write("]}")


def _watch(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds taken; the highest sum of what all processes hold, and of what is resident of them, in megabytes."""
    command = [sys.executable, "-c", _CONVERSION, *arguments]
    highest = resident = 0.0
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            held, all_of_it = _memory(process.pid)
            highest, resident = max(highest, held), max(resident, all_of_it)
            time.sleep(0.02)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(process.returncode)
    return float(said), highest, resident


def _memory(pid: int) -> tuple[float, float]:
    held = resident = 0.0
    for one in (pid, *_children(pid)):
        try:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines())
        except OSError:  # it has just ended
            continue
        held += int(fields.get("RssAnon", "0").split()[0]) / 1000
        resident += int(fields.get("VmRSS", "0").split()[0]) / 1000
    return held, resident


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


if __name__ == "__main__":
    main(measure)
