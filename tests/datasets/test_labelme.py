"""LabelMe's files: every type of shape, and whatever the app and its relatives write."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.datasets.cases.labelme import CAT, LabelMe, png, rectangle, shape
from tests.datasets.cases.model import SIZE, Source
from tests.datasets.reading import counted, tell
from trainer_hooks import datasets
from trainer_hooks.datasets.arrays import mask_bounds, to_pixels
from trainer_hooks.datasets.report import read_report
from trainer_hooks.errors import DatasetError

CAT_BOX = ("cat", (10, 10, 40, 30))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def to(root: Path) -> LabelMe:
    return LabelMe(Source(root))


ENCLOSING = {
    "polygon": (shape("cat", "polygon", [[10, 10], [40, 10], [40, 30]]), (10, 10, 40, 30)),
    "rectangle": (rectangle("cat", 40, 10, 10, 30), (10, 10, 40, 30)),
    "circle": (shape("cat", "circle", [[50, 40], [62, 56]]), (30, 20, 70, 60)),
    "oriented_rectangle": (
        shape("cat", "oriented_rectangle", [[50, 10], [90, 40], [72, 64], [32, 34]]),
        (32, 10, 90, 64),
    ),
    "mask": (shape("cat", "mask", [[20, 10], [59, 49]], mask=png(Image.new("L", (40, 40), 255))), (20, 10, 60, 50)),
}


@pytest.mark.parametrize("kind", ENCLOSING)
def test_what_encloses_something_is_a_box(to: LabelMe, root: Path, kind: str):
    drawn, box = ENCLOSING[kind]
    to.file("a.jpg", [drawn])

    told = tell(root, "labelme")

    assert told.boxes("a.jpg") == [("cat", box)]
    assert counted(told.report) == {}


@pytest.mark.parametrize("kind", ["line", "linestrip", "points", "point"])
def test_what_encloses_nothing_is_named_as_not_held(to: LabelMe, root: Path, kind: str):
    to.file("a.jpg", [shape("edge", kind, [[5, 5], [50, 50]]), CAT])

    told = tell(root, "labelme")

    assert told.boxes("a.jpg") == [CAT_BOX]
    assert told.names == ["cat"], "a label of lines alone is no class"
    assert counted(told.report) == {"not held": {kind: 1}}


def test_outlines_are_as_drawn(to: LabelMe, root: Path):
    to.file("a.jpg", [ENCLOSING[kind][0] for kind in ("polygon", "oriented_rectangle", "circle")])

    polygon, oriented, circle = tell(root, "labelme", "segmentation").annotations["a.jpg"]

    assert polygon.polygons == [[10, 10, 40, 10, 40, 30]]
    assert oriented.corners == [50, 10, 90, 40, 72, 64, 32, 34]
    assert circle.polygons is not None
    (ring,) = circle.polygons
    assert all(
        math.isclose(math.dist((50, 40), point), 20, abs_tol=0.01) for point in zip(ring[0::2], ring[1::2], strict=True)
    )


def test_a_mask_lies_where_its_points_say_and_is_cut_at_the_edge(to: LabelMe, root: Path):
    pixels = Image.new("L", (40, 40), 0)
    pixels.paste(255, (0, 0, 40, 20))
    to.file("a.jpg", [shape("cat", "mask", [[80, 50], [119, 89]], mask=png(pixels))])

    (found,) = tell(root, "labelme", "segmentation").annotations["a.jpg"]

    assert found.mask is not None
    assert (found.mask.width, found.mask.height) == SIZE
    assert mask_bounds(found.mask) == (80, 50, 100, 70)


@pytest.mark.parametrize(
    "mask", [None, "", "no Base64!", "aGVsbG8=", png(Image.new("L", (7, 7), 255))], ids=["none", "empty", "a", "b", "c"]
)
def test_a_mask_that_cannot_be_one_is_dropped_alone(to: LabelMe, root: Path, mask: str | None):
    to.file("a.jpg", [shape("dog", "mask", [[20, 10], [59, 49]], mask=mask), CAT])

    told = tell(root, "labelme", "segmentation")

    assert told.boxes("a.jpg") == [CAT_BOX]
    assert told.report.count_of("dropped") == 1


def test_the_parts_of_a_group_are_one_object(to: LabelMe, root: Path):
    left, right = [[10, 10], [30, 10], [30, 40]], [[50, 20], [80, 20], [80, 70]]
    to.file(
        "a.jpg",
        [
            shape("cat", "polygon", left, group_id=1),
            shape("dog", "polygon", left, group_id=1),
            shape("cat", "polygon", right, group_id=1),
            shape("cat", "polygon", left, group_id=2),
        ],
    )

    assert tell(root, "labelme").boxes("a.jpg") == [
        ("cat", (10, 10, 80, 70)),
        ("dog", (10, 10, 30, 40)),
        ("cat", (10, 10, 30, 40)),
    ]
    outlined = tell(root, "labelme", "segmentation").annotations["a.jpg"]
    assert outlined[0].polygons == [[10, 10, 30, 10, 30, 40], [50, 20, 80, 20, 80, 70]]


def test_masks_of_a_group_are_united_and_one_with_a_polygon_becomes_outlines(to: LabelMe, root: Path):
    def part(left: int, group: int) -> dict[str, Any]:
        full = png(Image.new("L", (10, 10), 255))
        return shape("cat", "mask", [[left, 0], [left + 9, 9]], mask=full, group_id=group)

    polygon = shape("cat", "polygon", [[50, 50], [60, 50], [60, 60]], group_id=2)
    to.file("a.jpg", [part(0, 1), part(20, 1), part(0, 2), polygon])

    masks, mixed = tell(root, "labelme", "segmentation").annotations["a.jpg"]

    assert masks.mask is not None
    assert to_pixels(masks.mask).sum() == 200
    assert mixed.mask is None
    assert mixed.polygons is not None
    assert [sorted({*ring}) for ring in mixed.polygons] == [[0, 10], [50, 60]]


@pytest.mark.parametrize("task", ["segmentation", "obb"])
def test_rectangles_of_a_group_keep_their_outlines(to: LabelMe, root: Path, task: str):
    to.file("a.jpg", [rectangle("cat", 5, 5, 15, 15, group_id=1), rectangle("cat", 70, 60, 90, 75, group_id=1)])

    (found,) = tell(root, "labelme", task).annotations["a.jpg"]

    assert found.polygons is not None
    assert [(min(ring), max(ring)) for ring in found.polygons] == [(5, 15), (60, 90)]
    assert tell(root, "labelme").boxes("a.jpg") == [("cat", (5, 5, 90, 75))]


def test_a_mask_larger_than_its_image_is_not_decoded(to: LabelMe, root: Path):
    full = png(Image.new("L", (1000, 80), 255))
    to.file("a.jpg", [shape("cat", "mask", [[0, 0], [999, 79]], mask=full), CAT])

    told = tell(root, "labelme", "segmentation")

    assert len(told.annotations["a.jpg"]) == 1
    assert counted(told.report) == {"dropped": {"its mask has 1000 x 80 pixels, its image 100 x 80": 1}}


def test_holes_of_a_mask_are_told_where_they_are_filled(to: LabelMe, root: Path):
    drawn = Image.new("L", (40, 40), 255)
    drawn.paste(0, (15, 15, 25, 25))
    to.file("a.jpg", [shape("cat", "mask", [[20, 10], [59, 49]], mask=png(drawn))])

    made = datasets.convert(root, source="labelme", target="yolo", task="segmentation", to=root.parent / "out")

    assert counted(read_report(made)) == {"not held": {"holes of a mask": 1}}


def test_as_many_keypoints_are_written_as_there_are_by_their_number_where_they_have_no_name(root: Path):
    Source(root).image("images/a.jpg")
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "keypoints": [2, 2, 2]},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9], "keypoints": [2, 2, 2, 0, 0, 0, 4, 4, 1]},
    ]
    categories = [{"id": 1, "name": "cat", "keypoints": ["tip", "a", "b"]}, {"id": 2, "name": "dog"}]
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": boxes, "categories": categories}
    Source(root).json("annotations/instances_train.json", content)

    made = datasets.convert(root, source="coco", target="labelme", task="pose", to=root.parent / "out")

    shapes = json.loads((Path(made) / "train/a.json").read_text())["shapes"]
    assert [one["label"] for one in shapes] == ["cat", "tip", "dog", "1", "3"]


def test_points_of_an_objects_group_are_its_keypoints(to: LabelMe, root: Path):
    to.file(
        "a.jpg",
        [
            shape("tail", "point", [[35, 25]], group_id=7),
            rectangle("cat", 10, 10, 40, 30, group_id=7),
            shape("nose", "point", [[15, 15]], group_id=7, flags={"occluded": True}),
            shape("nose", "point", [[16, 16]], group_id=7),
            shape("nose", "point", [[1, 1]], group_id=8),
            shape("nose", "point", [[2, 2]]),
        ],
    )

    told = tell(root, "labelme", "pose")

    assert told.classes[0].keypoints == ("nose", "tail")
    assert told.annotations["a.jpg"][0].keypoints == [15, 15, 1, 35, 25, 2]
    assert counted(told.report) == {
        "dropped": {"a keypoint that the object has already": 1},
        "not held": {"point": 2},
    }


def test_keypoints_that_are_numbers_are_in_the_order_of_numbers(to: LabelMe, root: Path):
    points = [shape(str(number), "point", [[number, number]], group_id=1) for number in (10, 2, 1)]
    to.file("a.jpg", [rectangle("cat", 0, 0, 40, 30, group_id=1), *points])

    assert tell(root, "labelme", "pose").classes[0].keypoints == ("1", "2", "10")


def test_flags_tell_what_an_image_shows_and_else_its_labels_do(to: LabelMe, root: Path):
    to.file("a.jpg", [CAT], flags={"night": True, "day": False})
    to.file("b.jpg", [CAT, CAT])
    to.file("c.jpg", [shape("dog", "point", [[0, 0]])], task_type="cls")
    to.file("d.jpg", [])

    told = tell(root, "labelme", "classification")

    assert told.names == ["cat", "dog", "night"]
    assert {name: [told.names[one.label] for one in found] for name, found in told.annotations.items()} == {
        "a.jpg": ["night"],
        "b.jpg": ["cat"],
        "c.jpg": ["dog"],
        "d.jpg": [],
    }


def test_flags_and_description_of_a_shape_are_its_attributes(to: LabelMe, root: Path):
    to.file("a.jpg", [rectangle("cat", 10, 10, 40, 30, flags={"wet": True, "dry": False}, description="on a mat")])

    (found,) = tell(root, "labelme").annotations["a.jpg"]

    assert found.attributes == {"wet": True, "description": "on a mat"}


@pytest.mark.parametrize(
    ("image", "notes", "said"),
    [
        ("a.jpg", "a.json", "a.jpg"),
        ("a.jpg", "a.json", "C:\\data\\a.jpg"),
        ("a.jpg", "a.json", "/etc/a.jpg"),
        ("a.jpg", "a.json", "../../other.jpg"),
        ("a.PNG", "a.json", None),
        ("images/a.jpg", "labels/a.json", "a.jpg"),
        ("images/train/a.jpg", "labels/train/a.json", "../../images/train/a.jpg"),
        ("part/images/a.jpg", "part/labels/a.json", "a.jpg"),
        ("part/images/a.jpg", "part/a.json", "a.jpg"),
        ("images/a.jpg", "deep/er/a.json", "a.jpg"),
        ("a.jpg", "notes/a.json", "a.jpg"),
    ],
)
def test_the_image_is_found_by_its_name_alone(to: LabelMe, root: Path, image: str, notes: str, said: str | None):
    to.file(image, [CAT], path=notes, imagePath=said)

    (entry,) = tell(root, "labelme").entries

    assert entry.file == image


def test_an_image_that_is_found_far_from_its_file_is_told(to: LabelMe, root: Path):
    to.file("1.jpg", [CAT], path="site2/1.json")
    to.file("images/site3/2.jpg", [CAT], path="labels/site3/2.json")
    to.file("3.jpg", [CAT])

    (finding,) = tell(root, "labelme").report.findings

    assert (finding.action, finding.file, finding.detail) == ("told", "site2/1.json", "1.jpg")


def test_images_without_a_file_are_told(to: LabelMe, root: Path):
    to.file("1.jpg", [CAT])
    to.to.image("sub/3.jpg")
    to.to.image("2.jpg")

    findings = tell(root, "labelme").report.findings

    (found,) = [one for one in findings if one.reason == "images without a file of shapes are left out"]
    assert (found.action, found.detail) == ("told", "2: 2.jpg, …")


def test_an_image_that_is_nowhere_is_missing(to: LabelMe, root: Path):
    to.file("a.jpg", [CAT])
    (root / "a.jpg").unlink()

    with pytest.raises(DatasetError, match=r"a\.jpg: there is no such image"):
        datasets.convert(root, source="labelme", target="yolo", task="detection", to=root.parent / "out")


def test_what_a_file_says_of_its_split_goes_before_its_folder(to: LabelMe, root: Path):
    to.file("train/a.jpg", [CAT])
    to.file("train/b.jpg", [CAT], split="val")
    to.file("valid/images/c.jpg", [CAT], split="none")
    to.file("test/d.jpg", [CAT])

    assert tell(root, "labelme").splits == {"a.jpg": "train", "b.jpg": "val", "c.jpg": "val", "d.jpg": "test"}


def test_the_same_name_in_two_splits_stays_two_images(to: LabelMe, root: Path):
    to.file("train/1.jpg", [CAT])
    to.file("val/1.jpg", [CAT])

    assert tell(root, "labelme").splits == {"1.jpg": "train", "val/1.jpg": "val"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.json", ["_background_", "dog", "cat"]),
        ("classes.json", {"dog": 0, "cat": 1}),
        ("classes.json", {"1": "cat", "0": "dog"}),
        ("classes.json", [{"name": "cat", "id": 9}, {"name": "dog", "id": 3}]),
        (
            "label_map.json",
            {"task_type": "det", "class_summary": {"classes": [{"name": "cat", "idx": 2}, {"name": "dog", "idx": 1}]}},
        ),
        ("labels.txt", "__ignore__\n_background_\ndog\ncat\n"),
    ],
)
def test_the_order_of_the_classes_is_that_of_their_list(to: LabelMe, root: Path, name: str, content: Any):
    to.file("a.jpg", [CAT, rectangle("ant", 1, 1, 5, 5)])
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))

    told = tell(root, "labelme")

    assert told.names == ["dog", "cat", "ant"]
    assert told.boxes("a.jpg") == [CAT_BOX, ("ant", (1, 1, 5, 5))]
    assert not told.report.counts.get("told", {}).keys() & {"it is no LabelMe file: it has no shapes"}


@pytest.mark.parametrize("content", [3, [1, 2], {"a": "b"}, {"classes": "cat"}])
def test_a_list_of_classes_that_is_none_is_refused(to: LabelMe, root: Path, content: Any):
    to.file("a.jpg", [CAT])
    (root / "classes.json").write_text(json.dumps(content))

    with pytest.raises(DatasetError, match=r"classes\.json can't be used"):
        tell(root, "labelme")


def test_only_the_classes_asked_for_come_in_that_order(to: LabelMe, root: Path):
    to.file("a.jpg", [CAT, rectangle("ant", 1, 1, 5, 5), rectangle("_background_", 1, 1, 5, 5)])
    to.file("b.jpg", [rectangle("dog", 1, 1, 5, 5)])

    told = tell(root, "labelme", classes=["dog", "cat"])

    assert told.names == ["dog", "cat"]
    assert told.boxes("a.jpg") == [CAT_BOX]
    assert counted(told.report) == {"dropped": {"of a class that was not asked for": 1}}


BAD = {
    "NaN": shape("dog", "polygon", [[math.nan, 10], [60, 10], [60, 50]]),
    "infinity": shape("dog", "rectangle", [[math.inf, 10], [60, 10]]),
    "no label": {"label": None, "shape_type": "polygon", "points": [[5, 10], [60, 10], [60, 50]]},
    "points of text": shape("dog", "polygon", [["a", "b"]]),
    "points of three numbers": shape("dog", "polygon", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    "not even an object": 7,
    "two points": shape("dog", "polygon", [[5, 5], [50, 50]]),
    "one corner": shape("dog", "rectangle", [[5, 5]]),
    "no point": shape("dog", "rectangle", []),
    "three corners": shape("dog", "oriented_rectangle", [[5, 5], [50, 5], [50, 50]]),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_shape_costs_only_itself(to: LabelMe, root: Path, bad: str):
    to.file("a.jpg", [BAD[bad], CAT])

    told = tell(root, "labelme")

    assert told.boxes("a.jpg") == [CAT_BOX]
    assert told.report.count_of("dropped") == 1
    (finding,) = told.report.findings[-1:]
    assert (finding.file, finding.annotation) == ("a.json", "#1")


def test_odd_types_of_other_fields_and_a_byte_order_mark_cost_nothing(to: LabelMe, root: Path):
    to.file("a.jpg", [{**CAT, "label": 3}], imageHeight="80", flags=[], split=4, version=5)
    content = (root / "a.json").read_bytes()
    (root / "a.json").write_bytes(b"\xef\xbb\xbf" + content)

    told = tell(root, "labelme")

    assert told.boxes("a.jpg") == [("3", (10, 10, 40, 30))]
    assert counted(told.report) == {}


@pytest.mark.parametrize("bad", ['{"shapes": [', "", "[" * 100_000], ids=["cut off", "empty", "deep"])
def test_a_file_that_is_no_json_counts_as_missing(to: LabelMe, root: Path, bad: str):
    to.file("a.jpg", [CAT])
    to.file("b.jpg", [CAT])
    (root / "b.json").write_text(bad)
    (root / "c.json").write_text('{"hello": "world"}')

    with pytest.raises(DatasetError, match=r"b\.json"):
        datasets.convert(root, source="labelme", target="yolo", task="detection", to=root.parent / "out")
    told = tell(root, "labelme", max_missing=1)

    assert list(told.annotations) == ["a.jpg"]
    assert told.report.count_of("missing") == 1
    assert told.report.count_of("told", "it is no LabelMe file: it has no shapes") == 1


def test_half_a_character_is_a_question_mark(to: LabelMe, root: Path):
    to.file("a.jpg", [rectangle("cat", 10, 10, 40, 30, description="HALF")])
    text = (root / "a.json").read_text()
    (root / "a.json").write_text(text.replace("HALF", "\\ud800"))

    (found,) = tell(root, "labelme").annotations["a.jpg"]

    assert found.attributes == {"description": "?"}


def test_of_two_files_for_one_image_the_first_counts(to: LabelMe, root: Path):
    to.file("a.jpg", [CAT])
    to.file("a.jpg", [], path="b.json")

    told = tell(root, "labelme")

    assert told.boxes("a.jpg") == [CAT_BOX]
    assert counted(told.report) == {"dropped": {"another file tells of the same image": 1}}


def test_one_file_is_a_dataset(to: LabelMe, root: Path):
    to.file("a.jpg", [CAT])
    to.file("b.jpg", [CAT])

    assert list(tell(root / "a.json", "labelme").annotations) == ["a.jpg"]


def test_a_stratified_split_sees_the_labels(to: LabelMe, root: Path):
    for number in range(10):
        to.file(f"{number}.jpg", [rectangle("rare" if number < 2 else "common", 1, 1, 9, 9)])

    told = tell(root, "labelme", split=datasets.Split(ratios=(0.5, 0.5), stratify=True))

    assert {told.splits["0.jpg"], told.splits["1.jpg"]} == {"train", "val"}


def blob() -> Image.Image:
    image = Image.new("L", (40, 30), 0)
    ImageDraw.Draw(image).ellipse((0, 0, 39, 29), fill=255)
    return image


ROUND = {
    "detection": [
        rectangle("cat", 10.5, 10, 40, 30, flags={"wet": True}, description="x"),
        rectangle("dog", 1, 1, 9, 9),
    ],
    "segmentation": [
        shape("cat", "polygon", [[10, 10], [40, 10], [40, 30.25]]),
        shape("dog", "polygon", [[10, 10], [30, 10], [30, 40]], group_id=2),
        shape("dog", "polygon", [[50, 20], [80, 20], [80, 70]], group_id=2),
        shape("cat", "mask", [[20, 10], [59, 39]], mask=png(blob())),
    ],
    "obb": [shape("cat", "oriented_rectangle", [[50, 10], [90, 40], [72, 64], [32, 34]])],
    "pose": [
        rectangle("cat", 10, 10, 40, 30, group_id=1),
        shape("nose", "point", [[12, 12]], group_id=1),
        shape("tail", "point", [[30, 30]], group_id=1, flags={"occluded": True}),
        rectangle("cat", 50, 10, 80, 30, group_id=2),
        shape("nose", "point", [[55, 12]], group_id=2),
    ],
}


@pytest.mark.parametrize("task", ROUND)
def test_what_is_written_is_read_as_the_same(to: LabelMe, root: Path, task: str):
    to.file("deep/a.jpg", ROUND[task])
    to.file("b.jpg", [])

    out = Path(datasets.convert(root, source="labelme", target="labelme", task=task, to=root.parent / "out"))
    before, after = tell(root, "labelme", task), tell(out, "labelme", task)

    assert after.annotations.keys() == before.annotations.keys()
    assert after.splits == before.splits
    assert after.classes == before.classes
    for name, found in before.annotations.items():
        assert [(one.label, one.box, one.polygons, one.mask, one.corners) for one in after.annotations[name]] == [
            (one.label, one.box, one.polygons, one.mask, one.corners) for one in found
        ]
        assert [one.keypoints or [0.0] * 6 for one in after.annotations[name]] == [
            one.keypoints or [0.0] * 6 for one in found
        ]
        assert [one.attributes for one in after.annotations[name]] == [one.attributes for one in found]
    assert counted(read_report(out)) == {}


def test_flags_are_written_for_all_classes(to: LabelMe, root: Path):
    to.file("a.jpg", [], flags={"day": True})
    to.file("b.jpg", [], flags={"night": True})

    out = Path(datasets.convert(root, source="labelme", target="labelme", task="classification", to=root.parent / "o"))

    (written,) = out.rglob("a.json")
    assert json.loads(written.read_bytes())["flags"] == {"day": True, "night": False}


def test_a_written_file_has_what_the_app_asks_for(to: LabelMe, root: Path):
    to.file("a.jpg", ROUND["segmentation"])

    out = Path(datasets.convert(root, source="labelme", target="labelme", task="segmentation", to=root.parent / "out"))

    (path,) = out.rglob("a.json")
    written = json.loads(path.read_bytes())
    assert written.keys() == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert (path.parent / written["imagePath"]).is_file()
    assert (written["imageWidth"], written["imageHeight"]) == SIZE
    asked = {"label", "points", "group_id", "shape_type", "flags", "description", "mask"}
    assert all(one.keys() == asked for one in written["shapes"])
