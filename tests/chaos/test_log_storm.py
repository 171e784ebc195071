"""A hundred thousand log records in one burst, from four threads, while a run is open."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.test_logs import assert_in_order_or_counted, storm
from trainer_hooks import start_run

pytestmark = pytest.mark.timeout(110)


@pytest.fixture
def a_hosts_logging() -> Iterator[None]:
    root, handler = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.usefixtures("a_hosts_logging")
def test_100_000_records_are_kept_in_order_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")
    run = start_run(journal_limit=8_000_000)
    storm(lines=25_000)
    assert_in_order_or_counted(run, lines=25_000)
