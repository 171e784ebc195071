"""Little datasets with something odd about each, and what has to come of them.

C, S and L are the edge cases on which the tools of the field were compared; the others go beyond them.
"""

from __future__ import annotations

from tests.datasets.cases import (
    coco_coco,
    coco_detection,
    coco_more,
    coco_segmentation,
    dice,
    folders,
    labelme,
    obb,
    pose,
    real,
    yolo,
)
from tests.datasets.cases.model import Case

COMPARED: list[Case] = [*coco_detection.cases, *coco_segmentation.cases, *labelme.cases]
"""The 55 on which peers were compared."""

LABELME_TARGETS: list[Case] = [
    *labelme.cases.also("s", task="segmentation"),
    *labelme.cases.also("c", target="coco"),
    *labelme.cases.also("cs", target="coco", task="segmentation"),
]
"""Those of LabelMe again: outlines (s), COCO's boxes (c) and outlines (cs)."""

FURTHER: list[Case] = [
    *coco_more.cases,
    *coco_more.splits,
    *coco_segmentation.more,
    *labelme.more,
    *dice.cases,
    *dice.segmentation,
    *dice.classification,
    *pose.cases,
    *pose.dice,
    *obb.cases,
    *obb.coco,
    *obb.yolo,
    *folders.cases,
    *yolo.cases,
    *yolo.segmentation,
    *yolo.same,
    *coco_coco.cases,
    *real.cases,
    *real.cases.also("c", target="coco"),
]

ALL: list[Case] = [*COMPARED, *LABELME_TARGETS, *FURTHER]
