"""The judges see what is wrong: each fault, put into a right dataset by hand, is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.cases.coco_files import ANNOTATIONS, CocoFile
from tests.datasets.cases.model import Case, Expected, Source, Thing
from tests.datasets.oracles import verdict

CAT = Thing("cat", (10, 10, 40, 30), polygons=(((10, 10), (40, 10), (40, 30), (10, 30)),))
DOG = Thing("dog", (50, 40, 80, 60))
BOXES = ["0 0.25 0.25 0.3 0.25", "1 0.65 0.625 0.3 0.25"]


class Yolo:
    """A right YOLO dataset of one image, and its source."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "source", folder / "out"
        Source(self.source).image("a.jpg")
        made = Source(self.out)
        made.text("data.yaml", f"path: {self.out}\ntrain: images/train\nval: images/train\nnames: [cat, dog]\n")
        made.image("images/train/a.jpg")
        (self.out / "images" / "train" / "a.jpg").write_bytes((self.source / "a.jpg").read_bytes())
        self.label = self.out / "labels" / "train" / "a.txt"
        self.rows(BOXES)

    def rows(self, rows: list[str]) -> None:
        self.label.parent.mkdir(parents=True, exist_ok=True)
        self.label.write_text("".join(f"{row}\n" for row in rows))

    def faults(self, *things: Thing, task: str = "detection") -> list[str]:
        expected = Expected(images={"a.jpg": list(things or (CAT, DOG))}, classes=["cat", "dog"])
        return verdict.faults(case("yolo", task), expected, self.source, self.out / "data.yaml")


@pytest.fixture
def yolo(tmp_path: Path) -> Yolo:
    return Yolo(tmp_path)


def case(target: str, task: str) -> Case:
    """A case that is only judged."""
    return Case("", "", "coco", target, task, write=lambda _: Expected())


def test_a_right_dataset_has_no_faults(yolo: Yolo):
    assert yolo.faults() == []


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([BOXES[0], "0 0.65 0.625 0.3 0.25"], "no dog as expected"),
        (BOXES[:1], "no dog as expected"),
        ([*BOXES, "0 0.5 0.5 0.1 0.1"], "not expected"),
        ([BOXES[0], "1 0.69 0.625 0.3 0.25"], "no dog as expected"),
        ([BOXES[0], "1 1.05 0.625 0.3 0.25"], "out of bounds"),
        ([BOXES[0], "2 0.65 0.625 0.3 0.25"], "exceeds dataset class count"),
        ([BOXES[0], "1 0.65 0.625 0.3"], "inhomogeneous"),
        ([BOXES[0], "1 0.1 0.1 0.2 0.1 0.2 0.2"], "mix segment and detection rows"),
    ],
    ids=["class", "lost", "added", "moved", "outside", "number", "columns", "mixed"],
)
def test_a_wrong_label_is_found(yolo: Yolo, rows: list[str], word: str):
    yolo.rows(rows)

    assert word in " ".join(yolo.faults())


def test_labels_that_the_loader_does_not_find_are_missed(yolo: Yolo):
    (yolo.out / "labels").rename(yolo.out / "elsewhere")

    assert "no cat as expected" in " ".join(yolo.faults())


def test_names_in_another_order_are_found(yolo: Yolo):
    path = yolo.out / "data.yaml"
    path.write_text(path.read_text().replace("[cat, dog]", "[dog, cat]"))

    assert "classes are ['dog', 'cat']" in " ".join(yolo.faults())


def test_an_image_that_the_loader_passes_over_is_found(yolo: Yolo):
    folder = yolo.out / "images" / "train"
    (folder / "a.jpg").rename(folder / ".a.jpg")
    Source(folder).image("b.jpg")

    assert "leaves out ['.a.jpg']" in " ".join(yolo.faults())


def test_an_image_in_two_splits_is_found(yolo: Yolo):
    text = (yolo.out / "data.yaml").read_text()
    (yolo.out / "data.yaml").write_text(text.replace("val: images/train", "val: images/val"))
    for kind, name in (("images", "a.jpg"), ("labels", "a.txt")):
        (yolo.out / kind / "val").mkdir()
        (yolo.out / kind / "val" / name).write_bytes((yolo.out / kind / "train" / name).read_bytes())

    assert "a.jpg is there twice, in train and in val" in yolo.faults()


def test_an_outline_that_only_has_the_same_box_is_found(yolo: Yolo):
    yolo.rows(["0 0.1 0.125 0.4 0.125 0.4 0.375 0.1 0.375"])
    assert yolo.faults(CAT, task="segmentation") == []

    yolo.rows(["0 0.1 0.125 0.4 0.125 0.4 0.375"])
    assert "no cat as expected" in " ".join(yolo.faults(CAT, task="segmentation"))


class Coco:
    """A right COCO dataset of one image, as it lies and as it has to be."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        coco = CocoFile(Source(self.source))
        image = coco.image("train/a.jpg")
        coco.box(image, "cat", (10, 10, 30, 20))
        coco.box(image, "dog", (50, 40, 30, 20))
        image["file_name"] = "a.jpg"
        self.expected = coco.write()
        self.content = json.loads((self.source / ANNOTATIONS).read_text())

    def faults(self) -> str:
        (self.source / ANNOTATIONS).write_text(json.dumps(self.content))
        return " ".join(verdict.faults(case("coco", "detection"), self.expected, self.source, self.source))


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path)


def test_a_right_coco_file_has_no_faults(coco: Coco):
    assert coco.faults() == ""


def test_an_annotation_id_of_0_is_found_by_its_evaluation(coco: Coco):
    for number, annotation in enumerate(coco.content["annotations"]):
        annotation["id"] = number

    assert "AP of" in coco.faults()


def test_two_annotations_of_one_id_are_found(coco: Coco):
    coco.content["annotations"][1]["id"] = 1

    assert "each once" in coco.faults()


@pytest.mark.parametrize("field", ["bbox", "area", "category_id", "iscrowd"])
def test_a_missing_field_is_found(coco: Coco, field: str):
    del coco.content["annotations"][0][field]

    assert coco.faults() != ""


def test_a_category_moved_to_another_name_is_found(coco: Coco):
    for category, name in zip(coco.content["categories"], ("dog", "cat"), strict=True):
        category["name"] = name

    assert "no cat as expected" in coco.faults()


def test_an_image_that_is_not_where_the_loader_looks_is_found(coco: Coco):
    coco.content["images"][0]["file_name"] = "train/a.jpg"

    assert "the image train/a.jpg is not below" in coco.faults()
