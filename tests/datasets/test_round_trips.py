"""What a target can hold is there again when it is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.hostile import KEYPOINTS
from tests.datasets.trees import HEIGHT, WIDTH, coco_document, contents, numbered, put, put_images
from trainer_hooks import datasets
from trainer_hooks.datasets.geometry import area
from trainer_hooks.datasets.splitting import Split

NAMES = [*numbered(20), "a/größe.png", "b c/1.jpg"]
CLOSE = 0.01  # pixels


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Boxes, polygons and keypoints of two classes, well within their images."""
    document = coco_document(NAMES, objects=4)
    for category in document["categories"]:
        category["keypoints"] = KEYPOINTS
    for one in document["annotations"]:
        left, top, width, _ = one["bbox"]
        one["keypoints"] = [left + 0.5, top + 0.5, 2, round(left + width / 2, 2), top + 1, 1, 0, 0, 0]
    root = tmp_path / "source"
    put_images(root, NAMES)
    put(root / "annotations.json", json.dumps(document).encode())
    return root


def there_and_back(source: Path, through: str, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is on each image before, and after it has been in the other format."""
    split = Split(assign=dict.fromkeys(NAMES, "train"))
    home = source.parent
    there = Path(datasets.convert(source, to=home / "there", source="coco", target=through, task=task, split=split))
    report = datasets.read_report(there)
    assert report.is_clean, report.counts
    back = datasets.convert(
        there if there.is_dir() else there.parent, to=home / "back", source=through, target="coco", task=task
    )
    assert datasets.read_report(back).is_clean, datasets.read_report(back).counts
    return on_images(source / "annotations.json"), on_images(*Path(back).glob("annotations/*.json"))


def on_images(*files: Path) -> dict[str, Any]:
    """By image: class, box, outline and keypoints of each object, in order."""
    found: dict[str, Any] = {}
    for file in files:
        said = json.loads(file.read_text())
        names = {image["id"]: image["file_name"] for image in said["images"]}
        classes = {category["id"]: category["name"] for category in said["categories"]}
        for image in said["images"]:
            assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
        for one in said["annotations"]:
            box = [*one["bbox"][:2], one["bbox"][0] + one["bbox"][2], one["bbox"][1] + one["bbox"][3]]
            thing = (classes[one["category_id"]], box, one["segmentation"], one.get("keypoints", []))
            # DICE has the split in the name.
            found.setdefault(names[one["image_id"]].removeprefix("train/"), []).append(thing)
    return {name: sorted(things) for name, things in found.items()}


def boxes_of(things: list[Any]) -> list[tuple[str, Any]]:
    return [(label, pytest.approx(box, abs=CLOSE)) for label, box, *_ in things]


@pytest.mark.parametrize("through", ["coco", "yolo", "dice", "labelme"])
def test_boxes_come_back(source: Path, through: str) -> None:
    before, after = there_and_back(source, through, "detection")
    assert before.keys() == after.keys()
    for name, things in after.items():
        assert [(label, box) for label, box, *_ in things] == boxes_of(before[name])


@pytest.mark.parametrize("through", ["coco", "yolo", "dice", "labelme"])
def test_outlines_come_back(source: Path, through: str) -> None:
    before, after = there_and_back(source, through, "segmentation")
    assert before.keys() == after.keys()
    for name, things in after.items():
        assert [(label, box) for label, box, *_ in things] == boxes_of(before[name])
        for (*_, rings, _), (*_, others, _) in zip(things, before[name], strict=True):
            assert sum(map(area, rings)) == pytest.approx(sum(map(area, others)), abs=0.5)
            assert len(rings[0]) == len(others[0])


@pytest.mark.parametrize("through", ["coco", "yolo", "dice"])
def test_keypoints_come_back(source: Path, through: str) -> None:
    before, after = there_and_back(source, through, "pose")
    assert before.keys() == after.keys()
    for name, things in after.items():
        assert [(label, box) for label, box, *_ in things] == boxes_of(before[name])
        for (*_, points), (*_, others) in zip(things, before[name], strict=True):
            assert points == pytest.approx(others, abs=CLOSE)


@pytest.mark.parametrize("through", ["coco", "yolo", "dice", "labelme"])
def test_oriented_boxes_come_back(source: Path, through: str) -> None:
    before, after = there_and_back(source, through, "obb")
    assert before.keys() == after.keys()
    for name, things in after.items():
        assert [(label, box) for label, box, *_ in things] == boxes_of(before[name])


def test_what_is_written_as_coco_is_written_the_same_when_it_is_read_again(source: Path, tmp_path: Path) -> None:
    made = []
    dataset = source
    for turn in range(2):
        to = tmp_path / f"turn-{turn}"
        dataset = Path(datasets.convert(dataset, to=to, source="coco", target="coco", task="segmentation"))
        made.append({name: content for name, content in contents(to).items() if name.startswith(("ann", "im"))})
    assert made[0].keys() == made[1].keys()
    for name, content in made[0].items():
        if name.endswith(".json"):
            first, second = json.loads(content), json.loads(made[1][name])
            for one in (*first["images"], *second["images"], *first["annotations"], *second["annotations"]):
                one.pop("id"), one.pop("image_id", None)
            assert first == second
        else:
            assert content == made[1][name]
