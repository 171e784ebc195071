"""Which image trains, which validates, which tests: as the job says, else the file, else the image, else by a hash.

A hash puts an image where it will always be, whatever is added to the dataset later.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from trainer_hooks.datasets.model import SPLITS, Entry, SplitName
from trainer_hooks.datasets.report import Reporter
from trainer_hooks.datasets.splitting import BY_FOLDER, Split, is_no_split, share_of, split_named
from trainer_hooks.errors import DatasetError, InvalidSetting

_SHOWN = 3


class _Group(NamedTuple):
    """Images that stay together, by their places, under the name of what they have in common; `share` is its hash."""

    name: str
    share: float
    places: list[int]


class Division:
    """Divides one dataset. `declared` is what its file says of itself (DICE's `split_config`), read as a job's."""

    def __init__(self, split: Split | None, declared: Split | None, reporter: Reporter) -> None:
        self._declared = declared
        self._rules = split or declared or Split()
        self._asked = [one for one in (split, None if self._rules.by_hash and split else declared) if one]
        self._seed = self._rules.seed
        self._shares = share_of(self._rules.ratios)
        self._is_asked_for_shares = split is not None and not split.assign
        self._reporter = reporter

    @property
    def needs_labels(self) -> bool:
        """Whether it must know which classes are in each image."""
        return self._rules.stratify

    def of(self, entries: Sequence[Entry], labels: Sequence[tuple[int, ...]]) -> list[SplitName]:
        """The split of each image. `labels` are the classes on it, where they are needed.

        Raises:
            InvalidSetting: if what the job assigns to a split means several images.
            DatasetError: if what the dataset's file assigns does.
        """
        decided = self._said(entries)
        free = [one is None for one in decided]
        if self._is_asked_for_shares and not any(free):
            self._reporter.note("told", "the dataset itself says the split of each image; by_hash passes over that")
        groups = self._grouped(entries, decided)
        if self._rules.stratify:
            self._stratify(groups, labels, decided)
        else:
            self._hash(groups, decided)
        whole = cast("list[SplitName]", decided)
        self._fill([group for group in groups if all(free[place] for place in group.places)], whole)
        return whole

    def _said(self, entries: Sequence[Entry]) -> list[SplitName | None]:
        said: list[SplitName | None] = [None] * len(entries)
        for split in self._asked:
            if split.assign:
                for place, found in enumerate(self._assigned(split, entries)):
                    said[place] = said[place] or found
        if not self._rules.by_hash:
            for place, entry in enumerate(entries):
                if entry.split is not None:
                    said[place] = said[place] or self._own(entry)
        return said

    def _own(self, entry: Entry) -> SplitName | None:
        split = split_named(entry.split)
        if split is None and not is_no_split(entry.split):
            self._reporter.note("told", "it has a split of no known name", entry.name, detail=str(entry.split))
        return split

    def _assigned(self, split: Split, entries: Sequence[Entry]) -> list[SplitName | None]:
        assign = split.assign
        names = {entry.name for entry in entries}
        used: dict[str, str] = {}
        found: list[SplitName | None] = []
        for entry in entries:
            others = (one for one in (entry.file, posixpath.basename(entry.name)) if one not in names)
            key = next((one for one in (_text(entry.id), entry.name, *others) if one in assign), None)
            if key is not None and used.setdefault(key, entry.file) != entry.file:
                message = (
                    f"{key!r} is assigned to a split and means both {used[key]} and {entry.file}: write their files"
                )
                raise DatasetError(message) if split is self._declared else InvalidSetting(message)
            found.append(None if key is None else split_named(assign[key]))
        unknown = [image for image in assign if image not in used]
        if unknown:
            shown = ", ".join(unknown[:_SHOWN]) + (", …" if len(unknown) > _SHOWN else "")
            self._reporter.note("told", "images are assigned to a split that aren't in the dataset", detail=shown)
        return found

    def _grouped(self, entries: Sequence[Entry], decided: list[SplitName | None]) -> list[_Group]:
        """The images that go together; one whose split is said takes its group along."""
        name_of = _grouping(self._rules.group)
        groups: dict[str, list[int]] = defaultdict(list)
        for place, entry in enumerate(entries):
            groups[name_of(entry)].append(place)
        for name, places in groups.items():
            if len(places) > 1 and (said := Counter(split for place in places if (split := decided[place]))):
                (most, _), *others = said.most_common()
                for place in places:
                    decided[place] = most
                if others:
                    what = "an image" if self._rules.group is None else "a group"
                    self._reporter.note("repaired", f"{what} that was in several splits", name, detail=f"now in {most}")
        # The name alone decides: where the files lie may change.
        named = self._rules.group is not None
        return [
            _Group(key, self._share(key if named else entries[places[0]].name), places)
            for key, places in groups.items()
        ]

    def _share(self, name: str) -> float:
        """Where between 0 and 1 the hash puts it."""
        digest = hashlib.sha256(f"{self._seed}\0{name}".encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    def _hash(self, groups: Sequence[_Group], decided: list[SplitName | None]) -> None:
        for group in groups:
            for place in group.places:
                decided[place] = decided[place] or self._split_at(group.share)

    def _split_at(self, share: float) -> SplitName:
        for split, (_, end) in self._shares.items():
            if share < end:
                return split
        return "train"

    def _stratify(
        self, groups: Sequence[_Group], labels: Sequence[tuple[int, ...]], decided: list[SplitName | None]
    ) -> None:
        """The rarest class first: each group goes where its rarest class lacks most."""
        common = Counter(label for some in labels for label in set(some))
        placed: dict[int, Counter[SplitName]] = defaultdict(Counter)
        free = []
        for group in groups:
            present = {label for place in group.places for label in labels[place]}
            rarest = min(present, key=lambda label: (common[label], label), default=-1)
            said = decided[group.places[0]]
            if said is None:
                free.append((common[rarest], rarest, group.share, group.name, group))
            else:
                placed[rarest][said] += len(group.places)
        for _, label, share, _, group in sorted(free):
            chosen = self._most_wanted(placed[label], len(group.places), share)
            placed[label][chosen] += len(group.places)
            for place in group.places:
                decided[place] = chosen

    def _most_wanted(self, placed: Counter[SplitName], more: int, share: float) -> SplitName:
        total, after = sum(self._rules.ratios), sum(placed.values()) + more
        wanting = {
            split: after * ratio / total - placed[split]
            for split, ratio in zip(SPLITS, self._rules.ratios, strict=False)
            if ratio > 0
        }
        first = self._split_at(share)
        return max(wanting, key=lambda split: (round(wanting[split], 9), split == first))

    def _fill(self, free: Sequence[_Group], decided: list[SplitName]) -> None:
        """Neither training nor validation is without images where it can be helped, nor ever without saying so."""
        counts = Counter(decided)
        for split in SPLITS[:2]:
            low, high = self._shares[split]
            if counts[split]:
                continue
            # What trains matters most, what tests least.
            givers = [
                (max(low - group.share, group.share - high), group.name, group.places)
                for group in (free if low < high else ())
                if split == "train" or decided[group.places[0]] == "test" or counts["train"] > len(group.places)
            ]
            if not givers:
                self._reporter.note("told", EMPTY[split])
                continue
            *_, places = min(givers)
            self._reporter.note("told", f"no image fell into {split}: what was closest to it was moved there")
            counts[decided[places[0]]] -= len(places)
            counts[split] += len(places)
            for place in places:
                decided[place] = split


EMPTY: Mapping[SplitName, str] = {
    "train": "no image is in train: there is nothing to train on",
    "val": "no image is in val: validation is done on the training images",
}


def _text(key: float | str | None) -> str:
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def _grouping(group: str | None) -> Callable[[Entry], str]:
    if group is None:
        return lambda entry: entry.file  # which may be listed twice
    if group == BY_FOLDER:
        return lambda entry: posixpath.dirname(entry.name)
    pattern = re.compile(group)

    def name_of(entry: Entry) -> str:
        found = pattern.search(entry.name)
        if found is None:
            return entry.name
        return (found[1] if pattern.groups else found[0]) or ""

    return name_of
