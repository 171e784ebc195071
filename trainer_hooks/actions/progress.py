"""Progress of an action: its usual categories, and what counts as progress at all."""

from __future__ import annotations

import math


class TrainProgressCategories:
    """The parts of a training action, as predecessor A names them."""

    DATASET = "dataset"
    TRAIN = "train"
    MODEL_UPLOAD = "model_upload"


def checked(current: float, total: float, category: str) -> tuple[float, float]:
    """The two numbers.

    Raises:
        ValueError: if `total` is not above 0, or `current` not between 0 and `total`.
    """
    if not (total > 0 and math.isfinite(total)):
        message = f"progress of {category!r}: total is {total!r}; it must be above 0"
        raise ValueError(message)
    if not 0 <= current <= total:
        message = f"progress of {category!r}: current is {current!r}; it must be from 0 to total, {total!r}"
        raise ValueError(message)
    return current, total
