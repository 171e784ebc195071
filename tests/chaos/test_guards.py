"""The guard of the guard: with one rule of trainer_hooks broken in its processes, the oracle has to find it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.oracle import Verdict
from tests.chaos.plan import Kill, Plan, Storm, draw
from tests.chaos.survival import survive
from tests.hosts.scripts import ROOT
from tests.servers.platform import Reply

pytestmark = pytest.mark.timeout(600)

# Where nothing is delivered before the next attempt begins, and then everything at once.
_AFTER_A_WHILE = Kill("training", after=0.7, from_start=False, gap=0.0, courier_first=False, pause="none")
_QUIET = replace(
    draw(0, host="loop"),
    batch=True,
    max_events=1000,
    store="moto",
    delivery="process",
    kills=[_AFTER_A_WHILE, _AFTER_A_WHILE],
    storms=[Storm("platform", "cut", pause=1e6, lasts=0.0)],
    replies=[],
    probes=[],
    flip=0,
)
_ONE_BY_ONE = replace(_QUIET, batch=False)
# So slow that each upload takes a while, and nothing else goes wrong.
_SLOW_STORAGE = replace(_QUIET, flip=None, storms=[Storm("storage", "rate", pause=0.0, lasts=30.0, amount=400_000)])
_LOST_ANSWERS = replace(_ONE_BY_ONE, flip=None, replies=[Reply(commit_then_drop=True), Reply()] * 40)

GUARDS = {
    "checksum_unchecked": (_QUIET, "C2: at the platform, and no valid record of the journal"),
    "id_not_unique": (_ONE_BY_ONE, "C2: one id, and not the same content each time"),
    "id_missing": (_LOST_ANSWERS, "C2: no id"),
    "newest_first": (_QUIET, "C2: overtaken within its segment"),
    "forks_unnoticed": (_QUIET, "C1: in the journal, and never told"),
    "nothing_staged": (_SLOW_STORAGE, "C5: the platform was told of an object that no checkpoint ever was"),
    "manifest_first": (_SLOW_STORAGE, "C5: a manifest stood beside another object"),
}


@pytest.mark.parametrize("mutation", GUARDS)
def test_the_oracle_finds_that_a_rule_is_broken(mutation: str, tmp_path: Path) -> None:
    plan, finding = GUARDS[mutation]
    found = [str(violation) for violation in Verdict(survive(plan, tmp_path, mutation)).violations]
    assert any(violation.startswith(finding) for violation in found), found


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(_QUIET, id="batches"),
        pytest.param(_ONE_BY_ONE, id="one by one"),
        pytest.param(_SLOW_STORAGE, id="slow storage"),
        pytest.param(_LOST_ANSWERS, id="lost answers"),
    ],
)
def test_and_nothing_where_none_is(plan: Plan, tmp_path: Path) -> None:
    assert [str(violation) for violation in Verdict(survive(plan, tmp_path)).violations] == []


def test_the_oracle_knows_nothing_of_the_package() -> None:
    code = "import sys, tests.chaos.oracle; sys.exit(any(name.startswith('trainer_hooks') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
