"""What a search may try: one entry per hyper-parameter, as predecessor A's platform sends them, checked at once.

A's own searches pass no `q` on, and so can't draw from what is quantised; here every type can be used.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, FiniteFloat, model_validator

RangeType = Literal[
    "uniform", "quniform", "loguniform", "qloguniform", "randint", "qrandint", "lograndint", "qlograndint"
]
NormalType = Literal["randn", "qrandn"]
OptionsType = Literal["choice", "grid_search"]
_TYPES: tuple[str, ...] = tuple(name for kind in (RangeType, NormalType, OptionsType) for name in get_args(kind))


class _Entry(BaseModel):
    name: str = Field(min_length=1)

    def arguments(self) -> tuple[Any, ...]:
        """What Ray Tune's function of the type's name takes."""
        raise NotImplementedError

    def examples(self) -> Sequence[Any]:
        """Values that may come, the outermost among them: each must be one that the action can take."""
        raise NotImplementedError


class Range(_Entry):
    """A number between `min` and `max`; of "int" types a whole one, of "q" types a multiple of `q`.

    `min` may come; `max` may come of quantised types only. `base`, which A's platform sends for "log" types, makes no
    difference to what is drawn.
    """

    type: RangeType
    min: FiniteFloat
    max: FiniteFloat
    q: FiniteFloat | None = None
    base: FiniteFloat | None = None

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return "int" in self.type

    def arguments(self) -> tuple[Any, ...]:
        """Part of `_Entry`."""
        if self.q is None:
            return (int(self.min), int(self.max)) if self.is_whole else (self.min, self.max)
        if self.is_whole:
            return int(self.min), int(self.max), int(self.q)
        lowest, highest = self._multiples()
        return lowest * self.q, highest * self.q, self.q  # Ray takes no other bounds

    def examples(self) -> Sequence[Any]:
        """Part of `_Entry`."""
        if self.q is not None and not (self.is_whole and self.q == 1):
            lowest, highest = (multiple * self.q for multiple in self._multiples())
        elif self.is_whole:
            lowest, highest = self.min, self.max - 1
        else:
            lowest, highest = self.min, math.nextafter(self.max, self.min)
        return [int(lowest), int(highest)] if self.is_whole else [lowest, highest]

    def _multiples(self) -> tuple[int, int]:
        """How often `q` goes into the least and the greatest of its multiples from `min` to `max`."""
        q = self.q or 1.0
        return _whole(self.min / q, math.ceil), _whole(self.max / q, math.floor)

    @model_validator(mode="after")
    def _check(self) -> Range:
        problem = next(self._problems(), None)
        if problem:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.min >= self.max:
            yield f"min is {self.min:g} and max {self.max:g}; min must be below max"
        if "log" in self.type and self.min <= 0:
            yield f"min is {self.min:g}; {self.type} needs one above 0"
        if self.is_whole and not all(number.is_integer() for number in (self.min, self.max, self.q or 0.0)):
            yield f"{self.type} needs whole numbers for min, max and q"
        yield from _problems_of_q(self.type, self.q)
        if self.q and operator.gt(*self._multiples()):
            yield f"there is no multiple of q, {self.q:g}, from min, {self.min:g}, to max, {self.max:g}"


class Normal(_Entry):
    """A number of a normal distribution; with "qrandn" a multiple of `q`."""

    type: NormalType
    mean: FiniteFloat = 0.0
    sd: FiniteFloat = Field(default=1.0, gt=0)
    q: FiniteFloat | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Part of `_Entry`."""
        return (self.mean, self.sd) if self.q is None else (self.mean, self.sd, self.q)

    def examples(self) -> Sequence[Any]:
        """Part of `_Entry`: nothing is outermost."""
        return [self.mean if self.q is None else round(self.mean / self.q) * self.q]

    @model_validator(mode="after")
    def _check(self) -> Normal:
        for problem in _problems_of_q(self.type, self.q):
            raise ValueError(problem)
        return self


class Options(_Entry):
    """One of `options`: any of them at random, or with "grid_search" each of them in every sample."""

    type: OptionsType
    options: list[Any] = Field(min_length=1)

    def arguments(self) -> tuple[Any, ...]:
        """Part of `_Entry`."""
        return (self.options,)

    def examples(self) -> Sequence[Any]:
        """Part of `_Entry`."""
        return self.options


def _whole(quotient: float, rounded: Callable[[float], int]) -> int:
    """Rounded, unless it is a whole number but for the last digits: 0.3 is three times 0.1."""
    return round(quotient) if math.isclose(quotient, round(quotient)) else rounded(quotient)


def _problems_of_q(kind: str, q: float | None) -> Iterator[str]:
    is_quantised = kind.startswith("q")
    if is_quantised and q is None:
        yield f"{kind} needs q, of which all values are multiples"
    if not is_quantised and q is not None:
        yield f"{kind} takes no q; did you mean 'q{kind}'?"
    if q is not None and q <= 0:
        yield f"q is {q:g}; it must be above 0"


def closest(name: str, known: Sequence[str]) -> str:
    """What is known, and which of it was perhaps meant, for the end of a message."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"(known: {', '.join(known)})" + (f"; did you mean {close[0]!r}?" if close else "")


def _with_known_type(entry: Any) -> Any:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind is not None and kind not in _TYPES:
        message = f"the type {kind!r} is not known {closest(str(kind), _TYPES)}"
        raise ValueError(message)
    return entry


Entry = Annotated[Annotated[Range | Normal | Options, Discriminator("type")], BeforeValidator(_with_known_type)]


def is_entry(given: Mapping[str, Any]) -> bool:
    """Whether that is meant as an entry, be it one that can't be used."""
    return isinstance(given.get("name"), str) and given.get("type") in _TYPES


def number_of_variants(entries: Sequence[Range | Normal | Options]) -> int:
    """How many trials one sample of the space is."""
    return math.prod(len(entry.examples()) for entry in entries if entry.type == "grid_search")


def probes(entries: Sequence[Range | Normal | Options]) -> Iterator[dict[str, Any]]:
    """Points of the space, among which each entry's examples all occur."""
    examples = {entry.name: entry.examples() for entry in entries}
    for place in range(max(map(len, examples.values()))):
        yield {name: values[place % len(values)] for name, values in examples.items()}
