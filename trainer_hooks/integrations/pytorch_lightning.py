"""`pytorch_lightning`, the same framework by its other name, with classes of its own; see `_lightning`."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning

from trainer_hooks.integrations import Opener
from trainer_hooks.integrations._lightning import Wrapping

_wrapping = Wrapping(pytorch_lightning)


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer of this process, also to those that exist already."""
    return _wrapping.attach(opener, "pytorch_lightning", other="lightning.pytorch")
