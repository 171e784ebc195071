"""Files that people have drawn, and what is known of them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.cases.model import Cases, Expected, Source, Thing, xywh

cases = Cases("labelme", "yolo", "detection")
_SAHI = Path(__file__).resolve().parents[2] / "assets" / "sahi"


@cases.add("R01", "LabelMe's own files of three photographs, and the boxes known of them")
def terrains(to: Source) -> Expected:
    expected = Expected()
    for truth in sorted(_SAHI.glob("*_coco.json")):
        drawn = truth.with_name(truth.name.replace("_coco", ""))
        known = json.loads(truth.read_text())
        names = {category["id"]: category["name"] for category in known["categories"]}
        (image,) = known["images"]
        path = to.image(f"{drawn.stem}.png", (image["width"], image["height"]))
        to.text(drawn.name, drawn.read_text())
        expected.images[path] = [Thing(names[one["category_id"]], xywh(*one["bbox"])) for one in known["annotations"]]
    return expected
