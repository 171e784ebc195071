"""COCO to COCO: made such that pycocotools and MMDetection load it."""

from __future__ import annotations

from tests.datasets.cases.coco_files import LEFT_OUT, CocoFile
from tests.datasets.cases.coco_segmentation import SQUARE, TRIANGLE, rle
from tests.datasets.cases.model import Cases, Expected, Source, Thing

cases = Cases("coco", "coco", "segmentation")


@cases.add("T01", "annotation ids from 0")
def zero_ids(to: Source) -> Expected:
    coco = CocoFile(to, first_id=0)
    first, second = coco.image("a.jpg"), coco.image("b.jpg")
    coco.polygon(first, "cat", SQUARE)
    coco.polygon(first, "dog", TRIANGLE)
    coco.polygon(second, "dog", SQUARE)
    return coco.write()


@cases.add("T02", "no area, no iscrowd, no bbox, no size")
def bare(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg", width=LEFT_OUT, height=LEFT_OUT)
    coco.polygon(image, "cat", SQUARE, area=LEFT_OUT, iscrowd=LEFT_OUT, bbox=LEFT_OUT)
    return coco.write()


@cases.add("T03", "ids with gaps, and strings")
def odd_ids(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 40, "name": "cat"}, {"id": 7, "name": "dog"}])
    first, second = coco.image("a.jpg", id="x1"), coco.image("b.jpg", id="x2")
    coco.polygon(first, "cat", SQUARE, id="u-1")
    coco.polygon(second, "dog", TRIANGLE, id="u-2")
    coco.expected.classes = None
    return coco.write()


@cases.add("T04", "a crowd stays one")
def crowd(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "cat", (60, 0, 40, 80), segmentation=rle([(60, 0, 100, 80)]), iscrowd=1, area=3200)
    coco.expect(image, Thing("cat", (60, 0, 100, 80), crowd=True))
    return coco.write()


@cases.add("T05", "two annotations of one id")
def twin_ids(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE, id=5)
    coco.polygon(image, "dog", TRIANGLE, id=5)
    return coco.write()


@cases.add("T06", "one object of two polygons, partly outside")
def two_parts(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    outside = [60, 40, 140, 40, 140, 70, 60, 70]
    coco.annotation(image, "cat", (10, 10, 130, 60), segmentation=[list(SQUARE), outside])
    parts = (((10, 10), (50, 10), (50, 40), (10, 40)), ((60, 40), (100, 40), (100, 70), (60, 70)))
    coco.expect(image, Thing("cat", (10, 10, 100, 70), polygons=parts))
    return coco.write()


@cases.add("T07", "an image without annotations stays")
def background(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.polygon(coco.image("a.jpg"), "cat", SQUARE)
    coco.image("empty.jpg")
    return coco.write()


@cases.add("T08", "one base name in two folders")
def same_name(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.polygon(coco.image("left/1.jpg"), "cat", SQUARE)
    coco.polygon(coco.image("right/1.jpg"), "dog", TRIANGLE)
    return coco.write()
