"""A store in memory that fails when it is told to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trainer_hooks.errors import ObjectMissing
from trainer_hooks.storage import StoredObject


class MemoryStorage:
    """What downloads need of a `Storage`. `failures` are raised by the next downloads of those keys, one each."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.failures: dict[str, list[Exception]] = {}
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.listed = 0
        self._counting = threading.Lock()

    def get(self, key: str, target: Path) -> StoredObject:
        target.write_bytes(self.read(key))
        return self.stat(key)

    def read(self, key: str) -> bytes:
        with self._counting:
            self.asked[key] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.failures.get(key):
                raise self.failures[key].pop(0)
            self.hold()
            return self.objects[key]
        finally:
            with self._counting:
                self.at_once -= 1

    def hold(self) -> None:
        """What happens during each download."""

    def stat(self, key: str) -> StoredObject:
        self.asked[f"stat {key}"] += 1
        if key not in self.objects:
            raise ObjectMissing(key)
        return StoredObject(key=key, size=len(self.objects[key]), modified=1.0)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                self.listed += 1
                yield StoredObject(key=key, size=len(self.objects[key]), modified=1.0)

    def uri(self, key: str) -> str:
        return f"memory://{key}"
