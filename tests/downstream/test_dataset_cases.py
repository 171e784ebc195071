"""MMDetection's own dataset takes what we make: every annotation, of every edge case that ends in COCO."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.datasets.cases import ALL
from tests.datasets.cases.model import Case
from tests.datasets.conversions import faults
from tests.datasets.test_oracles import Coco
from tests.downstream.parts import STAND_IN

pytestmark = pytest.mark.filterwarnings("ignore")  # MMDetection's own


@pytest.fixture(scope="module", autouse=True)
def operators() -> None:
    """What MMDetection imports and mmcv-lite lacks is found here, as in the trainings."""
    spec = importlib.util.spec_from_file_location("operators_stand_in", STAND_IN / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("case", [case for case in ALL if case.target == "coco"], ids=lambda case: case.key)
def test_mmdetection_keeps_every_annotation(case: Case, tmp_path: Path):
    source, expected = case.make(tmp_path / "case")

    assert faults(case, expected, source, tmp_path / "case" / "out") == []


def test_an_annotation_that_mmdetection_drops_is_found(tmp_path: Path):
    coco = Coco(tmp_path)
    coco.content["annotations"][0].update(bbox=[10, 10, 0.5, 20], area=10)

    assert "MMDetection keeps 1 of 2 annotations" in coco.faults()
