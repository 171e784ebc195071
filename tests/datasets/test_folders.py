"""Image folders: which folder is a split, which is a class, and what is written so that all trainers number alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.datasets.cases.labelme import CAT, LabelMe, rectangle
from tests.datasets.cases.model import Source
from tests.datasets.oracles.ultralytics import read_folders
from tests.datasets.reading import counted, tell
from trainer_hooks import datasets
from trainer_hooks.datasets.formats.folders import folder_names
from trainer_hooks.datasets.report import read_report
from trainer_hooks.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def images(root: Path, *paths: str) -> None:
    for path in paths:
        Source(root).image(path)


def converted(root: Path, source: str = "folders", **told: object) -> Path:
    out = root.parent / "out"
    return Path(datasets.convert(root, source=source, target="folders", task="classification", to=out, **told))  # type: ignore[arg-type]


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*.jpg")}


def shown(root: Path) -> dict[str, str]:
    told = tell(root, "folders", "classification")
    return {name: told.names[found[0].label] for name, found in told.annotations.items()}


def test_a_folder_per_class_below_one_per_split(root: Path):
    images(root, "train/cat/1.jpg", "valid/cat/2.jpg", "valid/dog/deep/er/3.jpg", "test/dog/4.jpg")

    told = tell(root, "folders", "classification")

    assert told.names == ["cat", "dog"]
    assert told.splits == {"cat/1.jpg": "train", "cat/2.jpg": "val", "dog/deep/er/3.jpg": "val", "dog/4.jpg": "test"}
    assert shown(root) == {"cat/1.jpg": "cat", "cat/2.jpg": "cat", "dog/deep/er/3.jpg": "dog", "dog/4.jpg": "dog"}


def test_without_splits_a_folder_per_class(root: Path):
    images(root, "cat/1.jpg", "dog/1.jpg", "dog/a/1.jpg")

    assert shown(root) == {"cat/1.jpg": "cat", "dog/1.jpg": "dog", "dog/a/1.jpg": "dog"}


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["train/1.jpg", "plane/2.jpg"], ["plane", "train"]),
        (["train/cat/1.jpg"], ["cat"]),
        (["train/cat/1.jpg", "val/cat/2.jpg", "other/3.jpg"], ["cat"]),
    ],
    ids=["beside other classes it is one", "alone it is a split", "with val it is a split"],
)
def test_a_folder_called_train(root: Path, paths: list[str], classes: list[str]):
    images(root, *paths)

    assert tell(root, "folders", "classification").names == classes


def test_images_in_no_folder_of_a_class_are_dropped(root: Path):
    images(root, "train/cat/1.jpg", "train/2.jpg", "val/cat/3.jpg", "4.jpg", "other/5.jpg")

    told = tell(root, "folders", "classification")

    assert set(told.splits) == {"cat/1.jpg", "cat/3.jpg"}
    assert counted(told.report) == {"dropped": {"image in no folder of a class": 3}}


def test_a_file_is_no_folder_of_classes(root: Path):
    images(root, "cat/1.jpg")

    with pytest.raises(DatasetError, match="is a file: give the folder that holds"):
        tell(root / "cat/1.jpg", "folders", "classification")


def test_only_the_classes_asked_for_come(root: Path):
    images(root, "cat/1.jpg", "dog/2.jpg", "ant/3.jpg")

    told = tell(root, "folders", "classification", classes=["dog", "ant"])

    assert told.names == ["dog", "ant"]
    assert set(told.splits) == {"dog/2.jpg", "ant/3.jpg"}


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_there_is_nothing_else_in_them(root: Path, task: str):
    images(root, "cat/1.jpg")

    with pytest.raises(DatasetError, match="ask for classification"):
        tell(root, "folders", task)


def test_every_split_has_a_folder_for_every_class(root: Path):
    images(root, "train/ant/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "val/dog/4.jpg", "test/cat/5.jpg")

    out = converted(root)

    for split in ("train", "val", "test"):
        assert sorted(path.name for path in (out / split).iterdir()) == ["ant", "cat", "dog"]
    assert read_report(out).classes == ["ant", "cat", "dog"]


def test_what_is_written_is_read_as_the_same(root: Path):
    paths = ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/dog/x/2.jpg"]
    images(root, *paths)

    out = converted(root)

    assert files(out) == set(paths)
    assert tell(out, "folders", "classification").splits == tell(root, "folders", "classification").splits


def test_trainers_see_the_classes_of_labelme_files(root: Path):
    pytest.importorskip("ultralytics")
    to = LabelMe(Source(root))
    to.file("train/1.jpg", [CAT, CAT])
    to.file("train/sub/1.jpg", [], flags={"zebra": True})
    to.file("val/1.jpg", [rectangle("dog", 1, 1, 5, 5)])
    to.file("train/both.jpg", [CAT, rectangle("dog", 1, 1, 5, 5)])
    to.file("train/none.jpg", [])

    out = converted(root, "labelme")

    found = read_folders(out)
    assert found.classes == ["cat", "dog", "zebra"]
    assert {(str(one.path.relative_to(out)), one.things[0].name) for one in found.images} == {
        ("train/cat/1.jpg", "cat"),
        ("train/zebra/sub/1.jpg", "zebra"),
        ("val/dog/val/1.jpg", "dog"),
    }
    dropped = {one.file: (one.reason, one.detail) for one in read_report(out).findings}
    assert dropped == {
        "both.jpg": ("image of several classes", "cat, dog"),
        "none.jpg": ("image of no class", ""),
    }


def test_a_name_that_begins_like_its_class_stays_apart_from_one_that_does_not(root: Path):
    to = LabelMe(Source(root))
    to.file("train/cat/1.jpg", [CAT])
    to.file("train/1.jpg", [CAT])

    assert files(converted(root, "labelme")) == {"train/cat/cat/1.jpg", "train/cat/1.jpg"}


def test_what_has_one_name_in_two_splits_stays_two_in_one_split(root: Path):
    images(root, "train/cat/1.jpg", "train/cat/2.jpg", "valid/cat/1.jpg", "valid/cat/2.jpg")
    assign = {"train/cat/1.jpg": "val", "train/cat/2.jpg": "train", "valid/cat/2.jpg": "train"}

    out = converted(root, split=datasets.Split(assign=assign))

    assert files(out) == {"val/cat/train/1.jpg", "val/cat/1.jpg", "train/cat/2.jpg", "train/cat/val/2.jpg"}


def labelled(root: Path, labels: Iterable[str]) -> None:
    to = LabelMe(Source(root))
    for number, label in enumerate(labels):
        to.file(f"train/{number}.jpg", [rectangle(label, 1, 1, 5, 5)])


def test_a_class_whose_name_can_be_no_folder_gets_one_that_can(root: Path):
    labelled(root, ["a/b", "..", ".hidden", "plain"])

    out = converted(root, "labelme")

    assert files(out) == {"train/a_b/0.jpg", "train/_/1.jpg", "train/_hidden/2.jpg", "train/plain/3.jpg"}
    assert read_report(out).count_of("renamed") == 3


@pytest.mark.parametrize("pair", [("a/b", "a_b"), ("Cat", "cat")])
def test_two_classes_never_share_a_folder(root: Path, pair: tuple[str, str]):
    labelled(root, pair)

    with pytest.raises(DatasetError, match="would share the folder"):
        converted(root, "labelme")


def test_a_stratified_split_sees_the_classes(root: Path):
    images(root, *(f"{'rare' if number < 2 else 'common'}/{number}.jpg" for number in range(10)))

    told = tell(root, "folders", "classification", split=datasets.Split(ratios=(0.5, 0.5), stratify=True))

    assert {told.splits["rare/0.jpg"], told.splits["rare/1.jpg"]} == {"train", "val"}


def test_a_class_whose_name_is_too_long_for_a_folder_is_refused() -> None:
    folder_names(["c" * 255])
    with pytest.raises(DatasetError, match="has a name of 256 bytes, and a folder's has 255: shorten it"):
        folder_names(["cat", "é" * 128])
