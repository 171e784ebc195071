"""COCO to YOLO, boxes."""

from __future__ import annotations

import math

from tests.datasets.cases.coco_files import LEFT_OUT, CocoFile
from tests.datasets.cases.model import Cases, Expected, Source, Thing

cases = Cases("coco", "yolo", "detection")


@cases.add("C01", "two images, two classes")
def basic(to: Source) -> Expected:
    coco = CocoFile(to)
    first, second = coco.image("a.jpg"), coco.image("b.png", (64, 48))
    coco.box(first, "cat", (10, 10, 30, 20))
    coco.box(first, "dog", (50, 30, 25.5, 40.25))
    coco.box(second, "dog", (0, 0, 64, 48))
    return coco.write()


@cases.add("C02", "category ids with gaps, not in order")
def gaps(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 90, "name": "zebra"}, {"id": 7, "name": "ant"}, {"id": 33, "name": "cow"}])
    image = coco.image("a.jpg")
    for place, name in enumerate(("ant", "cow", "zebra")):
        coco.box(image, name, (5 + 30 * place, 10, 20, 20))
    coco.expected.classes = None
    return coco.write()


@cases.add("C03", "category, image and annotation ids from 0")
def zero_ids(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], first_id=0)
    first, second = coco.image("a.jpg"), coco.image("b.jpg")
    coco.box(first, "cat", (10, 10, 30, 20))
    coco.box(second, "dog", (20, 20, 30, 20))
    return coco.write()


@cases.add("C04", "an image without annotations")
def background(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    coco.image("empty.jpg")
    return coco.write()


@cases.add("C05", "a crowd is not one object")
def crowd(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    counts = {"size": [80, 100], "counts": [100, 2000, 5900]}
    coco.annotation(image, "cat", (1, 0, 25, 80), segmentation=counts, iscrowd=1)
    return coco.write()


@cases.add("C06", "a box larger than the image is clipped")
def larger(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (-20, -10, 150, 120))
    coco.expect(image, Thing("cat", (0, 0, 100, 80)))
    coco.box(image, "dog", (10, 10, 30, 20))
    return coco.write()


@cases.add("C07", "a box partly outside is clipped")
def partly_outside(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg", (1000, 800))
    coco.annotation(image, "cat", (-5, 100, 105, 200))
    coco.annotation(image, "dog", (900, 700, 105, 108))
    coco.expect(image, Thing("cat", (0, 100, 100, 300)), Thing("dog", (900, 700, 1000, 800)))
    return coco.write()


@cases.add("C08", "a box wholly outside is dropped")
def outside(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (120, 10, 30, 20))
    coco.annotation(image, "cat", (-40, -40, 30, 20))
    coco.box(image, "dog", (10, 10, 30, 20))
    return coco.write()


@cases.add("C09", "boxes without area are dropped")
def degenerate(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    for bbox in ((10, 10, 0, 20), (10, 10, 20, 0), (50, 50, -10, 10), (30, 30, 0, 0)):
        coco.annotation(image, "cat", bbox)
    coco.box(image, "dog", (10, 10, 30, 20))
    return coco.write()


@cases.add("C10", "NaN and infinity in a box")
def not_finite(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (math.nan, 10, 30, 20))
    coco.annotation(image, "cat", (10, 10, math.inf, 20))
    coco.box(image, "dog", (10, 10, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C11", "image ids are strings")
def string_ids(to: Source) -> Expected:
    coco = CocoFile(to)
    first, second = coco.image("a.jpg", id="b7c9-1"), coco.image("b.jpg", id="000002")
    coco.box(first, "cat", (10, 10, 30, 20), id="x-1")
    coco.box(second, "dog", (20, 20, 30, 20), id="x-2")
    return coco.write()


@cases.add("C12", "one base name in two folders")
def same_name(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("left/1.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("right/1.jpg"), "dog", (50, 40, 30, 20))
    return coco.write()


@cases.add("C13", "one stem with two extensions")
def same_stem(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("1.jpg"), "cat", (10, 10, 30, 20))
    coco.box(coco.image("1.png"), "dog", (50, 40, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C14", "names with blanks, dots and other scripts")
def odd_names(to: Source) -> Expected:
    coco = CocoFile(to)
    for place, name in enumerate(("größe 1.jpg", "v1.2.final.jpg", "日本語.png", "a#b%20c&d.jpg")):
        coco.box(coco.image(name), "cat", (10 + place, 10, 30, 20))
    return coco.write()


@cases.add("C15", "no width and height")
def no_size(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg", width=LEFT_OUT, height=LEFT_OUT), "cat", (10, 10, 30, 20))
    coco.box(coco.image("b.jpg", (64, 48), width=None, height=None), "dog", (10, 10, 30, 20))
    return coco.write()


@cases.add("C16", "width and height 0")
def zero_size(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg", width=0, height=0), "cat", (10, 10, 30, 20))
    return coco.write()


@cases.add("C17", "no width and height, and the image is turned by EXIF")
def no_size_turned(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg", (120, 60), orientation=6, width=LEFT_OUT, height=LEFT_OUT)
    coco.box(image, "cat", (10, 70, 30, 40))  # seen as it is shown, 60 x 120
    return coco.write()


@cases.add("C18", "an annotation of an image that isn't there")
def orphan(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    coco.annotation({"id": 99}, "dog", (10, 10, 30, 20))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C19", "an annotation of an unknown category")
def unknown_category(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.box(image, "cat", (10, 10, 30, 20))
    coco.annotation(image, "dog", (50, 40, 30, 20), category_id=77)
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C20", "no bbox, but a polygon")
def box_of_polygon(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (0, 0, 0, 0), bbox=LEFT_OUT, segmentation=[[10, 10, 60, 12, 40, 50]])
    coco.expect(image, Thing("cat", (10, 10, 60, 50)))
    return coco.write()


@cases.add("C21", "no iscrowd and no area")
def no_area(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20), iscrowd=LEFT_OUT, area=LEFT_OUT)
    return coco.write()


@cases.add("C22", "a file_name that climbs out with ../")
def climbing(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    Source(to.root.parent).image("secret.jpg")
    for up in ("../../", "../../../"):
        coco.annotation(coco.record(f"{up}secret.jpg"), "cat", (10, 10, 30, 20))
    coco.expected.outside = {"secret.jpg"}
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C23", "an absolute file_name")
def absolute(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg"), "cat", (10, 10, 30, 20))
    Source(to.root.parent).image("elsewhere/secret.jpg")
    coco.annotation(coco.record(str(to.root.parent / "elsewhere" / "secret.jpg")), "cat", (10, 10, 30, 20))
    coco.expected.outside = {"elsewhere", "elsewhere/secret.jpg"}
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("C24", "class names that YAML would take for something else")
def hostile_names(to: Source) -> Expected:
    names = ["no", "1e3", "a: b", "[x]", "#hash", "'quote\"", "~", "ключ", "- dash", "true"]
    coco = CocoFile(to, [{"id": number, "name": name} for number, name in enumerate(names, 1)])
    image = coco.image("a.jpg", (200, 200))
    for place, name in enumerate(names):
        coco.box(image, name, (5 + 15 * place, 10, 10, 20))
    return coco.write()


@cases.add("C25", "width and height as floats")
def float_size(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.box(coco.image("a.jpg", width=100.0, height=80.0), "cat", (10, 10, 30, 20))
    return coco.write()
