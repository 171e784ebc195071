"""What a search is asked for, beside the action's own parameters; names and meanings are predecessor A's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    field_validator,
    model_validator,
)

from trainer_hooks.actions.params import read_params
from trainer_hooks.actions.tuning.spaces import Entry, closest, is_entry, probes
from trainer_hooks.errors import InvalidParams

SEARCH_ALGORITHMS = ("basicvariantgenerator", "optunasearch", "hyperoptsearch", "bayesoptsearch", "axsearch")
SCHEDULERS = ("fifo", "asha", "hyperband", "median")
_NOT_FOR_ACTIONS = "pbt"
_ABOUT_SEARCHES = frozenset({"is_tune", "tune_config", "hyperparameters"})
_OF_A_SEARCH = _ABOUT_SEARCHES | {"num_cpus", "num_gpus"}


class Chosen(BaseModel):
    """A search algorithm or a scheduler by its name, with what its class of Ray Tune's takes."""

    model_config = ConfigDict(extra="forbid")
    name: str
    options: dict[str, Any] = {}


def _as_chosen(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given.lower()}
    if isinstance(given, Mapping) and isinstance(given.get("name"), str):
        return {**given, "name": given["name"].lower(), "options": given.get("options") or {}}
    return given


def _known_algorithm(chosen: Chosen) -> Chosen:
    if chosen.name not in SEARCH_ALGORITHMS:
        message = f"the search algorithm {chosen.name!r} is not known {closest(chosen.name, SEARCH_ALGORITHMS)}"
        raise ValueError(message)
    return chosen


def _known_scheduler(chosen: Chosen) -> Chosen:
    if chosen.name == _NOT_FOR_ACTIONS:
        message = "pbt puts one trial's weights into another, which an action can't; choose one of " + ", ".join(
            SCHEDULERS
        )
        raise ValueError(message)
    if chosen.name not in SCHEDULERS:
        message = f"the scheduler {chosen.name!r} is not known {closest(chosen.name, SCHEDULERS)}"
        raise ValueError(message)
    return chosen


class TuneConfig(BaseModel):
    """How to search: for the most ("max") or the least ("min") of `metric`, a name as the trials tell it.

    A sample is one trial, or as many as `grid_search` has combinations.
    """

    model_config = ConfigDict(extra="forbid")
    metric: str = Field(min_length=1)
    mode: Literal["min", "max"]
    num_samples: int = Field(default=1, ge=1)
    max_concurrent_trials: int | None = Field(default=None, ge=1)
    search_alg: Annotated[Chosen, BeforeValidator(_as_chosen), AfterValidator(_known_algorithm)] | None = None
    scheduler: Annotated[Chosen, BeforeValidator(_as_chosen), AfterValidator(_known_scheduler)] | None = None


class TuneParams(BaseModel):
    """A search. `num_cpus` and `num_gpus` are each trial's; without `num_gpus`, half of one where there are any."""

    is_tune: bool = False
    tune_config: TuneConfig
    hyperparameters: list[Entry] = Field(min_length=1)
    num_cpus: FiniteFloat = Field(default=1.0, ge=0)
    num_gpus: FiniteFloat | None = Field(default=None, ge=0)

    @field_validator("hyperparameters")
    @classmethod
    def _check_names(cls, entries: list[Entry]) -> list[Entry]:
        names = [entry.name for entry in entries]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            message = f"{doubled!r} is there twice; leave one"
            raise ValueError(message)
        return entries

    @model_validator(mode="after")
    def _check_grid(self) -> TuneParams:
        chosen = self.tune_config.search_alg
        has_grid = any(entry.type == "grid_search" for entry in self.hyperparameters)
        if chosen is not None and chosen.name != SEARCH_ALGORITHMS[0] and has_grid:
            message = f"grid_search goes with {SEARCH_ALGORITHMS[0]} only; with {chosen.name}, use choice"
            raise ValueError(message)
        return self


class _Asked(BaseModel):
    model_config = ConfigDict(extra="allow")
    is_tune: bool = False


def read_search(given: Mapping[str, Any]) -> TuneParams | None:
    """The search that the parameters ask for; None where they ask for none.

    Raises:
        InvalidParams: names everything that can't be used.
    """
    if not read_params(_Asked, given).is_tune:
        return None
    return read_params(TuneParams, {name: value for name, value in given.items() if name in TuneParams.model_fields})


def own_params(given: Mapping[str, Any], model: type[BaseModel], search: TuneParams | None) -> dict[str, Any]:
    """The parameters without those of a search that the action itself doesn't know.

    Where no search is asked for, A's platform sends the values as the one element of `hyperparameters`. A search space
    may stand there, too, of a search that was switched off.
    """
    others = _ABOUT_SEARCHES if search is None else _OF_A_SEARCH
    own = {name: value for name, value in given.items() if name in model.model_fields or name not in others}
    values = given.get("hyperparameters")
    if (
        search is None
        and isinstance(values, list)
        and values
        and isinstance(values[0], Mapping)
        and not is_entry(values[0])
    ):
        own = {**values[0], **own}
    return own


def check_space(model: type[BaseModel], own: Mapping[str, Any], search: TuneParams) -> None:
    """Check that the action can take what the search may try.

    Raises:
        InvalidParams: names the hyper-parameter that the action doesn't know, or the value that it can't take.
    """
    known = [*model.model_fields, *(field.alias for field in model.model_fields.values() if field.alias)]
    for entry in search.hyperparameters:
        if entry.name not in known and model.model_config.get("extra") != "allow":
            message = f"hyperparameters: {model.__name__} has no {entry.name!r} {closest(entry.name, known)}"
            raise InvalidParams(message)
    for probe in probes(search.hyperparameters):
        read_params(model, {**own, **probe})
        own = {name: value for name, value in own.items() if name in known}  # the others have been warned of
