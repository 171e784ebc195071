"""`lightning.pytorch`, as scripts import it today; see `_lightning`."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch

from trainer_hooks.integrations import Opener
from trainer_hooks.integrations._lightning import Wrapping

_wrapping = Wrapping(lightning.pytorch)


def attach(opener: Opener) -> Callable[[], None]:
    """Attach to every trainer of this process, also to those that exist already."""
    return _wrapping.attach(opener, "lightning", other="pytorch_lightning")
