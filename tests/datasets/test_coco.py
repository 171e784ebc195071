"""COCO: what other tools write is read, and what is written pycocotools finds right."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as judge
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.datasets.making import Found, picture, put, read
from trainer_hooks.datasets import Split, convert, read_report
from trainer_hooks.datasets.formats.coco import split_in
from trainer_hooks.errors import DatasetError

# Of pycocotools, with any numpy of today.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BOX = [20, 10, 60, 40]
AS_BOX = (20, 10, 80, 50)
SQUARE = [20.0, 10.0, 80.0, 10.0, 80.0, 50.0, 20.0, 50.0]
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]


def coco(*annotations: Any, images: Any = None, **more: Any) -> dict[str, Any]:
    """A dataset of one image, unless there are others, with these annotations."""
    images = images or [{"id": 1, "file_name": "a.png", "width": 200, "height": 100}]
    return {"images": images, "annotations": list(annotations), "categories": CATEGORIES, **more}


def dog(**more: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": 1, "category_id": 18, "bbox": BOX, **more}


def of(tmp_path: Path, *annotations: Any, task: str = "detection", **more: Any) -> Found:
    """What is read of a dataset with these annotations."""
    return read(put(tmp_path / "annotations/instances_train.json", coco(*annotations, **more)), "coco", task)


def dropped(found: Found) -> list[tuple[str, str]]:
    """What was left out: the reason and the annotation."""
    return [(one.reason, one.annotation) for one in found.report.findings if one.action == "dropped"]


def made(tmp_path: Path, content: dict[str, Any], target: str = "coco", task: str = "segmentation") -> Path:
    """The folder, or the data.yaml, that a dataset with images of 200 x 100 pixels is converted to."""
    put(tmp_path / "from/annotations/instances_train.json", content)
    for image in content["images"]:
        picture(tmp_path / "from/images" / image["file_name"])
    return Path(convert(tmp_path / "from", source="coco", target=target, task=task, to=tmp_path / "to"))


def loaded(path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def precision(truth: Any, kind: str) -> float:
    """What COCOeval finds for a detector that says the truth: 1, or the file is wrong."""
    with contextlib.redirect_stdout(io.StringIO()):
        said = truth.loadRes([one | {"score": 0.9} for one in truth.loadAnns(truth.getAnnIds(iscrowd=0))])
        judgement = COCOeval(truth, said, kind)
        judgement.evaluate()
        judgement.accumulate()
        judgement.summarize()
    return float(judgement.stats[0])


# Files and their splits


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("instances_train2017", "train"),
        ("instances_val2017", "val"),
        ("valid", "val"),
        ("my-validation_set", "val"),
        ("image_info_test-dev2017", "test"),
        ("train_val", None),
        ("trainval", None),
        ("latest", None),
        ("constrained", None),
        ("Train", "train"),
    ],
)
def test_the_name_of_a_file_tells_its_split(stem: str, split: str | None) -> None:
    assert split_in(stem) == split


def test_several_files_are_one_dataset_each_with_its_split_and_its_ids(tmp_path: Path) -> None:
    for split, ids in (("train", 1), ("val", 2)):
        content = coco(dog(image_id=7, category_id=ids), images=[{"id": 7, "file_name": "a.png"}])
        content["categories"] = [{"id": ids, "name": "dog"}, {"id": ids + 10, "name": split}]
        put(tmp_path / f"annotations/instances_{split}.json", content)
        picture(tmp_path / f"images/{split}/a.png")
    put(tmp_path / "annotations/captions_train.json", {"images": [], "annotations": []})
    put(tmp_path / "annotations/panoptic_val.json", "{}")
    found = read(tmp_path, "coco", workers=2)
    assert found.names == ["dog", "train", "val"]
    assert [(one.name, one.file, one.split) for one in found.entries] == [
        ("a.png", "images/train/a.png", "train"),
        ("a.png", "images/val/a.png", "val"),
    ]
    result = Path(convert(tmp_path, source="coco", target="yolo", task="detection", to=tmp_path / ".to")).parent
    for split in ("train", "val"):
        assert (result / f"labels/{split}/a.txt").read_text() == "0 0.250000 0.300000 0.300000 0.400000\n"


@pytest.mark.parametrize(
    "folder", ["annotations/instances_{}.json", "annotations/{}.json", "{}.json", "{}/_annotations.coco.json"]
)
def test_files_lie_where_tools_put_them(tmp_path: Path, folder: str) -> None:
    for split in ("train", "valid"):
        images = [{"id": 1, "file_name": f"{split}.png"}]
        put(tmp_path / folder.format(split), coco(dog(), images=images))
        picture(tmp_path / split / f"{split}.png")
    found = read(tmp_path, "coco")
    assert found.splits == {"train.png": "train", "valid.png": "val"}
    assert [one.file for one in found.entries] == ["train/train.png", "valid/valid.png"]


def test_without_instances_or_with_other_kinds_beside_the_right_files_are_taken(tmp_path: Path) -> None:
    keypoints = coco(dog(keypoints=[1, 2, 2]))
    put(tmp_path / "annotations/person_keypoints_train.json", keypoints)
    put(tmp_path / "annotations/instances_train.json", coco(dog(category_id=3)))
    assert read(tmp_path, "coco", "pose").objects("a.png") == [("dog", AS_BOX)]
    assert read(tmp_path, "coco").objects("a.png") == [("car", AS_BOX)]


def test_one_file_can_be_the_dataset(tmp_path: Path) -> None:
    put(tmp_path / "any.json", coco(dog()))
    put(tmp_path / "other.json", coco())
    assert read(tmp_path / "any.json", "coco").objects("a.png") == [("dog", AS_BOX)]


@pytest.mark.parametrize("order", [1, -1])
def test_where_an_image_lies_depends_on_no_other_image(tmp_path: Path, order: int) -> None:
    names = ["a.png", "b.png"][::order]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    put(tmp_path / "annotations/instances_train.json", coco(images=images))
    for path in ("images/train/a.png", "a.png", "b.png"):
        picture(tmp_path / path)
    assert {one.name: one.file for one in read(tmp_path, "coco").entries} == {
        "a.png": "images/train/a.png",
        "b.png": "b.png",
    }


def test_an_image_in_two_splits_stays_in_the_first(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put(tmp_path / f"annotations/instances_{split}.json", coco(dog()))
    picture(tmp_path / "images/a.png")
    found = read(tmp_path, "coco")
    assert [one.split for one in found.entries] == ["train"]
    assert found.objects("a.png") == [("dog", AS_BOX)]
    assert found.report.counts["dropped"] == {
        "image that is in another split, too": 1,
        "on an image that is in another split, too": 1,
    }


def test_an_image_listed_twice_has_the_annotations_of_both(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}, {"id": 3, "file_name": "./a.png"}]
    found = of(tmp_path, dog(), dog(image_id=2), dog(image_id=3, category_id=3), images=images)
    assert found.objects("a.png") == [("dog", AS_BOX), ("dog", AS_BOX), ("car", AS_BOX)]
    assert found.report.counts["repaired"] == {"image listed twice": 2}


@pytest.mark.parametrize("id_", [1, 9])
def test_two_files_of_one_split_may_tell_of_the_same_image(tmp_path: Path, id_: int) -> None:
    put(tmp_path / "dogs.json", coco(dog()))
    put(tmp_path / "cars.json", coco(dog(image_id=id_, category_id=3), images=[{"id": id_, "file_name": "a.png"}]))
    assert sorted(read(tmp_path, "coco").objects("a.png")) == [("car", AS_BOX), ("dog", AS_BOX)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("{}", "no images or no annotations"),
        ('{"images": [], "annotations": null}', "no images or no annotations"),
        ('{"images": [{"id": 1', "truncated"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', r"name.*categories\[0\]"),
        ('{"images": [], "annotations": [], "categories": 7}', "categories"),
        ('{"images": 3, "annotations": [], "categories": []}', "no array at byte 11"),
        ('{"images": [], "annotations": []}', "names no class"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "holds no image"),
        ('{"images": [], "annotations": [{"bbox": [1, 2, NaN, 4]}]}', "NaN and Infinity aren't JSON"),
        ('{"images": [], "annotations": [{"bbox": [1, 2, Infinity, 4]}]}', "NaN and Infinity aren't JSON"),
        ('{"images": [], "annotations": ' + "[" * 100_000, "recursion|truncated"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    put(tmp_path / "annotations/instances_train.json", content)
    with pytest.raises(DatasetError, match=said):
        read(tmp_path, "coco")


def test_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no \*\.json in"):
        read(tmp_path, "coco")


# Ids and categories


def test_ids_are_numbers_or_texts_and_need_not_follow_one_another(tmp_path: Path) -> None:
    images = [{"id": id_, "file_name": f"{at}.png"} for at, id_ in enumerate([0, "7", "a-b", "007", 2**60, 1.5])]
    keys = [0, 7, "a-b", "007", str(2**60), 1.5]
    found = of(tmp_path, *[dog(image_id=key, bbox=[at, 0, 1, 1]) for at, key in enumerate(keys)], images=images)
    for at in range(len(keys)):
        assert found.objects(f"{at}.png") == [("dog", (at, 0, at + 1, 1))]


@pytest.mark.parametrize("id_", [10**30, -(10**30), "9" * 5000, 2**64, "\U0001f600", "", 1e300])
def test_ids_of_any_kind_lead_to_the_image_through_processes_too(tmp_path: Path, id_: Any) -> None:
    images = [{"id": id_, "file_name": "0.png"}, {"id": 1, "file_name": "1.png"}]
    categories = [{"id": id_, "name": "any"}]
    content = coco(dog(id=id_, image_id=id_, category_id=id_), images=images, categories=categories)
    put(tmp_path / "a.json", content)
    for image in images:
        picture(tmp_path / image["file_name"])
    result = convert(tmp_path, source="coco", target="yolo", task="detection", to=tmp_path / ".to", workers=2)
    assert sum(report.get("any", 0) for report in read_report(result).objects.values()) == 1


def test_an_annotation_of_no_image_or_of_no_category_is_left_out_and_told_of(tmp_path: Path) -> None:
    found = of(tmp_path, dog(id=1, image_id=99), dog(id=2, category_id=99), {"bbox": BOX}, dog(id=4), dog(id=None))
    assert found.objects("a.png") == [("dog", AS_BOX)] * 2
    assert sorted(dropped(found)) == [
        ("there is no such category", "2"),
        ("there is no such image", "#3"),
        ("there is no such image", "1"),
    ]


def test_images_that_cannot_be_used_are_left_out_and_told_of(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png"},
        {"file_name": "no-id.png"},
        {"id": 2},
        None,
        [],
        {"id": 3, "file_name": 7},
    ]
    found = of(tmp_path, dog(), images=images)
    assert list(found.annotations) == ["a.png"]
    assert found.report.counts["dropped"] == {
        "image without a name or an id": 2,
        "it is no image": 3,
    }


def test_categories_of_one_name_are_one_class_and_told_of(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "__background__"}]
    annotations = [dog(category_id=number) for number in (1, 2, 3)]
    found = of(tmp_path, *annotations, categories=categories)
    assert found.names == ["dog"]
    assert len(found.annotations["a.png"]) == 2
    assert found.report.counts["repaired"] == {"two categories of the same name": 1}


def test_two_categories_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="two categories have the id"):
        of(tmp_path, categories=[{"id": 1, "name": "dog"}, {"id": "1", "name": "car"}])


def test_only_the_classes_asked_for_come_in_the_order_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a.json", coco(dog(), dog(category_id=3)))
    found = read(tmp_path, "coco", classes=["car"])
    assert found.names == ["car"]
    assert found.objects("a.png") == [("car", AS_BOX)]
    assert found.report.counts["dropped"] == {"of a class that was not asked for": 1}


def test_keypoints_of_one_class_in_two_orders_are_refused(tmp_path: Path) -> None:
    for split, points in (("train", ["left", "right"]), ("val", ["right", "left"])):
        images = [{"id": 1, "file_name": f"{split}.png"}]
        content = coco(dog(keypoints=[1, 1, 2, 9, 9, 2]), images=images)
        content["categories"] = [{"id": 18, "name": "dog", "keypoints": points}]
        put(tmp_path / f"annotations/{split}.json", content)
    with pytest.raises(DatasetError, match=r"left, right in .*train\.json, and right, left in .*val\.json"):
        read(tmp_path, "coco", "pose")
    assert read(tmp_path, "coco").names == ["dog"]


@pytest.mark.parametrize("name", ["instances_val.json", "test_stand.json"])
def test_the_one_file_that_is_given_is_divided_whatever_its_name(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, coco(dog()))
    assert read(tmp_path / name, "coco").splits == {"a.png": "train"}
    (entry,) = read(tmp_path, "coco").entries
    assert entry.split == ("val" if "val" in name else "test")


def test_classes_are_in_the_order_of_the_file_and_not_of_the_ids(tmp_path: Path) -> None:
    assert of(tmp_path, dog()).names == ["dog", "car"]


# Annotations


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (None, "it is no annotation"),
        (7, "it is no annotation"),
        ([], "it is no annotation"),
        (dog(bbox="x"), "it is no annotation"),
        (dog(bbox=[1, 2, None, 4]), "it is no annotation"),
        (dog(bbox=[1, 2, 3]), "its bbox has not four numbers"),
        (dog(bbox=None, segmentation=[["x"]]), "its segmentation can't be used: Expected `float`, got `str`"),
        (dog(bbox=[], segmentation={"size": [1, 2]}), "its segmentation can't be used: Object missing required field"),
        (dog(bbox=None, segmentation={"size": [2, 2], "counts": [3]}), "its segmentation can't be used: the runs of"),
        (dog(bbox=None, segmentation={"size": [2, 2], "counts": "~"}), "its segmentation can't be used: '~' is no"),
        (dog(bbox=None, segmentation={"size": [0, 2], "counts": []}), "its segmentation can't be used: a mask of"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_left_out_and_the_others_stay(
    tmp_path: Path, annotation: Any, reason: str
) -> None:
    found = of(tmp_path, dog(), annotation, dog(category_id=3))
    assert found.objects("a.png") == [("dog", AS_BOX), ("car", AS_BOX)]
    ((said, _),) = dropped(found)
    assert said.startswith(reason)


def test_what_is_no_annotation_is_told_of_once_in_any_number_of_jobs(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(40)]
    annotations = [dog(image_id=number) for number in range(40)] + [None]
    put(tmp_path / "a.json", coco(*annotations, images=images))
    assert len(dropped(read(tmp_path, "coco", workers=8))) == 1


def test_annotations_in_any_order_come_to_their_images_in_any_number_of_jobs(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(200)]
    annotations = [
        dog(id=f"}}, {{ {at}", image_id=at * 77 % 200, bbox=[at, 0, 1, 1], attributes={"n": [{}, {}]})
        for at in range(1000)
    ]
    put(tmp_path / "a.json", coco(*annotations, images=images))
    whole, in_jobs = read(tmp_path, "coco"), read(tmp_path, "coco", workers=16)
    assert whole.annotations == in_jobs.annotations
    assert [len(some) for some in whole.annotations.values()] == [5] * 200
    assert [one.id for one in whole.annotations["77.png"]] == [f"}}, {{ {at}" for at in range(1, 1000, 200)]


def test_the_outlines_of_a_mask_are_what_pycocotools_decodes(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[10:50, 20:80] = 1
    text = judge.encode(np.asfortranarray(pixels))["counts"].decode()
    runs = [2010, *[40, 60] * 59, 40, 12050]
    found = of(
        tmp_path,
        dog(segmentation={"size": [100, 200], "counts": text}),
        dog(segmentation={"size": [100, 200], "counts": runs}),
        task="segmentation",
    )
    one, other = found.annotations["a.png"]
    assert one.mask == other.mask
    assert one.mask is not None
    assert one.mask.counts == runs


def test_stratifying_knows_the_classes_on_each_image(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(20)]
    annotations = [dog(image_id=number, category_id=3 if number < 4 else 18) for number in range(20)]
    put(tmp_path / "a.json", coco(*annotations, images=images))
    splits = read(tmp_path, "coco", split=Split(ratios=(0.5, 0.5), stratify=True)).splits
    assert sorted(splits[f"{number}.png"] for number in range(4)) == ["train", "train", "val", "val"]


# What is written


def test_a_detector_that_says_the_truth_is_right_by_pycocotools(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(6)]
    annotations = [
        dog(id=0, image_id=number, category_id=category, bbox=[10 * at, 5 * at, 30, 20], segmentation=[outline])
        for number in range(5)
        for at, category in enumerate([18, 3, 18])
        for outline in [[10 * at, 5 * at, 10 * at + 30, 5 * at, 10 * at + 30, 5 * at + 20, 10 * at, 5 * at + 20]]
    ]
    truth = loaded(made(tmp_path, coco(*annotations, images=images)) / "annotations/instances_train.json")
    assert len(truth.imgs) == 6
    assert min(truth.anns) == 1
    assert [one["name"] for one in truth.loadCats(truth.getCatIds())] == ["dog", "car"]
    assert precision(truth, "bbox") == pytest.approx(1)
    assert precision(truth, "segm") == pytest.approx(1)


def test_what_pycocotools_asks_for_is_there(tmp_path: Path) -> None:
    folder = made(tmp_path, coco(dog(segmentation=[SQUARE, [90, 10, 100, 10, 100, 30]])))
    truth = loaded(folder / "annotations/instances_train.json")
    (annotation,) = truth.anns.values()
    assert annotation["area"] == 2400 + 100
    assert annotation["bbox"] == [20, 10, 80, 40]
    assert annotation["iscrowd"] == 0
    assert judge.area(truth.annToRLE(annotation)) == pytest.approx(2500, rel=0.02)
    (image,) = truth.imgs.values()
    assert (image["width"], image["height"]) == (200, 100)
    assert (folder / "images/train" / image["file_name"]).is_file()


def test_a_crowd_stays_one_in_coco_and_is_none_of_yolos(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[3:20, 50:90] = 1
    runs = [5003, *[17, 83] * 39, 17, 11080]
    crowd = dog(iscrowd=1, bbox=[50, 3, 40, 17], segmentation={"size": [100, 200], "counts": runs})
    content = coco(crowd, dog(segmentation=[SQUARE]))
    truth = loaded(made(tmp_path, content) / "annotations/instances_train.json")
    kept, _ = truth.anns.values()
    assert kept["iscrowd"] == 1
    assert (truth.annToMask(kept) == pixels).all()
    assert kept["area"] == pixels.sum()
    data = Path(convert(tmp_path / "from", source="coco", target="yolo", task="segmentation", to=tmp_path / "yolo"))
    assert len((data.parent / "labels/train/a.txt").read_text().splitlines()) == 1
    assert read_report(data).counts["not held"]["a crowd"] == 1


def test_keypoints_are_as_many_as_each_class_has(tmp_path: Path) -> None:
    categories = [
        {"id": 1, "name": "person", "keypoints": ["nose", "left", "right"], "skeleton": [[1, 2]]},
        {"id": 2, "name": "door", "keypoints": ["handle"]},
    ]
    content = coco(
        dog(category_id=1, keypoints=[30, 20, 2, 40, 30, 1, 0, 0, 0]),
        dog(category_id=2, keypoints=[30, 20, 2]),
        dog(category_id=2),
        dog(id=9, category_id=2, keypoints=[1, 2, 2] * 4),
        dog(id=10, category_id=2, keypoints=[1, 2]),
        categories=categories,
    )
    folder = made(tmp_path, content, task="pose")
    truth = loaded(folder / "annotations/instances_train.json")
    assert [(one["keypoints"], one["num_keypoints"]) for one in truth.anns.values()] == [
        ([30, 20, 2, 40, 30, 1, 0, 0, 0], 2),
        ([30, 20, 2], 1),
        ([0, 0, 0], 0),
    ]
    assert truth.cats[1]["skeleton"] == [[1, 2]]
    assert read_report(folder).counts["dropped"] == {
        "it has more keypoints than its class": 1,
        "its keypoints are not x, y, visibility each": 1,
    }
    data = Path(convert(tmp_path / "from", source="coco", target="yolo", task="pose", to=tmp_path / "yolo"))
    rows = (data.parent / "labels/train/a.txt").read_text().splitlines()
    assert [len(row.split()) for row in rows] == [5 + 3 * 3] * 3


def test_fewer_keypoints_are_filled_up_and_more_than_the_class_has_are_refused(tmp_path: Path) -> None:
    categories = [
        {"id": 1, "name": "person", "keypoints": ["nose", "left", "right"]},
        {"id": 2, "name": "door", "keypoints": ["handle"]},
    ]
    content = coco(
        dog(category_id=1, keypoints=[30, 20, 2]),
        dog(category_id=2, keypoints=[30, 20, 2, 0, 0, 0, 0, 0, 0]),
        dog(category_id=2, keypoints=[30, 20, 2, 40, 30, 2]),
        categories=categories,
    )
    folder = made(tmp_path, content, task="pose")
    truth = loaded(folder / "annotations/instances_train.json")
    assert [one["keypoints"] for one in truth.anns.values()] == [[30, 20, 2, 0, 0, 0, 0, 0, 0], [30, 20, 2]]
    assert read_report(folder).counts["dropped"] == {"it has more keypoints than its class": 1}


def test_keypoints_in_two_orders_are_refused_with_both(tmp_path: Path) -> None:
    for split, names in (("train", ["nose", "tail"]), ("val", ["tail", "nose"])):
        content = coco(dog(keypoints=[1, 2, 2] * 2), images=[{"id": 1, "file_name": f"{split}.png"}])
        content["categories"] = [{"id": 18, "name": "dog", "keypoints": names}]
        put(tmp_path / f"annotations/instances_{split}.json", content)
    assert read(tmp_path, "coco").names == ["dog"]
    said = r"'dog' has the keypoints nose, tail in .*_train\.json, and tail, nose in .*_val\.json"
    with pytest.raises(DatasetError, match=said):
        read(tmp_path, "coco", "pose")


def test_where_one_file_names_fewer_keypoints_the_other_counts(tmp_path: Path) -> None:
    for split, names in (("train", ["nose"]), ("val", ["nose", "tail"])):
        content = coco(dog(keypoints=[1, 2, 2]), images=[{"id": 1, "file_name": f"{split}.png"}])
        content["categories"] = [{"id": 18, "name": "dog", "keypoints": names}]
        put(tmp_path / f"annotations/instances_{split}.json", content)
    assert read(tmp_path, "coco", "pose").classes[0].keypoints == ("nose", "tail")


def test_keypoints_that_are_too_few_or_that_nobody_names_are_labelmes_points(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "person", "keypoints": ["nose", "tail"]}, {"id": 2, "name": "door"}]
    content = coco(
        dog(category_id=1, keypoints=[30, 20, 2]), dog(category_id=2, keypoints=[30, 20, 2]), categories=categories
    )
    folder = made(tmp_path, content, "labelme", "pose")
    shapes = json.loads(next(folder.rglob("a.json")).read_text())["shapes"]
    assert [one["label"] for one in shapes] == ["person", "nose", "door", "1"]


@pytest.mark.parametrize("between", ["coco", "dice"])
def test_there_and_back_it_is_the_same_dataset(tmp_path: Path, between: str) -> None:
    images = [{"id": number, "file_name": f"deep/{number}.png"} for number in range(7)]
    annotations = [
        dog(
            image_id=number, segmentation=[SQUARE, SQUARE], attributes={"at": [number]}, category_id=(18, 3)[number % 2]
        )
        for number in range(6)
    ]
    annotations.append(dog(image_id=6, iscrowd=1, segmentation={"size": [100, 200], "counts": [150, 20, 19830]}))
    first = made(tmp_path, coco(*annotations, images=images), target=between)
    again = convert(first, source=between, target="coco", task="segmentation", to=tmp_path / "again")
    straight = convert(tmp_path / "from", source="coco", target="coco", task="segmentation", to=tmp_path / "straight")
    one, other = (
        json.loads(Path(folder, "annotations/instances_train.json").read_text()) for folder in (again, straight)
    )
    assert one["categories"] == other["categories"]
    assert one["annotations"] == other["annotations"]
    assert len(one["images"]) == 7


def test_what_is_written_is_read_in_pieces_again(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(9)]
    folder = made(tmp_path, coco(*[dog(image_id=number) for number in range(9)], images=images), task="detection")
    found = read(folder, "coco", workers=4)
    assert [found.objects(f"{number}.png") for number in range(9)] == [[("dog", AS_BOX)]] * 9


def test_a_record_that_stands_there_twice_is_one_image(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "./a.png"}]
    found = of(tmp_path, dog(), images=images)
    assert found.objects("a.png") == [("dog", AS_BOX)]
    assert found.report.counts["repaired"] == {"image listed twice": 1}


# What is made fit


def objects_of(tmp_path: Path, task: str, *annotations: Any) -> tuple[list[Any], dict[str, dict[str, int]]]:
    """What is written in COCO's form of these annotations, and what was counted but not merely told."""
    folder = made(tmp_path, coco(*annotations), task=task)
    content = json.loads((folder / "annotations/instances_train.json").read_text())
    counts = {action: some for action, some in read_report(folder).counts.items() if action != "told"}
    return content["annotations"], counts


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("side", [0.0004, 0.0009])
def test_what_would_be_written_as_nothing_is_dropped(tmp_path: Path, task: str, side: float) -> None:
    ring = [20.0, 10.0, 20 + side, 10.0, 20 + side, 50.0]
    speck = dog(bbox=[20, 10, side, 40], segmentation=[ring])
    written, counts = objects_of(tmp_path, task, speck, dog(segmentation=[SQUARE]))
    assert len(written) == 1
    assert counts == {"dropped": {"it is too small to be written": 1}}


def test_a_box_without_an_area_beside_an_outline_is_that_of_the_outline(tmp_path: Path) -> None:
    written, counts = objects_of(tmp_path, "detection", dog(bbox=[0, 0, 0, 0], segmentation=[SQUARE]))
    assert [one["bbox"] for one in written] == [BOX]
    assert counts == {"repaired": {"its box has no area: that of its points stands in": 1}}


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        ([10, 10, 30, 30, 30, 10, 10, 30], "its outline has no area: it is a line, or its sides cross"),
        ([10, 10, 30, 30, 20, 20], "its outline has no area: it is a line, or its sides cross"),
        ([-10, -10, -30, -30, -30, -10, -10, -30], "its outline has no area: it is a line, or its sides cross"),
        ([-10, -10, -30, -10, -30, -30], "nothing of it is on the image"),
    ],
)
def test_an_outline_without_an_area_is_told_from_one_beside_the_image(
    tmp_path: Path, ring: list[float], reason: str
) -> None:
    _, counts = objects_of(tmp_path, "segmentation", dog(segmentation=[ring]), dog(segmentation=[SQUARE]))
    assert counts == {"dropped": {reason: 1}}


@pytest.mark.parametrize(
    "outline",
    [
        [[20.0, 10.0, 30.0, 10.0, 30.0, 50.0, 20.0, 50.0], [70.0, 10.0, 80.0, 10.0, 80.0, 50.0, 70.0, 50.0]],
        {"size": [100, 200], "counts": [2010, *[40, 60] * 59, 40, 12050]},
    ],
)
def test_an_oriented_box_is_around_a_mask_and_around_all_polygons(tmp_path: Path, outline: Any) -> None:
    data = made(tmp_path, coco(dog(segmentation=outline)), "yolo", "obb")
    _, *numbers = map(float, (data.parent / "labels/train/a.txt").read_text().split())
    corners = sorted(zip(numbers[0::2], numbers[1::2], strict=True))
    assert corners == [(0.1, 0.1), (0.1, 0.5), (0.4, 0.1), (0.4, 0.5)]
    assert "dropped" not in read_report(data).counts


@pytest.mark.parametrize(
    ("more", "crowd"),
    [({"attributes": []}, 0), ({"attributes": [7]}, 0), ({"iscrowd": "0"}, 0), ({"iscrowd": "1"}, 1)],
)
def test_what_other_tools_write_into_side_fields_costs_no_annotation(
    tmp_path: Path, more: dict[str, Any], crowd: int
) -> None:
    (one,), _ = objects_of(tmp_path, "detection", dog(**more))
    assert (one["bbox"], one["iscrowd"]) == (BOX, crowd)
