"""Lets a CUDA build of torchvision work beside a CPU build of torch. `tools/environment.py` installs it where needed.

PyPI's torchvision ends its import with "operator torchvision::nms does not exist" there, since its compiled half needs
CUDA's libraries. Training on a CPU needs one operator of that half, non-maximum suppression; here it is, in Python.
Imported by a .pth file at every start of the interpreter, so it imports nothing until somebody imports torchvision.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from torch import Tensor

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[Any] = []  # torch forgets the operators of a Library that is garbage-collected


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        _define_operators()
        super().exec_module(module)
        sys.modules["torchvision.extension"]._has_ops = lambda: True  # type: ignore[attr-defined]


class _Finder:
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


def _define_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    _kept.append(library)
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)
    library.impl("nms", _nms, "CPU")


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes (x1, y1, x2, y2) that no higher-scored kept box overlaps by more, best first."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    left = scores.argsort(descending=True, stable=True)
    kept = [left[:0]]
    while len(left):
        best, left = left[:1], left[1:]
        kept.append(best)
        corner = boxes[best, :2].maximum(boxes[left, :2])
        shared = (boxes[best, 2:].minimum(boxes[left, 2:]) - corner).clamp(min=0).prod(dim=1)
        left = left[shared <= iou_threshold * (areas[best] + areas[left] - shared)]
    return kept[0].new_tensor([int(index) for index in kept[1:]])


sys.meta_path.insert(0, _Finder())
