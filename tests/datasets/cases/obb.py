"""Oriented boxes: LabelMe, COCO and YOLO to YOLO."""

from __future__ import annotations

from tests.datasets.cases.coco_files import CocoFile
from tests.datasets.cases.labelme import CAT, LabelMe, shape
from tests.datasets.cases.model import Cases, Expected, Source, Thing

DIAMOND = ((50, 10), (90, 40), (72, 64), (32, 34))
UPRIGHT = ((10, 10), (40, 10), (40, 30), (10, 30))
cases = Cases("labelme", "yolo", "obb")


@cases.add("O01", "an oriented rectangle")
def oriented(to: Source) -> Expected:
    drawn = shape("cat", "oriented_rectangle", [list(point) for point in DIAMOND])
    return LabelMe(to).file("a.jpg", [drawn], Thing("cat", corners=DIAMOND))


@cases.add("O02", "an upright rectangle")
def upright(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [CAT], Thing("cat", corners=UPRIGHT))


@cases.add("O03", "a polygon of four points")
def four_points(to: Source) -> Expected:
    drawn = shape("cat", "polygon", [list(point) for point in UPRIGHT])
    return LabelMe(to).file("a.jpg", [drawn], Thing("cat", corners=UPRIGHT))


@cases.add("O04", "a corner outside the image")
def outside(to: Source) -> Expected:
    drawn = shape("dog", "oriented_rectangle", [[80, 30], [110, 50], [94, 74], [64, 54]])
    files = LabelMe(to)
    return files.file("a.jpg", [CAT, drawn], Thing("cat", corners=UPRIGHT), Thing("dog", optional=True))


coco = Cases("coco", "yolo", "obb")


@coco.add("O11", "a polygon of four points, and a bare box")
def polygon(to: Source) -> Expected:
    file = CocoFile(to)
    image = file.image("a.jpg")
    flat = [float(value) for point in DIAMOND for value in point]
    file.annotation(image, "cat", (32, 10, 58, 54), segmentation=[flat])
    file.annotation(image, "dog", (10, 10, 30, 20))
    file.expect(image, Thing("cat", corners=DIAMOND), Thing("dog", corners=UPRIGHT))
    return file.write()


yolo = Cases("yolo", "yolo", "obb")


@yolo.add("O21", "YOLO to YOLO")
def same(to: Source) -> Expected:
    row = " ".join(f"{x / 100:g} {y / 80:g}" for x, y in DIAMOND)
    to.text("data.yaml", "train: images/train\nval: images/val\nnames: [cat]\n")
    for split in ("train", "val"):
        to.image(f"images/{split}/{split}.jpg")
        to.text(f"labels/{split}/{split}.txt", f"0 {row}\n")
    images = {f"images/{split}/{split}.jpg": [Thing("cat", corners=DIAMOND)] for split in ("train", "val")}
    splits = {f"images/{split}/{split}.jpg": split for split in ("train", "val")}
    return Expected(images=images, classes=["cat"], splits=splits)
