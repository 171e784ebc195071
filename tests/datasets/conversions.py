"""Our conversion of a case, judged."""

from __future__ import annotations

from pathlib import Path

from tests.datasets.cases.model import Case, Expected
from tests.datasets.oracles import verdict
from trainer_hooks import datasets
from trainer_hooks.errors import DatasetError


def faults(case: Case, expected: Expected, source: Path, out: Path) -> list[str]:
    """What is wrong with what comes of the case; nothing where it is right, or refused as it may be."""
    told = dict(case.arguments)
    if "assign" in told:
        told["split"] = datasets.Split(assign=told.pop("assign"))
    try:
        made = datasets.convert(source, source=case.source, target=case.target, task=case.task, to=out, **told)
    except DatasetError as error:
        left = ["something is left of it"] if out.exists() else []
        return left + ([f"refused: {error}"] if expected.refusal == "never" else [])
    return verdict.faults(case, expected, source, Path(made))
