"""DICE in its variants to YOLO."""

from __future__ import annotations

from typing import Any

from tests.datasets.cases.coco_files import LEFT_OUT
from tests.datasets.cases.coco_segmentation import rle
from tests.datasets.cases.model import SIZE, Cases, Expected, Source, Thing, points, xywh

cases = Cases("dice", "yolo", "detection")
Record = dict[str, Any]
CLASSES = ({"id": 0, "name": "cat"}, {"id": 1, "name": "dog"})
CAT = {"id": 1, "class_id": 0, "class_name": "cat", "bbox": [10, 10, 30, 20], "bbox_format": "xywh", "iscrowd": 0}
CAT_THING = Thing("cat", (10, 10, 40, 30))


class Dice:
    """A nested DICE file and its images."""

    def __init__(self, to: Source, classes: Any = CLASSES) -> None:
        self.to = to
        self.classes = list(classes)
        self.images: list[Record] = []
        named = [entry["name"] if isinstance(entry, dict) else entry for entry in self.classes]
        self.expected = Expected(classes=[name for name in named if name != "__background__"])

    def image(self, name: str, shapes: list[Record], *things: Thing, **fields: Any) -> Record:
        """An image with its record; `path` is where it lies, by default images/`name`; `size` its real one."""
        size = fields.pop("size", SIZE)
        path = self.to.image(fields.pop("path", f"images/{name}"), size)
        self.expected.images[path] = list(things)
        given = {
            "id": len(self.images) + 1,
            "file_name": name,
            "file_format": name.rpartition(".")[2],
            "width": size[0],
            "height": size[1],
            "depth": 3,
            "split": "train",
            "annotations": [dict(annotation) for annotation in shapes],
        }
        given.update(fields)
        self.images.append({key: value for key, value in given.items() if value is not LEFT_OUT})
        return self.images[-1]

    def write(self, path: str = "annotations_detection.json", **top: Any) -> Expected:
        """Write the file; `top` are further fields of its top level."""
        content = {
            "format_version": "1.0",
            "dataset_id": "ds_1",
            "task_type": "object_detection",
            "classes": self.classes,
            "images": self.images,
        }
        self.to.json(path, {**content, **top})
        return self.expected


def annotation(class_id: object, bbox: object, **fields: Any) -> Record:
    """An annotation of the nested form."""
    given = {"id": 1, "class_id": class_id, "bbox": bbox, "bbox_format": "xywh", "iscrowd": 0, **fields}
    return {key: value for key, value in given.items() if value is not LEFT_OUT}


@cases.add("D01", "nested")
def nested(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("train/good/001.png", [CAT, annotation(1, [50, 40, 30, 20])], CAT_THING, Thing("dog", (50, 40, 80, 60)))
    dice.image("train/good/002.png", [])
    return dice.write()


@cases.add("D02", "flat")
def flat(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [], CAT_THING, annotations=LEFT_OUT)
    dice.image("b.jpg", [], Thing("dog", (50, 40, 80, 60)), annotations=LEFT_OUT)
    annotations = [
        {"id": 0, "image_id": 1, "category_id": 0, "bbox": [10, 10, 30, 20]},
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [50, 40, 30, 20]},
    ]
    to.json(
        "annotations_detection.json", {"categories": dice.classes, "images": dice.images, "annotations": annotations}
    )
    return dice.expected


@cases.add("D03", "the first image has no key annotations")
def first_without(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [], annotations=LEFT_OUT)
    dice.image("b.jpg", [CAT], CAT_THING)
    return dice.write()


@cases.add("D04", "ids are UUIDs")
def uuids(to: Source) -> Expected:
    dice = Dice(to)
    dice.image(
        "a.jpg",
        [{**CAT, "id": "7d1c1d0e-91c8-4f7e-8a55-4a4f0d3c2a11", "image_id": "5b0e6ad2"}],
        CAT_THING,
        id="5b0e6ad2",
    )
    dice.image("b.jpg", [{**CAT, "id": "0c7c7b7e-0000-4f7e-8a55-4a4f0d3c2a12"}], CAT_THING, id="0a1b2c3d")
    return dice.write()


@cases.add("D05", "the job's split keys are strings, image ids are numbers", assign={"1": "train", "2": "val"})
def string_keys(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING, split="none")
    dice.image("b.jpg", [CAT], CAT_THING, split="none")
    dice.expected.splits = {"images/a.jpg": "train", "images/b.jpg": "val"}
    return dice.write()


@cases.add("D06", "__background__ is an image without objects")
def background(to: Source) -> Expected:
    dice = Dice(to, [{"id": 0, "name": "__background__"}, {"id": 4, "name": "scratch"}, {"id": 9, "name": "dent"}])
    dice.image("a.jpg", [annotation(9, [20, 10, 60, 40])], Thing("dent", (20, 10, 80, 50)))
    dice.image("b.jpg", [{"id": 11, "class_id": 0}])
    return dice.write()


@cases.add("D07", "the background's class is -1")
def minus_one(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING)
    dice.image("b.jpg", [{"id": 2, "class_id": -1, "class_name": "__background__", "is_background": True}])
    return dice.write()


@cases.add("D08", "a polyline and a circle, without area and iscrowd")
def shapes(to: Source) -> Expected:
    dice = Dice(to)
    polyline = annotation(1, [5, 5, 40, 30], polyline=[[5, 5], [45, 35]], iscrowd=LEFT_OUT)
    circle = annotation(0, [30, 20, 40, 40], circle={"center": [50, 40], "radius": 20}, iscrowd=LEFT_OUT)
    dice.image("a.jpg", [polyline, circle], Thing("cat", (30, 20, 70, 60)), Thing("dog", (5, 5, 45, 35), optional=True))
    return dice.write()


@cases.add("D09", "a class without a box among boxes")
def no_box(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT, {"id": 2, "class_id": 1, "class_name": "dog"}], CAT_THING)
    return dice.write()


@cases.add("D10", "splits of the images are kept")
def kept_splits(to: Source) -> Expected:
    dice = Dice(to)
    for name, split in (("a", "train"), ("b", "val"), ("c", "test"), ("d", "train")):
        dice.image(f"{name}.jpg", [CAT], CAT_THING, split=split)
        dice.expected.splits[f"images/{name}.jpg"] = split
    return dice.write()


@cases.add("D11", "splits in the file go before those of its images")
def split_config(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING, split="val")
    dice.image("b.jpg", [CAT], CAT_THING, split="train")
    dice.expected.splits = {"images/a.jpg": "train", "images/b.jpg": "val"}
    return dice.write(split_config={"method": "manual", "seed": 7, "splits": {"1": "train", "2": "val"}})


@cases.add("D12", "the job's splits go before those in the file", assign={"1": "val", "2": "train"})
def job_splits(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING, split="train")
    dice.image("b.jpg", [CAT], CAT_THING, split="val")
    dice.expected.splits = {"images/a.jpg": "val", "images/b.jpg": "train"}
    return dice.write(split_config={"method": "manual", "splits": {"1": "train", "2": "val"}})


@cases.add("D13", "image_root below the dataset's prefix")
def image_root(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("line1/p1.png", [CAT], CAT_THING, path="pictures/line1/p1.png")
    return dice.write(storage_info={"storage_type": "s3", "image_root": "datasets/ds_1/pictures/"}, dataset_id="ds_1")


@cases.add("D14", "file_name begins with images/, and so does image_root end")
def twice_images(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("images/a/b.png", [CAT], CAT_THING, path="images/images/a/b.png")
    dice.image("images/c.png", [CAT], CAT_THING, path="images/images/c.png")
    return dice.write(storage_info={"storage_type": "s3", "image_root": "datasets/ds_1/images/"})


@cases.add("D15", "file_name begins with images/, no storage_info")
def with_images(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("images/a/b.png", [CAT], CAT_THING, path="images/a/b.png")
    return dice.write()


@cases.add("D16", "a box as two corners")
def two_corners(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [annotation(1, [50, 40, 80, 60], bbox_format="xyxy")], Thing("dog", (50, 40, 80, 60)))
    dice.expected.refusal = "accepted"
    return dice.write()


@cases.add("D17", "width and height are 0")
def no_size(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING, width=0, height=0)
    return dice.write()


@cases.add("D18", "a crowd")
def crowd(to: Source) -> Expected:
    dice = Dice(to)
    many = annotation(0, [50, 0, 50, 80], iscrowd=1, segmentation=rle([(50, 0, 100, 80)]))
    dice.image("a.jpg", [CAT, many], CAT_THING)
    return dice.write()


@cases.add("D19", "an annotation twice")
def duplicates(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT, CAT], CAT_THING, Thing("cat", (10, 10, 40, 30), optional=True))
    return dice.write()


@cases.add("D20", "file_name climbs out")
def climbing(to: Source) -> Expected:
    dice = Dice(to)
    Source(to.root.parent).image("secret.jpg")
    dice.image("a.jpg", [CAT], CAT_THING)
    dice.images.append({**dice.images[0], "id": 2, "file_name": "../../secret.jpg"})
    dice.expected.outside = {"secret.jpg"}
    dice.expected.refusal = "accepted"
    return dice.write()


@cases.add("D21", "classes are strings")
def string_classes(to: Source) -> Expected:
    dice = Dice(to, ["cat", "dog"])
    dice.image("a.jpg", [CAT, annotation(1, [50, 40, 30, 20])], CAT_THING, Thing("dog", (50, 40, 80, 60)))
    dice.expected.refusal = "accepted"
    return dice.write()


@cases.add("D22", "a box outside in part, one without area")
def clipped(to: Source) -> Expected:
    dice = Dice(to)
    wrong = [annotation(0, [-10, 5, 130, 60]), annotation(1, [10, 10, 0, 20])]
    dice.image("a.jpg", wrong, Thing("cat", (0, 5, 100, 65)))
    return dice.write()


@cases.add("D23", "one stem with two extensions, one base name in two folders")
def same_names(to: Source) -> Expected:
    dice = Dice(to)
    for place, name in enumerate(("left/1.jpg", "left/1.png", "right/1.jpg")):
        box = (10 + 10 * place, 10, 30, 20)
        dice.image(name, [annotation(0, list(box))], Thing("cat", xywh(*box)))
    return dice.write()


@cases.add("D24", "annotations.json where the task has no file of its own")
def fallback(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING)
    return dice.write("annotations.json")


@cases.add("D25", "the file of another task lies beside it")
def other_task(to: Source) -> Expected:
    dice, other = Dice(to), Dice(to, [{"id": 0, "name": "wrong"}])
    dice.image("a.jpg", [CAT], CAT_THING)
    other.images.append({**dice.images[0], "annotations": []})
    other.write("annotations_classification.json", task_type="classification")
    return dice.write()


@cases.add("D26", "no annotation file")
def none_there(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT], CAT_THING)
    dice.expected.refusal = "due"
    return dice.expected


@cases.add("D27", "neither class_id nor category_id")
def no_class(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [CAT, annotation(LEFT_OUT, [50, 40, 30, 20])], CAT_THING)
    dice.expected.refusal = "accepted"
    return dice.write()


segmentation = Cases("dice", "yolo", "segmentation")
OUTLINE = [10, 10, 60, 12, 40, 50]


@segmentation.add("D31", "polygons, two parts, RLE")
def outlines(to: Source) -> Expected:
    dice = Dice(to)
    parts = [[5, 5, 40, 5, 40, 40, 5, 40], [60, 40, 95, 40, 95, 75, 60, 75]]
    drawn = [
        annotation(0, [10, 10, 50, 40], segmentation=[OUTLINE]),
        annotation(1, [5, 5, 90, 70], segmentation=parts),
        annotation(0, [50, 20, 30, 30], segmentation=rle([(50, 20, 80, 50)])),
    ]
    square = ((50, 20), (80, 20), (80, 50), (50, 50))
    dice.image(
        "a.jpg",
        drawn,
        Thing("cat", (10, 10, 60, 50), polygons=(points(OUTLINE),)),
        Thing("dog", (5, 5, 95, 75), polygons=tuple(points(part) for part in parts)),
        Thing("cat", (50, 20, 80, 50), polygons=(square,)),
    )
    return dice.write("annotations_segmentation.json", task_type="instance_segmentation")


classification = Cases("dice", "folders", "classification")


@classification.add("D41", "classes without boxes")
def classes(to: Source) -> Expected:
    dice = Dice(to)
    dice.image("a.jpg", [{"id": 1, "class_id": 0, "class_name": "cat"}], Thing("cat"))
    dice.image("x/a.jpg", [{"id": 2, "class_id": 1, "class_name": "dog"}], Thing("dog"), split="val")
    dice.image("y/a.jpg", [{"id": 3, "class_id": 0, "class_name": "cat"}], Thing("cat"), split="val")
    dice.expected.classes = None
    dice.expected.splits = {"images/a.jpg": "train", "images/x/a.jpg": "val", "images/y/a.jpg": "val"}
    return dice.write("annotations_classification.json", task_type="classification")


@classification.add("D42", "one annotation per image, in the early form")
def early(to: Source) -> Expected:
    dice = Dice(to)
    for name, number in (("cat", 0), ("dog", 1)):
        early_form = {"class_id": number, "class_name": name, "confidence": 1.0}
        dice.image(f"{name}.jpg", [], Thing(name), annotations=LEFT_OUT, annotation=early_form)
    dice.expected.classes = None
    return dice.write("annotations_classification.json", task_type="classification")
