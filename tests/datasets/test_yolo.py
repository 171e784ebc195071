"""YOLO datasets: what is read where Ultralytics reads, and what is written as it reads it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.datasets.cases.model import SIZE, Source
from tests.datasets.oracles.ultralytics import read_yolo
from tests.datasets.reading import Told, counted, tell
from trainer_hooks import datasets
from trainer_hooks.datasets.geometry import bounds
from trainer_hooks.errors import DatasetError

ROW = "0 0.25 0.25 0.3 0.25"
BOX = ("cat", (10, 10, 40, 30))
NAMES = "names: [cat, dog]\n"
ROWS = {
    "detection": ["0 0.250000 0.250000 0.300000 0.250000", "1 0.500000 0.500000 1.000000 1.000000"],
    "segmentation": ["0 0.100000 0.125000 0.400000 0.125000 0.400000 0.375000"],
    "obb": ["1 0.500000 0.125000 0.900000 0.500000 0.720000 0.800000 0.320000 0.425000"],
    "pose": ["0 0.250000 0.250000 0.300000 0.250000 0.200000 0.250000 2 0.300000 0.250000 1 0.000000 0.000000 0"],
}
PLAIN = f"train: images/train\nval: images/val\n{NAMES}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def put(root: Path, image: str, rows: Sequence[str] = (ROW,), labels: str | None = None) -> None:
    """An image, and its rows where Ultralytics looks for them."""
    Source(root).image(image)
    before, _, after = f"/{image}".rpartition("/images/")
    default = f"{before}/labels/{after}" if before or image.startswith("images/") else image
    path = labels or f"{default.lstrip('/').rpartition('.')[0]}.txt"
    Source(root).text(path, "\n".join(rows))


def boxes(told: Told, image: str) -> list[tuple[str, tuple[float, ...] | None]]:
    return [(name, tuple(round(number, 6) for number in box) if box else None) for name, box in told.boxes(image)]


@pytest.mark.parametrize(
    ("image", "text", "file"),
    [
        ("images/train/a.jpg", PLAIN, "data.yaml"),
        ("images/train/sub/a.jpg", PLAIN, "dataset.yaml"),
        ("train/images/a.jpg", f"train: ../train/images\nval: ../valid/images\n{NAMES}", "data.yaml"),
        ("coco8/images/train/a.jpg", f"path: coco8\ntrain: images/train\nval: images/val\n{NAMES}", "data.yaml"),
        ("images/train/a.jpg", f"path: /content/elsewhere\n{PLAIN}", "data.yaml"),
        ("images/train/a.jpg", f"path: .\ntrain: [images/train, images/more]\n{NAMES}", "data.yaml"),
        ("images/train/a.jpg", f"train: images/train/a.jpg\n{NAMES}", "data.yaml"),
        ("pictures/a.jpg", f"train: pictures\nval: pictures\n{NAMES}", "data.yml"),
        ("images/train/a.jpg", f"train: images/train\nvalidation: images/val\nnc: 2\n{NAMES}", "data.yaml"),
        ("images/a.jpg", f"train: images\nval:\n{NAMES}", "data.yaml"),
    ],
)
def test_images_and_labels_are_found(root: Path, image: str, text: str, file: str):
    put(root, image)
    (root / "images/more").mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)

    told = tell(root, "yolo")

    (entry,) = told.entries
    assert (entry.file, entry.split) == (image, "train")
    assert boxes(told, entry.name) == [BOX]


def test_names_are_without_the_folders_that_say_nothing(root: Path):
    for image in ("images/train/a.jpg", "images/train/sub/a.jpg", "images/val/a.jpg"):
        put(root, image)
    (root / "data.yaml").write_text(PLAIN)

    assert tell(root, "yolo").splits == {"a.jpg": "train", "sub/a.jpg": "train", "images/val/a.jpg": "val"}


@pytest.mark.parametrize("base", ["./images/train/a.jpg", "images/train/a.jpg", "{root}/images/train/a.jpg"])
def test_lists_of_images(root: Path, base: str):
    put(root, "images/train/a.jpg")
    put(root, "images/train/b.jpg")
    (root / "train.txt").write_text(f"\ufeff{base.format(root=root)}\r\n\r\n")
    (root / "data.yaml").write_text(f"train: train.txt\n{NAMES}")

    assert [entry.file for entry in tell(root, "yolo").entries] == ["images/train/a.jpg"]


def test_a_list_in_a_folder_of_its_own(root: Path):
    put(root, "obj_train_data/a.jpg")
    put(root, "lists/images/b.jpg")
    (root / "lists/train.txt").write_text("obj_train_data/a.jpg\n./images/b.jpg")
    (root / "data.yaml").write_text(f"train: lists/train.txt\n{NAMES}")

    told = tell(root, "yolo")

    assert [entry.file for entry in told.entries] == ["obj_train_data/a.jpg", "lists/images/b.jpg"]
    assert all(len(found) == 1 for found in told.annotations.values())


def test_a_line_that_begins_with_a_dot_counts_from_the_list_alone(root: Path):
    put(root, "images/a.jpg")
    Source(root).text("lists/train.txt", "./images/a.jpg")
    (root / "data.yaml").write_text(f"train: lists/train.txt\n{NAMES}")

    report = datasets.validate(root, source="yolo", task="detection")

    assert [one.file for one in report.findings if one.action == "missing"] == ["lists/a.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        f"train: /\n{NAMES}",
        f"train: ../../outside\n{NAMES}",
        f"path: ../outside\ntrain: ../outside/images\n{NAMES}",
        f"train: list.txt\n{NAMES}",
    ],
)
def test_a_folder_leads_nowhere_outside_of_it(root: Path, text: str):
    outside = root.parent / "outside/images/a.jpg"
    put(root.parent, str(outside.relative_to(root.parent)))
    (root / "list.txt").write_text(f"{outside}\n")
    (root / "data.yaml").write_text(text)

    with pytest.raises(DatasetError, match=r"lies outside of the dataset|does not exist"):
        tell(root, "yolo")


def test_a_file_that_is_given_itself_is_trusted(root: Path):
    put(root.parent, "outside/images/a.jpg")
    (root / "mine.yaml").write_text(f"path: {root.parent}/outside\ntrain: images\n{NAMES}")

    told = tell(root / "mine.yaml", "yolo")

    assert boxes(told, "a.jpg") == [BOX]


def test_nothing_is_executed(root: Path):
    (root / "data.yaml").write_text(f"train: images\n{NAMES}download: |\n  open('{root}/ran', 'w')\n")

    with pytest.raises(DatasetError, match=r"train: 'images' does not exist"):
        tell(root, "yolo")
    (root / "data.yaml").write_text(f"train: !!python/object/apply:os.mkdir ['{root}/ran']\n")
    with pytest.raises(DatasetError, match=r"data\.yaml can't be read"):
        tell(root, "yolo")

    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names: {1: dog, 0: cat}", ["cat", "dog"]),
        ("names: {'1': dog, '0': cat}", ["cat", "dog"]),
        ("nc: 2", ["class_0", "class_1"]),
        ("nc: 2\nnames:", ["class_0", "class_1"]),
        ("names: [1, 2]", ["1", "2"]),
        ("names: [cat, cat]", ["cat"]),
    ],
)
def test_the_classes_by_number(root: Path, names: str, classes: list[str]):
    put(root, "images/a.jpg", [ROW, "1 0.5 0.5 0.1 0.1"])
    (root / "data.yaml").write_text(f"train: images\n{names}\n")

    told = tell(root, "yolo")

    assert told.names == classes
    assert [told.names[one.label] for one in told.annotations["a.jpg"]] == [classes[0], classes[-1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: images", "neither names nor nc"),
        ("train: images\nnames: {0: cat, 2: dog}", "must be the numbers from 0 on"),
        ("just text", "is no data.yaml"),
        ("train: 7\nnames: [cat]", "is no data.yaml"),
        ("a: [", "can't be read"),
        ("train: images\nnames: ['\\ud800', \"\\ud800\"]", "half a character"),
        ("train: images\nnc: 1000000000000", "is no data.yaml"),
        (f"train: images\nkpt_shape: [{10**40}, 3]\n{NAMES}", "is no data.yaml"),
        (f"train: {'x' * 5000}\n{NAMES}", "does not exist"),
        (f'path: {"x" * 5000}\ntrain: "a\\0b"\n{NAMES}', "does not exist"),
        ("", "is no data.yaml"),
    ],
)
def test_what_is_no_data_file_is_refused(root: Path, text: str, said: str):
    put(root, "images/a.jpg")
    (root / "data.yaml").write_text(text)

    with pytest.raises(DatasetError, match=re.escape(said)):
        tell(root, "yolo")


def test_a_bomb_of_aliases_does_no_harm(root: Path):
    put(root, "images/a.jpg")
    layers = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30))
    (root / "data.yaml").write_text(f"a0: &a0 [x]\n{layers}train: images\nnames: [*a30]\n")

    with pytest.raises(DatasetError, match="a class has a list for its name"):
        tell(root, "yolo")


@pytest.mark.parametrize("flip", ["[0, 1]", "[0, 2, 2]", "[0, 2, 3]"])
def test_a_mirror_that_names_not_each_keypoint_once_is_passed_over(root: Path, flip: str):
    put(root, "images/a.jpg", ROWS["pose"])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}kpt_shape: [3, 3]\nflip_idx: {flip}\n")

    made = datasets.convert(root, source="yolo", target="yolo", task="pose", to=root.parent / "out")

    assert "flip_idx" not in yaml.safe_load(Path(made).read_text())


SIDES = {
    "words": ([["nose", "Left_Eye", "Right_Eye"]], [0, 2, 1]),
    "letters in front": ([["l_eye", "r_eye", "mill"]], [1, 0, 2]),
    "letters behind": ([["eye.R", "nose", "eye.L"]], [2, 1, 0]),
    "a class with fewer": ([["left", "right", "tip"], ["L", "R"], []], [1, 0, 2]),
    "no sides": ([["nose", "tail", "bright"]], None),
    "half a pair": ([["left eye", "right eye", "left ear"]], None),
    "two orders": ([["left", "right", "tip"], ["tip", "left", "right"]], None),
    "one name twice": ([["left", "right", "LEFT"]], None),
}


@pytest.mark.parametrize("named", SIDES)
def test_images_are_mirrored_only_where_each_keypoint_has_its_other_side(root: Path, named: str):
    classes, flip = SIDES[named]
    Source(root).image("images/a.jpg")
    categories = [{"id": number, "name": f"c{number}", "keypoints": one} for number, one in enumerate(classes, 1)]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "keypoints": [2, 2, 2] * 3}
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [box], "categories": categories}
    Source(root).json("annotations/instances_train.json", content)

    made = datasets.convert(root, source="coco", target="yolo", task="pose", to=root.parent / "out")

    assert yaml.safe_load(Path(made).read_text()).get("flip_idx") == flip
    told = [one.reason for one in datasets.read_report(made).findings if one.reason.startswith("no flip_idx")]
    assert len(told) == (flip is None)


def test_a_row_of_the_background_is_no_object(root: Path):
    put(root, "images/a.jpg", [ROW, "1 0.5 0.5 0.1 0.1"])
    (root / "data.yaml").write_text("train: images\nnames: [__background__, cat]\n")

    told = tell(root, "yolo")

    assert [told.names[one.label] for one in told.annotations["a.jpg"]] == ["cat"]
    assert counted(told.report) == {}


def test_that_two_numbers_have_one_class_is_told(root: Path):
    put(root, "images/a.jpg")
    (root / "data.yaml").write_text("train: images\nnames: [cat, dog, cat]\n")

    assert tell(root, "yolo").report.count_of("told", "2 numbers have one class") == 1


def test_which_of_two_data_files_is_meant_must_be_said(root: Path):
    put(root, "images/a.jpg")
    for name in ("a.yaml", "b.yaml"):
        (root / name).write_text(f"train: images\n{NAMES}")

    with pytest.raises(DatasetError, match=r"a\.yaml, b\.yaml"):
        tell(root, "yolo")
    assert tell(root / "b.yaml", "yolo").names == ["cat", "dog"]


@pytest.mark.parametrize("listed", ["classes.txt", "labels/classes.txt"])
def test_without_a_data_file_there_are_folders_and_a_list_of_classes(root: Path, listed: str):
    put(root, "images/train/a.jpg")
    put(root, "images/b.jpg")
    Source(root).text(listed, "cat\ndog\n")

    told = tell(root, "yolo")

    assert told.names == ["cat", "dog"]
    assert boxes(told, "a.jpg") == boxes(told, "b.jpg") == [BOX]


def test_without_any_names_it_is_refused(root: Path):
    put(root, "images/a.jpg")

    with pytest.raises(DatasetError, match=r"classes\.txt"):
        tell(root, "yolo")


def test_no_image_is_in_two_splits(root: Path):
    put(root, "images/a.jpg")
    put(root, "images/b.jpg")
    (root / "val.txt").write_text("./images/b.jpg")
    (root / "data.yaml").write_text(f"train: images\nval: val.txt\ntest: images\n{NAMES}")

    told = tell(root, "yolo")

    assert told.report.count_of("told", "test is the same as train") == 1
    assert counted(told.report) == {"repaired": {"image in two splits": 1}}
    assert sorted(told.splits) == ["a.jpg", "b.jpg"]


def test_of_two_folders_one_in_the_other_the_narrower_one_has_its_images(root: Path):
    for image in ("images/a.jpg", "images/val/b.jpg", "images/valley/c.jpg"):
        put(root, image)
    (root / "data.yaml").write_text(f"train: images\nval: images/val\n{NAMES}")

    told = tell(root, "yolo")

    assert {entry.file: told.splits[entry.name] for entry in told.entries} == {
        "images/a.jpg": "train",
        "images/valley/c.jpg": "train",
        "images/val/b.jpg": "val",
    }
    assert counted(told.report) == {"repaired": {"image in two splits": 1}}


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_nothing_in_the_file_of_labels_is_a_background(root: Path, content: bytes):
    put(root, "images/a.jpg")
    put(root, "images/none.jpg")
    (root / "labels/none.txt").unlink()
    (root / "labels/a.txt").write_bytes(content)
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    told = tell(root, "yolo")

    assert told.annotations == {"a.jpg": [], "none.jpg": []}
    assert counted(told.report) == {}


POLYGON = "0 0.1 0.125 0.4 0.125 0.4 0.375"
GOOD = {
    "a byte order mark": ("\ufeff" + ROW, "detection"),
    "a class as a float": ("0.0" + ROW[1:], "detection"),
    "tabs and spaces": (f"  {ROW.replace(' ', chr(9))}  ", "detection"),
    "a polygon": (POLYGON, "detection"),
    "corners": ("0 0.1 0.125 0.4 0.125 0.4 0.375 0.1 0.375", "detection"),
}


@pytest.mark.parametrize("good", GOOD)
def test_rows_of_every_kind_are_boxes(root: Path, good: str):
    row, task = GOOD[good]
    put(root, "images/a.jpg", [row])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    told = tell(root, "yolo", task)

    assert boxes(told, "a.jpg") == [BOX]
    assert counted(told.report) == {}


def test_an_oriented_box_may_be_over_the_edge(root: Path):
    put(root, "images/a.jpg", ["0 0.9 0.1 1.05 0.2 0.9 0.4 0.8 0.3"])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    told = tell(root, "yolo", "obb")

    assert told.annotations["a.jpg"][0].corners == [90, 8, 105, 16, 90, 32, 80, 24]
    assert counted(tell(root, "yolo").report) == {"dropped": {"its numbers are no shares of the image": 1}}


BAD = {
    "NaN": "0 nan 0.5 0.1 0.1",
    "infinity": "0 0.5 inf 0.1 0.1",
    "a class that is none": "2 0.5 0.5 0.1 0.1",
    "a negative class": "-1 0.5 0.5 0.1 0.1",
    "half a class": "0.5 0.5 0.5 0.1 0.1",
    "words": "cat 0.5 0.5 0.1 0.1",
    "pixels": "0 320 240 64 48",
    "negative numbers": "0 -0.2 0.5 0.1 0.1",
    "four columns": "0 0.5 0.5 0.1",
    "six columns": "0 0.5 0.5 0.1 0.1 0.9",
    "a polygon with half a point": "0 0.1 0.1 0.4 0.1 0.4 0.4 0.2",
    "the same again": ROW,
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_costs_only_itself(root: Path, bad: str):
    put(root, "images/a.jpg", [ROW, BAD[bad], "1 0.5 0.5 0.5 0.5"])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    told = tell(root, "yolo")

    assert boxes(told, "a.jpg") == [BOX, ("dog", (25, 20, 75, 60))]
    (finding,) = told.report.findings[-1:]
    assert (finding.action, finding.file, finding.annotation) == ("dropped", "labels/a.txt", "#2")


def test_bytes_that_are_no_text_are_bad_rows(root: Path):
    put(root, "images/a.jpg")
    (root / "labels/a.txt").write_bytes(b"\xff\xfe\x00\n" + ROW.encode())
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    assert boxes(tell(root, "yolo"), "a.jpg") == [BOX]


def test_only_the_classes_asked_for_come_in_that_order(root: Path):
    put(root, "images/a.jpg", [ROW, "1 0.5 0.5 0.5 0.5"])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    told = tell(root, "yolo", classes=["dog"])

    assert boxes(told, "a.jpg") == [("dog", (25, 20, 75, 60))]
    assert counted(told.report) == {"dropped": {"of a class that was not asked for": 1}}


@pytest.mark.parametrize(
    ("dimensions", "points", "expected"),
    [
        (3, "0.2 0.25 2 0.3 0.25 1 0 0 0", [20, 20, 2, 30, 20, 1, 0, 0, 0]),
        (2, "0.2 0.25 0.3 0.25 0 0", [20, 20, 2, 30, 20, 2, 0, 0, 0]),
    ],
)
def test_keypoints_with_and_without_visibility(root: Path, dimensions: int, points: str, expected: list[float]):
    put(root, "images/a.jpg", [f"{ROW} {points}", ROW])
    (root / "data.yaml").write_text(f"train: images\n{NAMES}kpt_shape: [3, {dimensions}]\n")

    told = tell(root, "yolo", "pose")

    assert told.classes[0].keypoints == ("0", "1", "2")
    assert told.annotations["a.jpg"][0].keypoints == pytest.approx(expected)
    assert counted(told.report) == {"dropped": {"a row of 5 columns": 1}}
    assert boxes(tell(root, "yolo"), "a.jpg") == [BOX, BOX], "for boxes, the points are left out"


def test_pose_needs_the_number_of_keypoints(root: Path):
    put(root, "images/a.jpg")
    (root / "data.yaml").write_text(f"train: images\n{NAMES}")

    with pytest.raises(DatasetError, match="kpt_shape"):
        tell(root, "yolo", "pose")


def test_a_stratified_split_sees_the_labels(root: Path):
    for number in range(10):
        put(root, f"images/{number}.jpg", [f"{int(number < 2)} 0.5 0.5 0.1 0.1"])
    (root / "classes.txt").write_text("cat\ndog\n")

    told = tell(root, "yolo", split=datasets.Split(ratios=(0.5, 0.5), stratify=True))

    assert {told.splits["0.jpg"], told.splits["1.jpg"]} == {"train", "val"}


@pytest.mark.parametrize("task", ROWS)
@pytest.mark.parametrize("way", ["coco", "labelme", "yolo"])
def test_rows_come_back_as_they_were(root: Path, task: str, way: str):
    put(root, "images/train/a.jpg", ROWS[task])
    put(root, "images/train/b.jpg", [])
    put(root, "images/val/c.jpg", ROWS[task])
    pose = "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\nkpt_names: {0: [tip, a, b], 1: [tip, a, b]}\n"
    (root / "data.yaml").write_text(PLAIN + (pose if task == "pose" else ""))

    between = datasets.convert(root, source="yolo", target=way, task=task, to=root.parent / "between")
    folder = Path(between).parent if between.endswith(".yaml") else between
    back = Path(datasets.convert(folder, source=way, target="yolo", task=task, to=root.parent / "back"))

    for name, rows in {"train/a": ROWS[task], "train/b": [], "val/c": ROWS[task]}.items():
        text = (back.parent / f"labels/{name}.txt").read_text()
        if task == "obb" and way == "coco":  # which has no corners: they may begin elsewhere
            assert sorted(text.split()) == sorted(" ".join(rows).split())
        else:
            assert text.splitlines() == rows
    data = yaml.safe_load(back.read_text())
    assert data["names"] == {0: "cat", 1: "dog"}
    if task == "pose":
        assert data["kpt_names"][0] == ["tip", "a", "b"]
    if task == "pose" and way == "yolo":
        assert data["flip_idx"] == [0, 2, 1]


@pytest.mark.parametrize("task", ["detection", "segmentation", "obb"])
def test_what_is_read_is_what_ultralytics_reads(root: Path, task: str):
    pytest.importorskip("ultralytics")
    random.seed(task)
    sizes = {"detection": [4], "segmentation": [6, 8, 30], "obb": [8]}[task]
    for number in range(20):
        rows = {
            " ".join(
                [str(random.randrange(2)), *(f"{random.uniform(0.3, 0.7):.5f}" for _ in range(random.choice(sizes)))]
            )
            for _ in range(random.randrange(6))
        }
        put(root, f"images/train/{number}.jpg", sorted(rows))
    put(root, "images/val/v.jpg", ROWS[task])
    (root / "data.yaml").write_text(f"path: {root}\n{PLAIN}")

    told = tell(root, "yolo", task)
    found = read_yolo(root / "data.yaml", task)

    for seen in found.images:
        if seen.split != "train":
            continue
        ours = sorted(
            (told.names[one.label], one.box or bounds(one.polygons or [one.corners or ()]))
            for one in told.annotations[seen.path.name]
        )
        theirs = sorted((thing.name, thing.box) for thing in seen.things if thing.box)
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        for (_, one), (_, other) in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other, abs=0.01 * SIZE[0])
