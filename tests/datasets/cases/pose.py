"""Keypoints: COCO and DICE to YOLO."""

from __future__ import annotations

from collections.abc import Sequence

from tests.datasets.cases import dice as dices
from tests.datasets.cases.coco_files import CocoFile, Record
from tests.datasets.cases.model import Cases, Expected, Source, Thing, xywh

cases = Cases("coco", "yolo", "pose")
PERSON = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2], [1, 3]]}
BOX = (10.0, 10.0, 60.0, 50.0)


def pose(coco: CocoFile, image: Record, flat: Sequence[float], *, expected: Sequence[float] | None = None) -> None:
    """A person with these keypoints; `expected` where they have to come out otherwise."""
    coco.annotation(image, "person", BOX, keypoints=list(flat), num_keypoints=sum(v > 0 for v in flat[2::3]))
    coco.expect(image, Thing("person", xywh(*BOX), keypoints=triples(expected or flat)))


def triples(flat: Sequence[float]) -> tuple[tuple[float, float, int], ...]:
    """x, y, v one after another as triples."""
    return tuple((x, y, int(v)) for x, y, v in zip(flat[::3], flat[1::3], flat[2::3], strict=True))


@cases.add("K01", "three keypoints")
def basic(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    pose(coco, coco.image("a.jpg"), [40, 20, 2, 30, 25, 1, 50, 25, 2])
    return coco.write()


@cases.add("K02", "a keypoint that isn't labelled")
def unlabelled(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    pose(coco, coco.image("a.jpg"), [40, 20, 2, 0, 0, 0, 50, 25, 2])
    return coco.write()


@cases.add("K03", "keypoints outside the image")
def outside(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    given = [40, 20, 2, -30, 25, 2, 150, 25, 1]
    pose(coco, coco.image("a.jpg"), given, expected=[40, 20, 2, 0, 0, 0, 0, 0, 0])
    return coco.write()


@cases.add("K04", "an object without keypoints among others")
def without(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    image = coco.image("a.jpg")
    pose(coco, image, [40, 20, 2, 30, 25, 1, 50, 25, 2])
    coco.annotation(image, "person", (5, 5, 20, 20))
    coco.expect(image, Thing("person", (5, 5, 25, 25), optional=True))
    return coco.write()


@cases.add("K05", "categories with different counts of keypoints")
def different(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON, {"id": 2, "name": "hand", "keypoints": ["wrist", "thumb"], "skeleton": []}])
    image = coco.image("a.jpg")
    pose(coco, image, [40, 20, 2, 30, 25, 1, 50, 25, 2])
    coco.annotation(image, "hand", (70, 50, 20, 20), keypoints=[75, 55, 2, 85, 65, 2], num_keypoints=2)
    coco.expect(image, Thing("hand", (70, 50, 90, 70), keypoints=((75, 55, 2), (85, 65, 2), (0, 0, 0)), optional=True))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("K06", "two keypoints too few in one annotation")
def too_few(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    image = coco.image("a.jpg")
    pose(coco, image, [40, 20, 2, 30, 25, 1, 50, 25, 2])
    coco.annotation(image, "person", (5, 5, 20, 20), keypoints=[10, 10, 2], num_keypoints=1)
    filled_up = ((10, 10, 2), (0, 0, 0), (0, 0, 0))
    coco.expect(image, Thing("person", (5, 5, 25, 25), keypoints=filled_up, optional=True))
    coco.expected.refusal = "accepted"
    return coco.write()


@cases.add("K07", "no names of keypoints in the category")
def unnamed(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 1, "name": "person"}])
    pose(coco, coco.image("a.jpg"), [40, 20, 2, 30, 25, 1])
    return coco.write()


@cases.add("K08", "a category without keypoints beside")
def no_pose_class(to: Source) -> Expected:
    coco = CocoFile(to, [{"id": 3, "name": "ball"}, PERSON])
    pose(coco, coco.image("a.jpg"), [40, 20, 2, 30, 25, 1, 50, 25, 2])
    coco.expected.classes = None
    return coco.write()


@cases.add("K09", "NaN in a keypoint")
def not_finite(to: Source) -> Expected:
    coco = CocoFile(to, [PERSON])
    image = coco.image("a.jpg")
    pose(coco, image, [40, 20, 2, 30, 25, 1, 50, 25, 2])
    coco.annotation(image, "person", (5, 5, 20, 20), keypoints=[float("nan"), 10, 2, 12, 12, 2, 14, 14, 2])
    coco.expect(image, Thing("person", (5, 5, 25, 25), optional=True))
    coco.expected.refusal = "accepted"
    return coco.write()


dice = Cases("dice", "yolo", "pose")


@dice.add("K21", "DICE, keypoints flat and in triples")
def of_dice(to: Source) -> Expected:
    file = dices.Dice(to, [{"id": 0, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}])
    flat = [40, 20, 2, 30, 25, 1, 50, 25, 2]
    nested = [[40, 20, 2], [30, 25, 1], [50, 25, 2]]
    thing = Thing("person", xywh(*BOX), keypoints=triples(flat))
    for name, given in (("a.jpg", flat), ("b.jpg", nested)):
        file.image(name, [dices.annotation(0, list(BOX), keypoints=given, num_keypoints=3)], thing)
    return file.write("annotations_pose.json", task_type="keypoint_detection")
