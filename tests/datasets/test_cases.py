"""Every edge case, converted by us, and judged by the trainers' own loaders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.cases import ALL, COMPARED
from tests.datasets.cases.model import Case
from tests.datasets.conversions import faults
from tests.datasets.oracles import verdict


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.key)
def test_what_comes_of_it_is_right_or_clearly_refused(case: Case, tmp_path: Path):
    folder = tmp_path / "case"
    source, expected = case.make(folder)
    before = verdict.snapshot(source)

    wrong = faults(case, expected, source, folder / "out")

    assert not wrong, f"{case.key}, {case.title}: " + "; ".join(wrong)
    assert verdict.strays(folder, expected) == set(), "nothing is written outside the target"
    assert verdict.snapshot(source) == before, "the source stays as it was"


def test_no_case_is_lost():
    assert len(COMPARED) == 55
    assert len({case.key for case in ALL}) == len(ALL)
