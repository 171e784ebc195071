"""The registry: order, names, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actions.steps.parts import Step
from trainer_hooks.actions.steps.base import StepResult
from trainer_hooks.actions.steps.registry import StepRegistry
from trainer_hooks.errors import InvalidAction


def registry_of(*names: str) -> StepRegistry[Any]:
    registry: StepRegistry[Any] = StepRegistry()
    for name in names:
        registry.register(Step(name))
    return registry


def names(registry: StepRegistry[Any]) -> list[str]:
    return [step.name for step in registry]


def test_steps_stand_where_they_were_put():
    registry = registry_of("a", "d")
    registry.insert_before("a", Step("0"))
    registry.insert_after("a", Step("b"))
    registry.insert_before("d", Step("c"))
    registry.insert_after("d", Step("e"))
    assert names(registry) == ["0", "a", "b", "c", "d", "e"]
    registry.unregister("0")
    assert names(registry) == ["a", "b", "c", "d", "e"]
    assert len(registry) == 5


def test_an_empty_registry_is_false():
    assert not registry_of()
    assert registry_of("a")


def test_the_list_of_steps_is_a_copy():
    registry = registry_of("a")
    registry.get_steps().clear()
    assert names(registry) == ["a"]


def test_weights_add_up():
    registry = registry_of()
    for name, weight in (("a", 0.2), ("b", 0.7), ("c", 0.1), ("d", 0)):
        registry.register(Step(name, weight=weight))
    assert registry.total_weight == 1.0


@pytest.mark.parametrize("act", ["insert_before", "insert_after", "unregister"])
def test_an_unknown_name_is_an_error_that_tells_the_known_ones(act):
    registry = registry_of("load", "train")
    arguments = ("tran",) if act == "unregister" else ("tran", Step("x"))
    with pytest.raises(InvalidAction, match=r"there is no step 'tran' \(known: load, train\)"):
        getattr(registry, act)(*arguments)
    assert names(registry) == ["load", "train"]
    with pytest.raises(ValueError, match="known: none"):
        registry_of().unregister("x")


@pytest.mark.parametrize("act", ["register", "insert_before", "insert_after"])
def test_a_name_that_is_taken_is_an_error(act):
    registry = registry_of("load", "train")
    arguments = (Step("train"),) if act == "register" else ("load", Step("train"))
    with pytest.raises(ValueError, match=r"there is a step 'train' already \(known: load, train\)"):
        getattr(registry, act)(*arguments)
    assert names(registry) == ["load", "train"]


@pytest.mark.parametrize("name", ["", "  ", None, 7])
def test_a_step_without_a_name_is_refused(name):
    with pytest.raises(ValueError, match=f"the name of Step is {name!r}; it must be a text"):
        registry_of().register(Step(name))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("weight", value) for value in (-0.1, float("nan"), float("inf"), "1", None)),
        *(("retries", value) for value in (-1, 1.5, None)),
        *(("retry_delay", value) for value in (-1, float("nan"), float("inf"))),
        *(("timeout", value) for value in (0, -1, float("nan"), float("inf"), "1")),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_the_step_and_the_value(attribute, value):
    step = Step("train", **{attribute: value})
    shown = "progress_weight" if attribute == "weight" else attribute
    with pytest.raises(ValueError, match=f"step 'train': {shown} is {value!r}; it must be"):
        registry_of().register(step)


def test_what_is_no_step_is_refused():
    with pytest.raises(ValueError, match=r"write Step\(\)"):
        registry_of().register(Step)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is none"):
        registry_of().register(StepResult())  # type: ignore[arg-type]
