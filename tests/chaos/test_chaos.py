"""Real trainings, killed and cut off at random moments until an attempt completes: nothing is lost, no host harmed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.oracle import Verdict
from tests.chaos.plan import draw
from tests.chaos.survival import survive

pytestmark = pytest.mark.timeout(900)


def test_nothing_is_lost_and_no_host_harmed(seed: int, tmp_path: Path, report: list[dict[str, Any]]) -> None:
    plan = draw(seed)
    sys.stdout.write(f"{plan}\n")
    verdict = Verdict(survive(plan, tmp_path))
    violations = [str(violation) for violation in verdict.violations]
    report.append({"seed": seed, "host": plan.host, "plan": str(plan), "violations": violations, **verdict.figures})
    found = "\n".join(violations)
    assert not found, f"{plan}\n{found}\nmake chaos SEED={seed}; everything is kept in {tmp_path}"


def test_twenty_seeds_are_a_fair_mix() -> None:
    plans = [draw(seed) for seed in range(20)]
    assert Counter(plan.host for plan in plans) == {"loop": 14, "ultralytics": 3, "mmengine": 3}
    assert Counter(plan.batch for plan in plans) == {True: 10, False: 10}
    assert {plan.delivery for plan in plans} == {"process", "thread"}
    assert {plan.store for plan in plans} == {"moto", "rclone"}
    assert any(plan.flip is not None for plan in plans)


def test_a_seed_is_the_same_plan_each_time() -> None:
    assert draw(17) == draw(17)
    assert draw(17) != draw(37)
