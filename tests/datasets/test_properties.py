"""Whatever a dataset holds: something sound comes of it, or it is said what is wrong, and nothing else is touched."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from ultralytics.data.utils import img2label_paths, verify_image_label

from tests.datasets.hostile import SOURCES, coco, json_values, mutated, text_of, write_coco
from tests.datasets.trees import beside, contents
from trainer_hooks import datasets
from trainer_hooks.errors import DatasetError, InvalidSetting

TASKS = {
    "yolo": ["detection", "segmentation", "pose", "obb"],
    "coco": ["detection", "segmentation", "pose", "obb"],
    "dice": ["detection", "segmentation", "pose", "obb", "classification"],
    "labelme": ["detection", "segmentation", "pose", "obb"],
    "folders": ["classification"],
}
# There are thousands of them, small ones.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - folders of their own
wanted = st.sampled_from([(target, task) for target, tasks in TASKS.items() for task in tasks])
few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(
    max_examples=int(os.environ.get("MANY", "4000")), deadline=None, suppress_health_check=list(HealthCheck)
)


def attempt(write: Any, document: Any, source: str, target: str, task: str) -> None:
    """Convert it, and look at everything afterwards."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        home = Path(folder).resolve()
        root, made = home / "source", home / "out" / "made"
        write(root, document)
        before = contents(root)
        try:
            result = datasets.convert(root, to=made, source=source, target=target, task=task, max_missing=1)
        except (DatasetError, InvalidSetting):
            assert not made.exists()
        else:
            is_sound(Path(result), target, task)
            assert beside(made) == set()
        assert contents(root) == before
        assert {path.name for path in home.iterdir()} <= {"source", "out"}
        assert {path.name for path in (home / "out").iterdir()} <= {"made", ".made.lock"}


def is_sound(result: Path, target: str, task: str) -> None:
    if target == "yolo":
        is_sound_yolo(result, task)
    elif target == "coco":
        for file in result.glob("annotations/*.json"):
            is_sound_coco(result, file)
    report = datasets.read_report(result)
    assert sum(report.images.values()) <= 3


def is_sound_yolo(data: Path, task: str) -> None:
    said = yaml.safe_load(data.read_text())
    points, dimensions = said.get("kpt_shape", (0, 0))
    assert len(said["names"]) == said["nc"] > 0
    assert (task == "pose") == bool(points)
    for split in ("train", "val", "test"):
        for image in sorted((data.parent / "images" / split).rglob("*.*")):
            if image.suffix == ".txt":
                continue
            (label,) = img2label_paths([str(image)])
            found = verify_image_label((str(image), label, "", task == "pose", said["nc"], points, dimensions, False))
            assert found[0] is not None, found[-1]
            assert found[6] + found[7], "no labels, not even empty ones"
            if task == "detection":
                boxes_are_inside(found[1])


def boxes_are_inside(rows: Any) -> None:
    middles, sizes = rows[:, 1:3].astype(np.float64), rows[:, 3:5].astype(np.float64)
    assert (middles - sizes / 2 >= -2e-6).all()
    assert (middles + sizes / 2 <= 1 + 2e-6).all()


def is_sound_coco(root: Path, file: Path) -> None:
    said = json.loads(file.read_text(), parse_constant=pytest.fail)
    images = {image["id"]: image for image in said["images"]}
    categories = {category["id"] for category in said["categories"]}
    assert categories == set(range(1, len(categories) + 1))
    assert [one["id"] for one in said["annotations"]] == list(range(1, len(said["annotations"]) + 1))
    for image in said["images"]:
        with Image.open(root / "images" / file.stem.removeprefix("instances_") / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    for one in said["annotations"]:
        image = images[one["image_id"]]
        left, top, width, height = one["bbox"]
        assert 0 <= left <= left + width <= image["width"] + 0.002
        assert 0 <= top <= top + height <= image["height"] + 0.002
        assert one["category_id"] in categories


@pytest.mark.parametrize("kind", SOURCES)
@few
@given(data=st.data(), wanted=wanted)
def test_almost_right_datasets_are_converted_or_refused(
    kind: str, data: st.DataObject, wanted: tuple[str, str]
) -> None:
    source, make, write = SOURCES[kind]
    attempt(write, data.draw(mutated(make())), source, *wanted)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", SOURCES)
@many
@given(data=st.data(), wanted=wanted)
def test_many_almost_right_datasets_are_converted_or_refused(
    kind: str, data: st.DataObject, wanted: tuple[str, str]
) -> None:
    source, make, write = SOURCES[kind]
    attempt(write, data.draw(mutated(make())), source, *wanted)


@pytest.mark.parametrize("kind", SOURCES)
@few
@given(document=json_values, wanted=wanted)
def test_any_json_is_converted_or_refused(kind: str, document: Any, wanted: tuple[str, str]) -> None:
    source, _, write = SOURCES[kind]
    attempt(write, document, source, *wanted)


@few
@given(data=st.data(), wanted=wanted)
def test_damaged_bytes_are_converted_or_refused(data: st.DataObject, wanted: tuple[str, str]) -> None:
    text = bytearray(text_of(coco()))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    def write(root: Path, content: bytes) -> None:
        write_coco(root, {})
        (root / "annotations.json").write_bytes(content)

    attempt(write, bytes(text), data.draw(st.sampled_from(["coco", "dice"])), *wanted)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("target", TASKS)
def test_right_datasets_are_converted(kind: str, target: str, tmp_path: Path) -> None:
    source, make, write = SOURCES[kind]
    for task in TASKS[target]:
        if (source, task) == ("yolo", "classification"):
            continue  # all of its images have several classes
        write(tmp_path / task, make())
        result = datasets.convert(
            tmp_path / task, to=tmp_path / f"out-{task}", source=source, target=target, task=task, max_missing=1
        )
        is_sound(Path(result), target, task)
        assert datasets.read_report(result).images
