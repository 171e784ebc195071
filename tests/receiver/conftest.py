"""A real receiver in a process of its own, on a free port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.receiver.serving import Receiver


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver for tests that each tell of a job of their own."""
    with Receiver(tmp_path_factory.mktemp("received")) as receiver:
        yield receiver


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Starts receivers, by default over one directory; they end with the test."""
    with ExitStack() as running:

        def begin(directory: Path | None = None, **options: str) -> Receiver:
            return running.enter_context(Receiver(directory or tmp_path / "received", **options))

        yield begin
