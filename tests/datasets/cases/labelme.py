"""LabelMe to YOLO and COCO."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

from PIL import Image

from tests.datasets.cases.coco_files import LEFT_OUT
from tests.datasets.cases.model import SIZE, Cases, Expected, Source, Thing

cases = Cases("labelme", "yolo", "detection")
Shape = dict[str, Any]


class LabelMe:
    """Files of LabelMe, one beside each image."""

    def __init__(self, to: Source) -> None:
        self.to = to
        self.expected = Expected()

    def file(self, image: str, shapes: list[Shape], *things: Thing, **fields: Any) -> Expected:
        """The file of an image and what has to come of it; the image is made with `size` and `orientation`."""
        size, orientation = fields.pop("size", SIZE), fields.pop("orientation", 1)
        path = fields.pop("path", f"{image.rpartition('.')[0]}.json")
        self.to.image(image, size, orientation)
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": image.rpartition("/")[2],
            "imageData": None,
            "imageHeight": size[1],
            "imageWidth": size[0],
        }
        content.update(fields)
        self.to.json(path, {key: value for key, value in content.items() if value is not LEFT_OUT})
        self.expected.images[image] = list(things)
        return self.expected


def shape(label: str, kind: str, points: list[list[float]], **fields: Any) -> Shape:
    """A shape as LabelMe writes it."""
    given = {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, "description": ""}
    return {key: value for key, value in {**given, **fields}.items() if value is not LEFT_OUT}


def rectangle(label: str, left: float, top: float, right: float, bottom: float, **fields: Any) -> Shape:
    """A rectangle by two corners."""
    return shape(label, "rectangle", [[left, top], [right, bottom]], **fields)


TRIANGLE = [[60.0, 40.0], [95.0, 40.0], [75.0, 75.0]]
TRIANGLE_THING = Thing("dog", (60, 40, 95, 75), polygons=(((60, 40), (95, 40), (75, 75)),))


def of_box(name: str, left: float, top: float, right: float, bottom: float) -> Thing:
    """A rectangle, which is an outline as well."""
    outline = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Thing(name, (left, top, right, bottom), polygons=(outline,))


CAT = rectangle("cat", 10, 10, 40, 30)
CAT_THING = of_box("cat", 10, 10, 40, 30)


@cases.add("L01", "a rectangle and a polygon")
def basic(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [CAT, shape("dog", "polygon", TRIANGLE)], CAT_THING, TRIANGLE_THING)


@cases.add("L02", "a rectangle's corners in any order")
def corners(to: Source) -> Expected:
    drawn = [rectangle("cat", 40, 30, 10, 10), rectangle("dog", 50, 70, 90, 40)]
    return LabelMe(to).file("a.jpg", drawn, CAT_THING, of_box("dog", 50, 40, 90, 70))


@cases.add("L03", "a circle")
def circle(to: Source) -> Expected:
    outline = tuple((50 + 20 * math.cos(a / 32 * math.pi), 40 + 20 * math.sin(a / 32 * math.pi)) for a in range(64))
    ball = Thing("ball", (30, 20, 70, 60), polygons=(outline,))
    return LabelMe(to).file("a.jpg", [shape("ball", "circle", [[50, 40], [62, 56]])], ball)


@cases.add("L04", "points and lines are no boxes")
def lines(to: Source) -> Expected:
    drawn = [
        shape("cat", "point", [[5, 5]]),
        shape("cat", "line", [[5, 5], [50, 50]]),
        shape("cat", "linestrip", [[5, 5], [50, 50], [90, 20]]),
        shape("cat", "points", [[5, 5], [6, 6]]),
        CAT,
    ]
    return LabelMe(to).file("a.jpg", drawn, CAT_THING)


@cases.add("L05", "a mask")
def mask(to: Source) -> Expected:
    drawn = shape("cat", "mask", [[20, 10], [59, 49]], mask=png(Image.new("L", (40, 40), 255)))
    return LabelMe(to).file("a.jpg", [drawn], of_box("cat", 20, 10, 60, 50))


@cases.add("L06", "shapes of one group are one object")
def group(to: Source) -> Expected:
    drawn = [
        shape("cat", "polygon", [[10, 10], [30, 10], [30, 40], [10, 40]], group_id=1),
        shape("cat", "polygon", [[50, 20], [80, 20], [80, 70], [50, 70]], group_id=1),
        shape("cat", "polygon", [[85, 5], [98, 5], [98, 30], [85, 30]], group_id=2),
        shape("dog", "polygon", [[5, 50], [40, 50], [40, 75], [5, 75]], group_id=1),
    ]
    parts = (((10, 10), (30, 10), (30, 40), (10, 40)), ((50, 20), (80, 20), (80, 70), (50, 70)))
    things = (
        Thing("cat", (10, 10, 80, 70), polygons=parts),
        of_box("cat", 85, 5, 98, 30),
        of_box("dog", 5, 50, 40, 75),
    )
    return LabelMe(to).file("a.jpg", drawn, *things)


@cases.add("L07", "points outside are clipped")
def outside(to: Source) -> Expected:
    drawn = [
        shape("cat", "polygon", [[-30, 10], [40, 10], [40, 60], [-30, 60]]),
        rectangle("dog", 60, 50, 140, 120),
    ]
    return LabelMe(to).file("a.jpg", drawn, of_box("cat", 0, 10, 40, 60), of_box("dog", 60, 50, 100, 80))


@cases.add("L08", "a rectangle without width is dropped")
def degenerate(to: Source) -> Expected:
    drawn = [rectangle("cat", 30, 10, 30, 40), rectangle("cat", 30, 10, 60, 10), rectangle("cat", 5, 5, 5, 5), CAT]
    return LabelMe(to).file("a.jpg", drawn, CAT_THING)


@cases.add("L09", "a polygon of two points is dropped")
def two_points(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [shape("dog", "polygon", [[10, 10], [60, 50]]), CAT], CAT_THING)


@cases.add("L10", "the size is null")
def null_size(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [CAT], CAT_THING, imageHeight=None, imageWidth=None)


@cases.add("L11", "no size, and the image is turned by EXIF")
def turned(to: Source) -> Expected:
    thing = of_box("cat", 10, 70, 40, 110)
    odd = {"size": (120, 60), "orientation": 6, "imageHeight": LEFT_OUT, "imageWidth": LEFT_OUT}
    return LabelMe(to).file("a.jpg", [rectangle("cat", 10, 70, 40, 110)], thing, **odd)


@cases.add("L12", "imagePath from Windows")
def backslashes(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [CAT], CAT_THING, imagePath=".\\a.jpg")


@cases.add("L13", "the image is in the file, too")
def embedded(to: Source) -> Expected:
    to.image("a.jpg")
    data = base64.b64encode((to.root / "a.jpg").read_bytes()).decode()
    return LabelMe(to).file("a.jpg", [CAT], CAT_THING, imageData=data)


@cases.add("L14", "labels in other scripts, with blanks")
def labels(to: Source) -> Expected:
    drawn = [rectangle("große Katze", 10, 10, 40, 30), rectangle("猫", 50, 40, 80, 60)]
    return LabelMe(to).file("ä b.jpg", drawn, of_box("große Katze", 10, 10, 40, 30), of_box("猫", 50, 40, 80, 60))


@cases.add("L15", "no shape_type, as in old files")
def no_type(to: Source) -> Expected:
    old = {"label": "dog", "points": TRIANGLE, "line_color": None, "fill_color": None}
    return LabelMe(to).file("a.jpg", [old], TRIANGLE_THING, version="3.5.0")


@cases.add("L16", "an oriented rectangle")
def oriented(to: Source) -> Expected:
    corners = [[50, 10], [90, 40], [72, 64], [32, 34]]
    thing = Thing("cat", (32, 10, 90, 64), polygons=(tuple((x, y) for x, y in corners),))
    return LabelMe(to).file("a.jpg", [shape("cat", "oriented_rectangle", corners)], thing)


@cases.add("L17", "one base name in two folders")
def same_name(to: Source) -> Expected:
    files = LabelMe(to)
    files.file("left/1.jpg", [CAT], CAT_THING)
    return files.file("right/1.jpg", [rectangle("dog", 50, 40, 80, 60)], of_box("dog", 50, 40, 80, 60))


@cases.add("L18", "NaN in a point")
def not_finite(to: Source) -> Expected:
    drawn = [CAT, shape("dog", "polygon", [[math.nan, 10], [60, 10], [60, 50]])]
    files = LabelMe(to)
    files.expected.refusal = "accepted"
    return files.file("a.jpg", drawn, CAT_THING)


@cases.add("L19", "imagePath climbs out")
def climbing(to: Source) -> Expected:
    files = LabelMe(to)
    Source(to.root.parent).image("secret.jpg", (300, 300))
    files.expected.outside = {"secret.jpg"}
    files.expected.refusal = "accepted"
    return files.file("a.jpg", [CAT], CAT_THING, imagePath="../secret.jpg")


@cases.add("L20", "the size as floats")
def float_size(to: Source) -> Expected:
    return LabelMe(to).file("a.jpg", [CAT], CAT_THING, imageHeight=80.0, imageWidth=100.0)


@cases.add("L21", "no shapes")
def background(to: Source) -> Expected:
    files = LabelMe(to)
    files.file("b.jpg", [])
    return files.file("a.jpg", [CAT], CAT_THING)


more = Cases("labelme", "yolo", "detection")


@more.add("L22", "images/ and labels/ beside each other, imagePath as Windows writes it")
def two_folders(to: Source) -> Expected:
    files = LabelMe(to)
    files.file("images/a.jpg", [CAT], CAT_THING, path="labels/a.json", imagePath="..\\images\\a.jpg")
    return files.expected


@more.add("L23", "no image anywhere")
def no_image(to: Source) -> Expected:
    files = LabelMe(to)
    files.file("a.jpg", [CAT])
    (to.root / "a.jpg").unlink()
    files.expected.refusal = "due"
    return files.expected


@more.add("L24", "a JSON file of something else among them")
def foreign(to: Source) -> Expected:
    files = LabelMe(to)
    to.json("notes.json", {"hello": "world"})
    files.expected.refusal = "accepted"
    return files.file("a.jpg", [CAT], CAT_THING)


@more.add("L25", "a mask with a hole and a free pixel")
def holed(to: Source) -> Expected:
    drawn = Image.new("L", (40, 40), 255)
    drawn.paste(0, (15, 15, 25, 25))
    thing = Thing("cat", (20, 10, 60, 50))
    return LabelMe(to).file("a.jpg", [shape("cat", "mask", [[20, 10], [59, 49]], mask=png(drawn))], thing)


@more.add("L26", "a mask of another size than its points")
def odd_mask(to: Source) -> Expected:
    drawn = shape("dog", "mask", [[20, 10], [59, 49]], mask=png(Image.new("L", (7, 7), 255)))
    files = LabelMe(to)
    files.expected.refusal = "accepted"
    return files.file("a.jpg", [CAT, drawn], CAT_THING, Thing("dog", None, optional=True))


def png(image: Image.Image) -> str:
    """An image as LabelMe keeps masks."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
