"""labelme2yolo, a program in Rust, and the labelme2coco that comes with it."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from dataset_peers import Conversion
from dataset_peers._layout import place_coco, write_yaml

NAME, VERSION = "labelme2yolo", version("labelme2yolo")
_PROGRAMS = Path(sys.executable).parent


def _run(source: Path, out: Path, *options: str, program: str = "labelme2yolo") -> None:
    command = [str(_PROGRAMS / program), "-d", str(source), "-o", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["no word"])[-1])


def _boxes(source: Path, out: Path) -> None:
    _run(source, out, "--val_size", "0", "--include_background")


def _outlines(source: Path, out: Path) -> None:
    _run(source, out, "--val_size", "0", "--include_background", "--output_format", "polygon")


def _finish(source: Path, out: Path) -> Path:
    del source  # it places the images itself
    lines = (out / "dataset.yaml").read_text().partition("names:\n")[2].splitlines()
    return write_yaml(out, [line.partition(": ")[2].strip("'\"") for line in lines if ": " in line])


def _finish_coco(source: Path, out: Path) -> Path:
    return place_coco(next(out.rglob("*train*.json")), source, out)


CONVERSIONS = {
    ("labelme", "yolo", "detection"): Conversion(_boxes, _finish),
    ("labelme", "yolo", "segmentation"): Conversion(_outlines, _finish),
    **{
        ("labelme", "coco", task): Conversion(functools.partial(_run, program="labelme2coco"), _finish_coco)
        for task in ("detection", "segmentation")
    },
}
