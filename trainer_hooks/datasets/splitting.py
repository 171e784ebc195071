"""How a dataset is to be split: what a user, a job of the platform, or the dataset's own file asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from trainer_hooks.datasets.model import SPLITS, SplitName
from trainer_hooks.errors import InvalidSetting

BY_FOLDER = "folder"
_SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_NONE = ("", "none")


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a dataset is to be split.

    `assign` names splits by image: by its id, its name, or where no other image has that for its name, its file,
    relative to the dataset's root, or the name's last part. None, or "none", says nothing. What it says nothing of goes
    where the dataset's file, else the image itself, says; the rest by a hash of the image's name and `seed`, in the
    shares of `ratios` (train, val, and test if there are three).

    `by_hash`: what the dataset's file and its images say is passed over. `stratify`: each class is divided in these
    shares as well as it can be; then a dataset that grows may be divided anew. `group`: images that belong together
    stay together: "folder" for those in one folder, else a regular expression whose first group, or whose whole match,
    is the same in their names.

    Raises:
        InvalidSetting: for a value that can't be used.
    """

    assign: dict[str, str | None] = {}
    ratios: tuple[float, ...] = (0.8, 0.2)
    seed: int = 42
    by_hash: bool = False
    stratify: bool = False
    group: str | None = None

    def __post_init__(self) -> None:
        # Ids may come as numbers; in a file they are text.
        msgspec.structs.force_setattr(self, "assign", {str(image): split for image, split in self.assign.items()})
        msgspec.structs.force_setattr(self, "ratios", _checked_ratios(self.ratios))
        for image, split in self.assign.items():
            if split_named(split) is None and not is_no_split(split):
                message = f"image {image!r} can't be assigned to {split!r}: write train, val, test or none"
                raise InvalidSetting(message)
        try:
            re.compile(self.group or "")
        except re.error as error:
            message = f'group can\'t be {self.group!r}: write "folder", or a regular expression ({error})'
            raise InvalidSetting(message) from error


def split_named(name: object) -> SplitName | None:
    """The split of that name; None for what is none."""
    return _SPLITS.get(name.strip().lower()) if isinstance(name, str) else None


def is_no_split(name: object) -> bool:
    """Whether that says, as the platform writes it, that nothing is said."""
    return name is None or (isinstance(name, str) and name.strip().lower() in _NONE)


def _checked_ratios(ratios: Any) -> tuple[float, ...]:
    given = tuple(ratios) if isinstance(ratios, (list, tuple)) else ()
    numbers = all(isinstance(one, (int, float)) and one >= 0 for one in given)
    if len(given) not in (2, len(SPLITS)) or not numbers or not 0 < given[0] <= sum(given) < math.inf:
        message = f"ratios can't be {ratios!r}: write shares of train, val and test, as (0.8, 0.2) or (0.7, 0.2, 0.1)"
        raise InvalidSetting(message)
    return tuple(map(float, given))


class _Config(msgspec.Struct):
    """`split_config` in all of the shapes that are in use."""

    method: str | None = None
    splits: dict[Any, str | None] | None = None
    ratio: Any = None
    default_ratio: Any = None
    ratios: Any = None
    train_ratio: float | None = None
    val_ratio: float | None = None
    test_ratio: float | None = None
    seed: int | None = None
    stratify: bool | None = None
    stratify_by: str | bool | None = None
    group_by: str | None = None


def split_of_job(config: Mapping[str, Any]) -> Split:
    """What the platform's jobs and DICE files write as `split_config`.

    `method` "auto" goes by the hash, whatever the images say; "manual" and "none" don't.

    Raises:
        InvalidSetting: for a value that can't be used.
    """
    try:
        given = msgspec.convert(config, _Config)
    except msgspec.ValidationError as error:
        message = f"split_config can't be used: {error}"
        raise InvalidSetting(message) from error
    values = {
        "assign": given.splits,
        "ratios": _ratios(given),
        "seed": given.seed,
        "stratify": bool(given.stratify or given.stratify_by),
        "by_hash": given.method == "auto",
        "group": given.group_by,
    }
    return Split(**{name: value for name, value in values.items() if value is not None})


def _ratios(config: _Config) -> Any:
    if config.train_ratio is not None:
        rest = 1 - config.train_ratio - (config.test_ratio or 0)
        shares = [config.train_ratio, rest if config.val_ratio is None else config.val_ratio, config.test_ratio or 0]
        return _without_test(shares)
    given = next((one for one in (config.ratio, config.default_ratio, config.ratios) if one is not None), None)
    if isinstance(given, Mapping):
        return _without_test([given.get(split, 0) for split in SPLITS])
    if isinstance(given, (int, float)):  # the share of train
        return [given, 1 - given]
    return given


def _without_test(shares: list[Any]) -> list[Any]:
    return shares if shares[2] else shares[:2]


def share_of(ratios: tuple[float, ...]) -> dict[SplitName, tuple[float, float]]:
    """From where to where between 0 and 1 each split reaches."""
    total, reached = sum(ratios), 0.0
    found: dict[SplitName, tuple[float, float]] = {}
    for split, ratio in zip(SPLITS, ratios, strict=False):
        found[split] = (reached / total, (reached + ratio) / total)
        reached += ratio
    return found
