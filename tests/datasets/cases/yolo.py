"""YOLO to COCO."""

from __future__ import annotations

from collections.abc import Sequence

from tests.datasets.cases.model import SIZE, Cases, Expected, Source, Thing, points

cases = Cases("yolo", "coco", "detection")
CAT = "0 0.25 0.25 0.3 0.25"
CAT_THING = Thing("cat", (10, 10, 40, 30))
OUTLINE = (60.0, 40.0, 95.0, 40.0, 75.0, 75.0)
OUTLINE_ROW = "1 " + " ".join(f"{value / SIZE[place % 2]:.6f}" for place, value in enumerate(OUTLINE))
OUTLINE_THING = Thing("dog", (60, 40, 95, 75), polygons=(points(OUTLINE),))


class Yolo:
    """A YOLO dataset: data.yaml, images and labels."""

    def __init__(self, to: Source) -> None:
        self.to = to
        self.expected = Expected(classes=["cat", "dog"])

    def image(self, name: str, rows: Sequence[str] | None, *things: Thing, split: str = "train") -> None:
        """An image and its label file; no label file if `rows` is None."""
        path = self.to.image(f"images/{split}/{name}")
        if rows is not None:
            self.to.text(f"labels/{split}/{name.rpartition('.')[0]}.txt", "".join(f"{row}\n" for row in rows))
        self.expected.images[path] = list(things)
        self.expected.splits[path] = split

    def write(self, text: str = "train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n") -> Expected:
        """Write data.yaml."""
        self.to.text("data.yaml", text)
        return self.expected


def with_val(to: Source) -> Yolo:
    """One with an image to validate with."""
    yolo = Yolo(to)
    yolo.image("v.jpg", [CAT], CAT_THING, split="val")
    return yolo


@cases.add("Y01", "boxes, two splits")
def basic(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT, "1 0.65 0.625 0.3 0.25"], CAT_THING, Thing("dog", (50, 40, 80, 60)))
    return yolo.write()


@cases.add("Y02", "an empty label file, and none")
def backgrounds(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT], CAT_THING)
    yolo.image("empty.jpg", [])
    yolo.image("none.jpg", None)
    return yolo.write()


@cases.add("Y03", "box rows and polygon rows in one file")
def mixed(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT, OUTLINE_ROW], CAT_THING, Thing("dog", (60, 40, 95, 75)))
    yolo.expected.refusal = "accepted"
    return yolo.write()


@cases.add("Y04", "NaN in a row")
def not_finite(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT, "1 nan 0.5 0.2 0.2"], CAT_THING)
    yolo.expected.refusal = "accepted"
    return yolo.write()


@cases.add("Y05", "a class that has no name")
def unknown_class(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT, "7 0.5 0.5 0.2 0.2"], CAT_THING)
    yolo.expected.refusal = "accepted"
    return yolo.write()


@cases.add("Y06", "an image turned by EXIF")
def turned(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", ["0 0.5 0.5 0.5 0.25"], Thing("cat", (15, 45, 45, 75)))
    to.image("images/train/a.jpg", (120, 60), orientation=6)  # shown as 60 x 120
    return yolo.write()


@cases.add("Y07", "splits as lists of paths")
def text_splits(to: Source) -> Expected:
    yolo = Yolo(to)
    for name, split in (("a.jpg", "train"), ("b.jpg", "val"), ("c.jpg", "train")):
        yolo.image(name, [CAT], CAT_THING)
        yolo.expected.splits[f"images/train/{name}"] = split
    to.text("train.txt", f"./images/train/a.jpg\n{to.root}/images/train/c.jpg\n")
    to.text("val.txt", "./images/train/b.jpg\n")
    return yolo.write("train: train.txt\nval: val.txt\nnames: [cat, dog]\n")


@cases.add("Y08", "one stem with two extensions")
def same_stem(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT], CAT_THING)
    yolo.image("a.png", None, CAT_THING)
    yolo.expected.refusal = "accepted"
    return yolo.write()


@cases.add("Y09", "names as a list, a byte-order mark, Windows' line ends")
def other_editors(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [], CAT_THING)
    (to.root / "labels" / "train" / "a.txt").write_bytes(b"\xef\xbb\xbf" + CAT.encode() + b"\r\n\r\n")
    return yolo.write("path: .\ntrain: images/train\nval: images/val\nnc: 2\nnames: ['cat', 'dog']\n")


@cases.add("Y10", "a row that goes past the edge by a rounding")
def past_the_edge(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", ["0 0.85 0.5 0.301 1.0"], Thing("cat", (69.95, 0, 100, 80)))
    return yolo.write()


@cases.add("Y11", "rows of one, two and six numbers")
def odd_rows(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT, "1", "1 0.5", "1 0.5 0.5 0.2 0.2 0.9"], CAT_THING)
    yolo.expected.images["images/train/a.jpg"].append(Thing("dog", (40, 32, 60, 48), optional=True))
    yolo.expected.refusal = "accepted"
    return yolo.write()


@cases.add("Y12", "names that leave a number out")
def gap_in_names(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", ["2 0.25 0.25 0.3 0.25"], Thing("dog", (10, 10, 40, 30)))
    yolo.expected.refusal = "accepted"
    return yolo.write("train: images/train\nval: images/val\nnames: {0: cat, 2: dog}\n")


@cases.add("Y13", "a script to download in data.yaml is not run")
def script(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("a.jpg", [CAT], CAT_THING)
    order = f"open({str(to.root.parent / 'run')!r}, 'w').close()"
    return yolo.write(f"train: images/train\nval: images/val\nnames: [cat, dog]\ndownload: |\n  {order}\n")


@cases.add("Y14", "a tag of Python's in data.yaml")
def python_tag(to: Source) -> Expected:
    yolo = with_val(to)
    target = to.root.parent / "run"
    yolo.expected.refusal = "due"
    return yolo.write(f"train: images/train\nval: images/val\nnames: !!python/object/apply:os.mkdir [{target}]\n")


segmentation = Cases("yolo", "coco", "segmentation")


@segmentation.add("Y21", "outlines")
def outlines(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.to.text("labels/val/v.txt", OUTLINE_ROW + "\n")
    yolo.expected.images["images/val/v.jpg"] = [OUTLINE_THING]
    yolo.image("a.jpg", [OUTLINE_ROW], OUTLINE_THING)
    return yolo.write()


same = Cases("yolo", "yolo", "detection")


@same.add("Y31", "YOLO to YOLO")
def copied(to: Source) -> Expected:
    yolo = with_val(to)
    yolo.image("sub/a.jpg", [CAT], CAT_THING)
    yolo.image("a.jpg", ["1 0.25 0.25 0.3 0.25"], Thing("dog", (10, 10, 40, 30)))
    return yolo.write()
