"""COCO to YOLO, outlines."""

from __future__ import annotations

from tests.datasets.cases.coco_files import LEFT_OUT, CocoFile
from tests.datasets.cases.model import Cases, Expected, Source, Thing

cases = Cases("coco", "yolo", "segmentation")

SQUARE = (10, 10, 50, 10, 50, 40, 10, 40)
TRIANGLE = (60, 40, 95, 40, 75, 75)


@cases.add("S01", "polygons")
def basic(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.polygon(image, "dog", TRIANGLE)
    return coco.write()


@cases.add("S02", "one object of two polygons")
def two_parts(to: Source) -> Expected:
    coco = CocoFile(to)
    coco.polygon(coco.image("a.jpg"), "cat", SQUARE, TRIANGLE)
    return coco.write()


@cases.add("S03", "RLE, plain counts")
def plain_rle(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    runs = rle([(20, 10, 60, 50)])
    coco.annotation(image, "cat", (20, 10, 40, 40), segmentation=runs)
    coco.expect(image, Thing("cat", (20, 10, 60, 50), polygons=(((20, 10), (60, 10), (60, 50), (20, 50)),)))
    return coco.write()


@cases.add("S04", "RLE, compressed counts")
def compressed_rle(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    runs = {"size": [80, 100], "counts": compressed(rle([(20, 10, 60, 50)])["counts"])}
    coco.annotation(image, "cat", (20, 10, 40, 40), segmentation=runs)
    coco.expect(image, Thing("cat", (20, 10, 60, 50), polygons=(((20, 10), (60, 10), (60, 50), (20, 50)),)))
    return coco.write()


@cases.add("S05", "a polygon of two points")
def two_points(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "dog", (60, 40, 30, 30), segmentation=[[60, 40, 90, 70]])
    coco.expect(image, Thing("dog", (60, 40, 90, 70), optional=True))
    return coco.write()


@cases.add("S06", "a polygon partly outside is clipped")
def partly_outside(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    outline = [[-20, 20, 40, 20, 40, 60, -20, 60]]
    coco.annotation(image, "cat", (-20, 20, 60, 40), segmentation=outline)
    coco.expect(image, Thing("cat", (0, 20, 40, 60), polygons=(((0, 20), (40, 20), (40, 60), (0, 60)),)))
    return coco.write()


@cases.add("S07", "outlines and bare boxes in one image")
def mixed(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "dog", (60, 40, 30, 30))
    coco.annotation(image, "dog", (60, 5, 30, 30), segmentation=[])
    for box in ((60, 40, 90, 70), (60, 5, 90, 35)):
        coco.expect(image, Thing("dog", box, optional=True))
    return coco.write()


@cases.add("S08", "a crowd beside an outline")
def crowd(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "cat", (60, 0, 40, 80), segmentation=rle([(60, 0, 100, 80)]), iscrowd=1)
    return coco.write()


@cases.add("S09", "RLE in two parts is one object")
def two_part_rle(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.annotation(image, "cat", (10, 10, 80, 60), segmentation=rle([(10, 10, 40, 40), (60, 40, 90, 70)]))
    parts = (((10, 10), (40, 10), (40, 40), (10, 40)), ((60, 40), (90, 40), (90, 70), (60, 70)))
    coco.expect(image, Thing("cat", (10, 10, 90, 70), polygons=parts))
    return coco.write()


more = Cases("coco", "yolo", "segmentation")


@more.add("S10", "RLE of another size than the image")
def wrong_size(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "dog", (0, 0, 10, 10), segmentation={"size": [8, 10], "counts": [0, 80]})
    coco.expected.refusal = "accepted"
    coco.expect(image, Thing("dog", (0, 0, 10, 10), optional=True))
    return coco.write()


@more.add("S11", "RLE whose counts claim more than there is")
def bomb(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    runs = {"size": [10**6, 10**6], "counts": [0, 10**12]}
    coco.annotation(image, "dog", (0, 0, 10, 10), segmentation=runs)
    coco.expected.refusal = "accepted"
    coco.expect(image, Thing("dog", (0, 0, 10, 10), optional=True))
    return coco.write()


@more.add("S12", "no bbox, two polygons, partly outside")
def no_bbox(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    outline = [list(SQUARE), [60, 40, 140, 40, 140, 70, 60, 70]]
    coco.annotation(image, "cat", (0, 0, 0, 0), bbox=LEFT_OUT, area=LEFT_OUT, segmentation=outline)
    parts = (((10, 10), (50, 10), (50, 40), (10, 40)), ((60, 40), (100, 40), (100, 70), (60, 70)))
    coco.expect(image, Thing("cat", (10, 10, 100, 70), polygons=parts))
    return coco.write()


@more.add("S13", "a polygon with an odd count of numbers")
def odd_count(to: Source) -> Expected:
    coco = CocoFile(to)
    image = coco.image("a.jpg")
    coco.polygon(image, "cat", SQUARE)
    coco.annotation(image, "dog", (60, 40, 30, 30), segmentation=[[60, 40, 90, 40, 90, 70, 60]])
    coco.expect(image, Thing("dog", (60, 40, 90, 70), optional=True))
    coco.expected.refusal = "accepted"
    return coco.write()


def rle(boxes: list[tuple[int, int, int, int]], size: tuple[int, int] = (100, 80)) -> dict[str, list[int]]:
    """COCO's plain RLE, column by column, of some rectangles."""
    width, height = size
    inside = [any(l <= x < r and t <= y < b for l, t, r, b in boxes) for x in range(width) for y in range(height)]  # noqa: E741
    counts, value = [0], False
    for pixel in inside:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": [height, width], "counts": counts}


def compressed(counts: list[int]) -> str:
    """The counts as COCO writes them in a string: from the fourth on differences, in groups of five bits."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group, value = value & 31, value >> 5
            done = value == (-1 if group & 16 else 0)
            text += chr((group if done else group | 32) + 48)
            if done:
                break
    return text
