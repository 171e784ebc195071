"""How many seeds are run, or which; and the figures of all of them in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SEEDS = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=_SEEDS, help="how many seeds of chaos, from 0 on")
    parser.addoption("--seed", type=int, help="only this one")
    parser.addoption("--chaos-report", type=Path, help="a JSON file for the figures")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        one = metafunc.config.getoption("--seed", default=None)
        seeds = range(metafunc.config.getoption("--seeds", default=_SEEDS)) if one is None else [one]
        metafunc.parametrize("seed", seeds)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    """A list for the figures of each seed; written when all have been judged."""
    figures: list[dict[str, Any]] = []
    yield figures
    path: Path | None = request.config.getoption("--chaos-report", default=None)
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")
