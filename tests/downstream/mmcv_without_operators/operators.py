"""What stands in for `mmcv._ext`: one operator in Python, and names for all others, so that mmcv can be imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes (x1, y1, x2, y2) that no higher-scored kept box overlaps by more, best first."""
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
    left = scores.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        corner = boxes[best, :2].maximum(boxes[left, :2])
        shared = (boxes[best, 2:].minimum(boxes[left, 2:]) - corner + offset).clamp(min=0).prod(dim=1)
        left = left[shared <= iou_threshold * (areas[best] + areas[left] - shared)]
    return torch.stack(kept) if kept else left


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> NoReturn:
        message = f"mmcv-lite has no operator {name}, and the stand-in of these tests has none either"
        raise NotImplementedError(message)

    return missing
