"""Predecessor B's Trainer SDK v2, as a thin layer over `Run`: a trainer written for it changes one import.

    from trainer_hooks.trainer_sdk import TrainerSDK, ErrorType

Every call is told to the journal and returns; the courier delivers. So no call waits for the platform or the storage,
none raises because of them, and what was told survives the process. What else differs, and why, is in
docs/migrating-from-trainer-sdk.md.
"""

from trainer_hooks.trainer_sdk.sdk import ErrorType, TrainerSDK

__all__ = ["ErrorType", "TrainerSDK"]
