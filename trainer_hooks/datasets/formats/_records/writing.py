"""What COCO and its relatives write alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from trainer_hooks.datasets.geometry import DIGITS, area
from trainer_hooks.datasets.model import Annotation


def placed(annotation: Annotation) -> dict[str, Any]:
    """Where on the image it is, as COCO has it: box, area, outline; and whether it is a crowd."""
    left, top, right, bottom = annotation.box or (0.0, 0.0, 0.0, 0.0)
    record: dict[str, Any] = {
        "bbox": [round(left, DIGITS), round(top, DIGITS), round(right - left, DIGITS), round(bottom - top, DIGITS)],
        "area": round((right - left) * (bottom - top), DIGITS),
        "iscrowd": int(annotation.crowd),
    }
    if annotation.mask is not None:
        record.update(_of_mask(annotation))
    else:
        rings = annotation.polygons or ([annotation.corners] if annotation.corners else [])
        record["segmentation"] = rings
        if rings:
            enclosed = sum(map(area, rings)) if annotation.area is None else annotation.area
            record["area"] = round(enclosed, DIGITS)
    return record


def _of_mask(annotation: Annotation) -> dict[str, Any]:
    from trainer_hooks.datasets.arrays import mask_area, text_of_counts

    mask = annotation.mask
    if mask is None:
        return {}
    runs = mask.counts if annotation.crowd else text_of_counts(mask.counts)
    return {"segmentation": {"size": [mask.height, mask.width], "counts": runs}, "area": mask_area(mask)}


def join_lines(file: IO[bytes], lines: Iterable[bytes]) -> None:
    """The lines as elements of an array."""
    before = b""
    for line in lines:
        file.write(before)
        file.write(line[:-1])
        before = b",\n"
