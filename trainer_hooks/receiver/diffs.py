"""Where the parameters of several runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MISSING = object()


@dataclass(frozen=True)
class Difference:
    """A parameter (`optimizer.lr` in nested ones) and its value in each run that has it."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Differences:
    """What differs, by name; `same` is how many parameters are equal in all of the runs."""

    runs: list[str]
    different: list[Difference]
    same: int


def differences(params: Mapping[str, Mapping[str, Any]]) -> Differences:
    """Compare the parameters of runs, given by run."""
    flat = {run: dict(flatten(values)) for run, values in params.items()}
    names = sorted({name for values in flat.values() for name in values})
    different = [name for name in names if _differs([values.get(name, _MISSING) for values in flat.values()])]
    shown = [
        Difference(name, {run: values[name] for run, values in flat.items() if name in values}) for name in different
    ]
    return Differences(list(params), shown, len(names) - len(different))


def _differs(values: list[Any]) -> bool:
    # True == 1 in Python, and 1 == 1.0: of a parameter's value the first is another one, the second isn't.
    first, *others = values
    return any(value != first or isinstance(value, bool) != isinstance(first, bool) for value in others)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values by their names, those of nested ones as "outer.inner"."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
