"""DICE: all that platforms have written under this name, and what is written for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.making import Found, picture, put, read
from trainer_hooks.datasets import Split, convert, read_report
from trainer_hooks.errors import DatasetError

CLASSES = [{"id": 0, "name": "__background__"}, {"id": 4, "name": "scratch"}, {"id": 9, "name": "dent"}]
BOX = [20, 10, 60, 40]
AS_BOX = (20, 10, 80, 50)
SQUARE = [20.0, 10.0, 80.0, 10.0, 80.0, 50.0, 20.0, 50.0]


def nested(*annotations: Any, **more: Any) -> dict[str, Any]:
    """A dataset of one image that holds these."""
    image = {"id": 1, "file_name": "a.png", "width": 200, "height": 100, "annotations": list(annotations)}
    return {"classes": CLASSES, "images": [image], **more}


def of_one(tmp_path: Path, annotation: Any, task: str = "detection") -> Found:
    """What is read of a dataset with this annotation."""
    return read(put(tmp_path / "annotations.json", nested(annotation)), "dice", task)


def scratch(**more: Any) -> dict[str, Any]:
    return {"id": 10, "class_id": 4, **more}


# Variants and files


def test_images_hold_their_annotations_be_the_first_one_without_any_key_for_them(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png"},
        {"id": 2, "file_name": "b.png", "annotations": [scratch(bbox=BOX), {"id": 11, "class_id": 9, "bbox": BOX}]},
    ]
    found = read(put(tmp_path / "annotations.json", {"classes": CLASSES, "images": images}), "dice")
    assert found.names == ["scratch", "dent"]
    assert found.annotations["a.png"] == []
    assert found.objects("b.png") == [("scratch", AS_BOX), ("dent", AS_BOX)]


def test_annotations_stand_beside_the_images_as_in_coco(tmp_path: Path) -> None:
    content = {
        "categories": CLASSES,
        "images": [{"id": "5f0c-aa", "file_name": "a.png"}, {"id": "7", "file_name": "b.png"}],
        "annotations": [
            {"id": "x-1", "image_id": "5f0c-aa", "category_id": 9, "bbox": BOX},
            {"id": "x-2", "image_id": 7, "class_id": "4", "bbox": BOX},
        ],
    }
    found = read(put(tmp_path / "annotations.json", content), "dice")
    assert found.objects("a.png") == [("dent", AS_BOX)]
    assert found.objects("b.png") == [("scratch", AS_BOX)]
    assert found.annotations["a.png"][0].id == "x-1"


def test_a_file_with_both_gives_both_and_no_number_twice(tmp_path: Path) -> None:
    content = nested(scratch(bbox=BOX), scratch(bbox=BOX))
    content["annotations"] = [{"image_id": 1, "class_id": 9, "bbox": BOX}]
    found = read(put(tmp_path / "annotations.json", content), "dice").annotations["a.png"]
    assert [(one.number, one.label) for one in found] == [(1, 0), (2, 0), (3, 1)]


def test_an_earlier_draft_has_one_class_for_the_whole_image(tmp_path: Path) -> None:
    content = {
        "classes": ["good", "bad"],
        "images": [
            {"id": 1, "file_name": "a.png", "annotation": {"class_id": 1, "class_name": "bad", "confidence": 1}}
        ],
    }
    found = read(put(tmp_path / "annotations_classification.json", content), "dice", "classification")
    assert found.objects("a.png") == [("bad", None)]


def test_an_earlier_drafts_mask_in_a_file_of_its_own_is_told_of(tmp_path: Path) -> None:
    annotation = {"mask_file": "masks/a.png", "mask_format": "png", "num_classes": 2}
    content = {"classes": ["good"], "images": [{"id": 1, "file_name": "a.png", "annotation": annotation}]}
    found = read(put(tmp_path / "annotations.json", content), "dice", "segmentation")
    assert found.report.counts == {"not held": {"a mask in a file of its own": 1}, "told": found.report.counts["told"]}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("detection", "annotations_detection.json"),
        ("object_detection", "annotations_detection.json"),
        ("instance_segmentation", "annotations_segmentation.json"),
        ("pose_estimation", "annotations_pose.json"),
        ("pose", "annotations_pose_estimation.json"),
        ("image_classification", "annotations_classification.json"),
    ],
)
def test_each_task_has_its_file(tmp_path: Path, task: str, name: str) -> None:
    put(tmp_path / "annotations.json", {"classes": ["other"], "images": [{"id": 1, "file_name": "other.png"}]})
    put(tmp_path / name, nested(scratch(bbox=BOX, keypoints=[1, 2, 2])))
    assert read(tmp_path, "dice", task).names == ["scratch", "dent"]


def test_another_tasks_file_is_not_taken_but_named(tmp_path: Path) -> None:
    put(tmp_path / "annotations_pose.json", nested())
    with pytest.raises(DatasetError, match=r"no annotations_detection\.json .* but annotations_pose\.json"):
        read(tmp_path, "dice")
    assert read(tmp_path / "annotations_pose.json", "dice").names == ["scratch", "dent"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"data_summary": []}', "no images at its top"),
        ("[]", "Expected `object`, got `array`"),
        ("", "it is empty"),
        ('{"images": [', "not valid JSON at byte|truncated"),
        ('{"images": {}, "classes": ["a"]}', "no array"),
        ('{"images": [{"id": 1, "file_name": "a.png"}]}', "names no class"),
        ('{"images": [], "classes": [{"id": 1}]}', "missing required field `name`"),
        ('{"images": [], "classes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "two categories have the id 1"),
        ('{"images": [], "classes": ["a"]}', "holds no image"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    put(tmp_path / "annotations.json", content)
    with pytest.raises(DatasetError, match=said) as failure:
        read(tmp_path, "dice")
    assert "annotations.json" in str(failure.value) or str(tmp_path) in str(failure.value)


# Classes


def test_a_class_is_known_by_its_id_or_else_by_its_name(tmp_path: Path) -> None:
    content = {
        "classes": [{"id": 1, "name": "5"}, {"id": 5, "name": "1"}],
        "images": [
            {"id": 1, "file_name": "a.png", "annotations": [{"class_id": 5}, {"class_name": "5"}, {"category_id": "5"}]}
        ],
    }
    found = read(put(tmp_path / "annotations.json", content), "dice", "classification")
    assert [found.names[one.label] for one in found.annotations["a.png"]] == ["1", "5", "1"]


@pytest.mark.parametrize(
    "background",
    [
        {"class_id": 0},
        {"class_id": -1, "class_name": "__background__", "is_background": True},
        {"class_id": -1},
        {"class_name": "__background__"},
        {"class_id": 4, "is_background": True},
    ],
)
def test_background_is_no_object(tmp_path: Path, background: dict[str, Any]) -> None:
    found = of_one(tmp_path, background | {"bbox": BOX})
    assert found.annotations["a.png"] == []
    assert "dropped" not in found.report.counts


def test_a_class_that_nobody_has_declared_is_told_of_and_never_the_first_one(tmp_path: Path) -> None:
    found = read(
        put(tmp_path / "annotations.json", nested({"bbox": BOX}, {"id": "u", "class_id": 77, "bbox": BOX})), "dice"
    )
    assert found.annotations["a.png"] == []
    assert found.report.counts["dropped"] == {"there is no such category": 2}
    assert found.report.findings[-1].annotation == "u"


def test_an_id_and_a_name_of_two_classes_are_told_and_the_id_counts(tmp_path: Path) -> None:
    found = of_one(tmp_path, scratch(class_name="dent", bbox=BOX))
    assert found.objects("a.png") == [("scratch", AS_BOX)]
    assert found.report.counts["told"]["two classes: that of its id counts"] == 1
    same = of_one(tmp_path, scratch(class_name="scratch", bbox=BOX))
    assert "two classes: that of its id counts" not in same.report.counts["told"]


# Types of annotations


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        ({}, [20, 10, 60, 40]),
        ({"bbox_format": None}, [20, 10, 60, 40]),
        ({"bbox_format": "xywh"}, [20, 10, 60, 40]),
        ({"bbox_format": "xyxy"}, [20, 10, 80, 50]),
        ({"bbox_format": "cxcywh"}, [50, 30, 60, 40]),
    ],
)
def test_a_box_is_read_as_its_format_says(tmp_path: Path, form: dict[str, Any], numbers: list[int]) -> None:
    assert of_one(tmp_path, scratch(bbox=numbers, **form)).objects("a.png") == [("scratch", AS_BOX)]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (scratch(bbox=BOX, bbox_format="polar"), "its bbox_format is 'polar' (known: xywh, xyxy, cxcywh)"),
        (scratch(bbox=[1, 2, 3]), "its bbox has not four numbers"),
        (scratch(bbox=["1", 2, 3, 4]), "it is no annotation"),
        (None, "it is no annotation"),
        (scratch(circle={"center": [5, 5], "radius": -1}), "its circle has no area"),
        (scratch(circle={"center": [5], "radius": 1}), "it is no annotation"),
        (scratch(segmentation=[SQUARE, "x"]), "its segmentation can't be used: Expected `array`"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_left_out_and_the_others_stay(
    tmp_path: Path, annotation: Any, said: str
) -> None:
    content = nested(scratch(bbox=BOX), annotation, {"id": 12, "class_id": 9, "bbox": BOX})
    found = read(put(tmp_path / "annotations.json", content), "dice")
    assert found.objects("a.png") == [("scratch", AS_BOX), ("dent", AS_BOX)]
    (reason,) = found.report.counts["dropped"]
    assert reason.startswith(said)


def test_polygons_and_masks_are_outlines(tmp_path: Path) -> None:
    found = read(
        put(
            tmp_path / "annotations.json",
            nested(
                scratch(bbox=BOX, segmentation=[SQUARE, SQUARE]),
                scratch(segmentation={"size": [100, 200], "counts": [0, 20000]}),
            ),
        ),
        "dice",
        "segmentation",
    )
    polygon, mask = found.annotations["a.png"]
    assert polygon.polygons == [SQUARE, SQUARE]
    assert mask.mask is not None
    assert (mask.mask.width, mask.mask.height, mask.mask.counts) == (200, 100, [0, 20000])


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_circle_is_a_ring(tmp_path: Path, task: str) -> None:
    found = of_one(tmp_path, scratch(circle={"center": [100, 50], "radius": 20}), task)
    (annotation,) = found.annotations["a.png"]
    (ring,) = annotation.polygons or []
    assert (min(ring[0::2]), max(ring[0::2]), min(ring[1::2]), max(ring[1::2])) == (80, 120, 30, 70)


@pytest.mark.parametrize(
    ("annotation", "objects", "reason"),
    [
        (scratch(polyline=[[1, 1], [9, 9]], bbox=BOX), [("scratch", AS_BOX)], "polyline"),
        (scratch(type="polyline", polyline=[1, 1, 9, 9]), [("scratch", None)], "polyline (polyline)"),
        (scratch(type="ellipse", geometry={"rx": 3}, bbox=BOX), [("scratch", AS_BOX)], "geometry (ellipse)"),
    ],
)
def test_what_is_neither_box_nor_outline_is_named(
    tmp_path: Path, annotation: Any, objects: list[Any], reason: str
) -> None:
    found = of_one(tmp_path, annotation)
    assert found.objects("a.png") == objects
    assert found.report.counts["not held"] == {reason: 1}


@pytest.mark.parametrize("points", [[5, 6, 2, 0, 0, 0], [[5, 6, 2], [0, 0, 0]]])
def test_keypoints_are_flat_or_in_lists_and_counted_where_nobody_names_them(tmp_path: Path, points: list[Any]) -> None:
    found = of_one(tmp_path, scratch(bbox=BOX, keypoints=points), "pose")
    assert found.annotations["a.png"][0].keypoints == [5, 6, 2, 0, 0, 0]
    assert found.classes[0].keypoints == ("keypoint 1", "keypoint 2")


def test_a_pose_without_any_keypoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no keypoints"):
        of_one(tmp_path, scratch(bbox=BOX), "pose")


# Images and splits


@pytest.mark.parametrize(
    ("image_root", "file_name", "lies"),
    [
        ("datasets/x/images/", "images/a/b.png", "images/a/b.png"),
        ("datasets/x/images/", "a/b.png", "images/a/b.png"),
        ("datasets/x/raw", "a/b.png", "raw/a/b.png"),
        ("datasets/x/", "a/b.png", "a/b.png"),
        (None, "images/a/b.png", "images/a/b.png"),
        (None, "a/b.png", "images/a/b.png"),
        (None, "a/b.png", "a/b.png"),
    ],
)
def test_images_are_found_where_the_platform_puts_them(
    tmp_path: Path, image_root: str | None, file_name: str, lies: str
) -> None:
    content = nested(scratch(bbox=BOX))
    content["images"][0]["file_name"] = file_name
    content |= {"storage_info": {"image_root": image_root}}
    put(tmp_path / "annotations.json", content)
    picture(tmp_path / lies)
    (entry,) = read(tmp_path, "dice").entries
    assert entry.file == lies


def test_labels_lie_where_ultralytics_looks_for_them(tmp_path: Path) -> None:
    content = nested(scratch(bbox=BOX), storage_info={"image_root": "datasets/x/images/"})
    content["images"][0]["file_name"] = "images/a/b.png"
    content["images"].append({"id": 2, "file_name": "images/a/c.png", "annotations": [{"id": 3, "class_id": 0}]})
    put(tmp_path / "annotations.json", content)
    picture(tmp_path / "images/a/b.png")
    picture(tmp_path / "images/a/c.png")
    made = Path(convert(tmp_path, source="dice", target="yolo", task="detection", to=tmp_path / ".to")).parent
    (image,) = made.rglob("b.png")
    label = "/labels/".join(str(image).rsplit("/images/", 1)).replace(".png", ".txt")
    assert Path(label).read_text() == "0 0.250000 0.300000 0.300000 0.400000\n"
    (empty,) = made.rglob("c.txt")
    assert not empty.read_text()


@pytest.mark.parametrize("name", ["../../x.png", "/etc/passwd.png", "C:\\x.png", "a/../../x.png"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    content = nested(scratch(bbox=BOX))
    content["images"][0]["file_name"] = name
    with pytest.raises(DatasetError, match="can't be the name of a file"):
        read(put(tmp_path / "annotations.json", content), "dice")


def test_an_image_root_that_leads_out_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "annotations.json", nested(storage_info={"image_root": "datasets/x/../../.."}))
    with pytest.raises(DatasetError, match="image_root"):
        read(tmp_path, "dice")


def test_the_job_decides_before_the_file_and_the_file_before_the_image(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png", "split": "test"} for number in range(1, 5)]
    config = {"method": "manual", "seed": 7, "splits": {"1": "train", "2": "val", "3": None}}
    put(tmp_path / "annotations.json", {"classes": ["a"], "images": images, "split_config": config})
    assert list(read(tmp_path, "dice").splits.values()) == ["train", "val", "test", "test"]
    by_job = read(tmp_path, "dice", split=Split(assign={"1": "val", "4.png": "train"}))
    assert list(by_job.splits.values()) == ["val", "val", "test", "train"]


def test_an_image_under_two_names_has_the_annotations_of_both(tmp_path: Path) -> None:
    names = {0: "a.png", 2: "images/a.png", "": "./images/a.png"}
    images = [
        {"id": id_, "file_name": name, "annotations": [scratch(bbox=[10 * at, 0, 5, 5])]}
        for at, (id_, name) in enumerate(names.items())
    ]
    put(tmp_path / "annotations.json", {"classes": CLASSES, "images": images})
    picture(tmp_path / "images/a.png")
    found = read(tmp_path, "dice")
    assert list(found.annotations) == ["a.png"]
    assert [box for _, box in found.objects("a.png")] == [(0, 0, 5, 5), (10, 0, 15, 5), (20, 0, 25, 5)]


def test_an_image_without_an_id_is_known_by_its_name(tmp_path: Path) -> None:
    content = {"classes": ["a"], "images": [{"file_name": "a.png", "annotations": [{"class_id": 0, "bbox": BOX}]}]}
    assert read(put(tmp_path / "annotations.json", content), "dice").objects("a.png") == [("a", AS_BOX)]


# Many jobs, and back again


def test_in_any_number_of_jobs_it_is_the_same(tmp_path: Path) -> None:
    images, count = [], 0
    for number in range(300):
        annotations = [
            scratch(id=f"{number}-{at}", bbox=[at, 0, 5, 5], attributes={"text": "}, {", "of": [{}, {"a": {}}]})
            for at in range(number % 7)
        ]
        count += len(annotations)
        images.append({"id": number, "file_name": f"{number}.png", "annotations": annotations})
    put(tmp_path / "annotations.json", {"classes": CLASSES, "images": images})
    whole, in_jobs = read(tmp_path, "dice"), read(tmp_path, "dice", workers=9)
    assert whole.annotations == in_jobs.annotations
    numbers = [one.number for found in whole.annotations.values() for one in found]
    assert numbers == list(range(1, count + 1))


def test_what_is_written_is_read_again_the_same(tmp_path: Path) -> None:
    put(
        tmp_path / "from/annotations_segmentation.json",
        nested(
            scratch(bbox=BOX, segmentation=[SQUARE], attributes={"hard": True}),
            {"id": "uuid", "class_id": 9, "segmentation": {"size": [100, 200], "counts": [150, 20, 19830]}},
            {"id": 12, "class_id": 9, "iscrowd": 1, "segmentation": {"size": [100, 200], "counts": [0, 10, 19990]}},
        ),
    )
    picture(tmp_path / "from/images/a.png")
    made = convert(tmp_path / "from", source="dice", target="dice", task="segmentation", to=tmp_path / "to")
    there, again = (read(Path(folder), "dice", "segmentation") for folder in (tmp_path / "from", made))
    assert again.classes == there.classes
    (first,), (second,) = there.annotations.values(), again.annotations.values()
    for one, other in zip(first, second, strict=True):
        assert (one.id, one.label, one.polygons, one.mask) == (other.id, other.label, other.polygons, other.mask)
        assert (one.crowd, one.attributes) == (other.crowd, other.attributes)
    assert Path(made, again.entries[0].file).is_file()
    assert again.entries[0].id == 1


def test_what_is_written_is_what_the_platform_reads(tmp_path: Path) -> None:
    put(tmp_path / "from/annotations.json", nested(scratch(bbox=BOX)))
    picture(tmp_path / "from/images/a.png")
    made = convert(tmp_path / "from", source="dice", target="dice", task="detection", to=tmp_path / "to")
    content = json.loads(Path(made, "annotations_detection.json").read_text())
    assert content["format_version"] == "1.0"
    assert content["task_type"] == "object_detection"
    assert [(one["id"], one["name"]) for one in content["classes"]] == [(0, "scratch"), (1, "dent")]
    assert content["statistics"]["class_distribution"] == {"scratch": 1}
    (image,) = content["images"]
    assert Path(made, content["storage_info"]["image_root"], image["file_name"]).is_file()
    assert (image["width"], image["height"], image["split"]) == (200, 100, "train")
    (annotation,) = image["annotations"]
    assert annotation["class_id"] == 0
    assert annotation["class_name"] == "scratch"
    assert (annotation["bbox"], annotation["bbox_format"]) == (BOX, "xywh")


def test_labels_of_whole_images_come_back_without_boxes(tmp_path: Path) -> None:
    put(tmp_path / "from/annotations.json", nested(scratch(bbox=BOX)))
    picture(tmp_path / "from/images/a.png")
    made = convert(tmp_path / "from", source="dice", target="dice", task="classification", to=tmp_path / "to")
    found = read(Path(made), "dice", "classification")
    assert [one.box for (one,) in found.annotations.values()] == [None]
    assert read_report(made).objects == {"train": {"scratch": 1}}


def test_a_size_of_zero_is_looked_up(tmp_path: Path) -> None:
    content = nested(scratch(bbox=[-10, 5, 130, 60]))
    content["images"][0] |= {"width": 0, "height": 0}
    put(tmp_path / "annotations.json", content)
    picture(tmp_path / "images/a.png", (100, 50))
    made = Path(convert(tmp_path, source="dice", target="yolo", task="detection", to=tmp_path / ".to")).parent
    (label,) = made.rglob("a.txt")
    assert label.read_text() == "0 0.500000 0.550000 1.000000 0.900000\n"


@pytest.mark.parametrize("source", ["yolo", "coco"])
def test_no_two_annotations_have_one_id(tmp_path: Path, source: str) -> None:
    root = tmp_path / "in"
    for number, name in enumerate(("train", "val")):
        picture(root / f"images/{name}.png")
        put(root / f"labels/{name}.txt", "0 .5 .5 .2 .2\n0 .5 .5 .1 .1\n")
        image = {"id": 1, "file_name": f"{name}.png"}
        annotation = {"id": 7, "image_id": 1, "category_id": 1, "bbox": BOX}
        content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": f"{number}"}]}
        put(root / f"annotations/instances_{name}.json", content)
    put(root / "classes.txt", "cat\n")
    made = convert(root, source=source, target="dice", task="detection", to=tmp_path / "to")
    images = json.loads(Path(made, "annotations_detection.json").read_text())["images"]
    ids = [one["id"] for image in images for one in image["annotations"]]
    assert len(ids) == len(set(ids)) > 1
