"""The newest whole checkpoint of a run, for its next attempt to go on from.

`choosing` decides which that is, `candidates` knows where checkpoints may be had, `launched` what a rank goes on from
whose launcher has chosen already, and `restored` is what comes of it.
"""

from trainer_hooks.restore.choosing import named_run, newest_checkpoint, restore
from trainer_hooks.restore.launched import is_launched_within_a_run, restored_above
from trainer_hooks.restore.restored import Restored

__all__ = ["Restored", "is_launched_within_a_run", "named_run", "newest_checkpoint", "restore", "restored_above"]
