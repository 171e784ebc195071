"""COCO to YOLO: what the other cases leave out, among it classes and splits that the caller names."""

from __future__ import annotations

from tests.datasets.cases.coco_files import LEFT_OUT, CocoFile
from tests.datasets.cases.model import Cases, Expected, Source, Thing

cases = Cases("coco", "yolo", "detection")


@cases.add("C26", "duplicates of one annotation")
def duplicates(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    coco.annotation(image, "cat", (10, 10, 30, 20))
    coco.expect(image, Thing("cat", (10, 10, 40, 30), optional=True))
    return coco.write()


@cases.add("C27", "an image is recorded and is not there")
def missing_image(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.annotation(coco.record("lost.jpg"), "cat", (10, 10, 30, 20))
    coco.expected.refusal = "due"
    return coco.write()


@cases.add("C28", "an image is not there, and one may be missing", max_missing=1)
def tolerated_image(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.annotation(coco.record("lost.jpg"), "cat", (10, 10, 30, 20))
    return coco.write()


@cases.add("C29", "classes named by the caller, in another order", classes=["dog", "cat"])
def own_order(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    coco.box(image, "dog", (50, 40, 30, 20))
    coco.expected.classes = ["dog", "cat"]
    return coco.write()


@cases.add("C30", "a class that the caller doesn't name", classes=["dog"])
def own_choice(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (10, 10, 30, 20))
    coco.box(image, "dog", (50, 40, 30, 20))
    coco.image("b.jpg")
    coco.expected.classes = ["dog"]
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C31", "the declared size is the turned one, the file says it by EXIF")
def turned(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg", (120, 60), orientation=6, width=60, height=120)
    coco.box(image, "cat", (10, 70, 30, 40))
    return coco.write()


@cases.add("C32", "the declared size is wrong")
def wrong_size(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg", width=200, height=160), "cat", (10, 10, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C33", "two categories of one name")
def twin_categories(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}])
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (10, 10, 30, 20), category_id=1)
    coco.annotation(image, "cat", (50, 40, 30, 20), category_id=2)
    coco.expect(image, Thing("cat", (10, 10, 40, 30)), Thing("cat", (50, 40, 80, 60)))
    coco.expected.classes = None
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C34", "two images of one id")
def twin_images(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.image("a.jpg")
    coco.annotation(coco.image("b.jpg", id=1), "cat", (10, 10, 30, 20))
    coco.expected.refusal = "due"
    return coco.write()


@cases.add("C35", "file_name begins with images/")
def prefixed(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    image["file_name"] = "images/a.jpg"
    return coco.write()


@cases.add("C36", "file_name with backslashes")
def backslashes(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("left/a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    image["file_name"] = "left\\a.jpg"
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C37", "no annotations at all")
def nothing(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.image("a.jpg")
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C38", "not the top level of COCO")
def not_coco(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.image("a.jpg")
    coco.expected.refusal = "due"
    return coco.write(images=LEFT_OUT, annotations=LEFT_OUT)


@cases.add("C39", "cut off in the middle")
def torn(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.write()
    file = to.root / "annotations" / "instances_train.json"
    file.write_bytes(file.read_bytes()[:-40])
    coco.expected.refusal = "due"
    return coco.expected


@cases.add("C40", "an image is no image")
def broken_image(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("b.jpg"), "cat", (10, 10, 30, 20))
    (to.root / "images" / "b.jpg").write_bytes(b"this is text")
    coco.expected.refusal = "accepted"
    coco.expected.dropped = {"images/b.jpg"}
    return coco.write()


@cases.add("C41", "a name of 200 letters in a deep folder")
def long_name(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a/b/c/d/e/" + "n" * 200 + ".jpg"), "cat", (10, 10, 30, 20))
    return coco.write()


@cases.add("C42", "names that differ by case only")
def case_only(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("A.jpg"), "dog", (50, 40, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C43", "numbers as strings")
def stringly(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    coco.annotation(image, "dog", (50, 40, 30, 20), bbox=["50", "40", "30", "20"])
    coco.expect(image, Thing("dog", (50, 40, 80, 60), optional=True))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C44", "an image is a link, as caches lay them")
def linked(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("b.jpg"), "dog", (50, 40, 30, 20))
    store = to.root.parent / "store"
    store.mkdir()
    (to.root / "images" / "b.jpg").rename(store / "0a1b")
    (to.root / "images" / "b.jpg").symlink_to(store / "0a1b")
    coco.expected.outside = {"store", "store/0a1b"}
    return coco.write()


@cases.add("C45", "a name that begins with a dot, which Ultralytics passes over")
def hidden(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image(".hidden.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


splits = Cases("coco", "yolo", "detection", peers=False)


@splits.add("P01", "splits named by the caller", assign={"1": "train", "2": "val", "3": "test"})
def by_id(to: Source) -> Expected:
    coco = CocoFile(to)
    for name in "abc":
        coco.box(coco.image(f"{name}.jpg"), "cat", (10, 10, 30, 20))
    coco.expected.splits = {"images/a.jpg": "train", "images/b.jpg": "val", "images/c.jpg": "test"}
    return coco.write("annotations.json")


@splits.add("P02", "train and val in files of their own")
def two_files(to: Source) -> Expected:
    train, val = CocoFile(to), CocoFile(to)
    train.box(train.image("a.jpg"), "cat", (10, 10, 30, 20))
    val.box(val.image("b.jpg"), "dog", (20, 10, 30, 20))
    train.write("annotations/instances_train.json")
    val.write("annotations/instances_val.json")
    train.expected.images.update(val.expected.images)
    train.expected.splits = {"images/a.jpg": "train", "images/b.jpg": "val"}
    return train.expected


@splits.add("P03", "val has fewer categories than train, in another order")
def other_categories(to: Source) -> Expected:
    train, val = CocoFile(to), CocoFile(to, [{"id": 1, "name": "dog"}])
    train.box(train.image("a.jpg"), "cat", (10, 10, 30, 20))
    val.box(val.image("b.jpg"), "dog", (20, 10, 30, 20))
    train.write("annotations/instances_train.json")
    val.write("annotations/instances_val.json")
    train.expected.images.update(val.expected.images)
    train.expected.splits = {"images/a.jpg": "train", "images/b.jpg": "val"}
    train.expected.refusal = "accepted"
    return train.expected
