"""Which trial is which: each has a number, by which it is known again when the search is made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.actions.results import plain_result
from trainer_hooks.files import write_whole


class Numbers:
    """The trials' numbers, from 1, and their hyper-parameters, one file each in a folder of the search's run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._before = {
            int(path.stem): msgspec.json.decode(path.read_bytes())
            for path in sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
        }
        self.known: dict[int, dict[str, Any]] = {}
        """The hyper-parameters of this attempt's trials, by number."""

    @property
    def before(self) -> list[dict[str, Any]]:
        """What earlier attempts at the search have tried, in order."""
        return list(self._before.values())

    def number_of(self, hyperparameters: Mapping[str, Any]) -> int:
        """The number that these had in an earlier attempt, else the next free one; no number is given twice."""
        plain = plain_result(hyperparameters)
        again = (number for number, tried in self._before.items() if tried == plain and number not in self.known)
        number = next(again, None) or max((*self._before, *self.known), default=0) + 1
        self.known[number] = plain
        write_whole(self._folder / f"{number}.json", msgspec.json.encode(plain))
        return number
