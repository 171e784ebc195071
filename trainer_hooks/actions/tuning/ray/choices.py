"""Ray Tune's search algorithms and schedulers, by the names that predecessor A has for them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, HyperBandScheduler

from trainer_hooks.actions.tuning.params import Chosen, TuneConfig, TuneParams
from trainer_hooks.actions.tuning.ray.schedulers import EPOCH, Asha, Median
from trainer_hooks.errors import InvalidParams, MissingPackage

# Module, class, the package that it needs, and what it calls its seed.
_ALGORITHMS: Mapping[str, tuple[str, str, str, str]] = {
    "basicvariantgenerator": ("basic_variant", "BasicVariantGenerator", "ray", "random_state"),
    "optunasearch": ("optuna", "OptunaSearch", "optuna", "seed"),
    "hyperoptsearch": ("hyperopt", "HyperOptSearch", "hyperopt", "random_state_seed"),
    "bayesoptsearch": ("bayesopt", "BayesOptSearch", "bayes_opt", "random_state"),
    "axsearch": ("ax", "AxSearch", "ax", ""),
}
_SCHEDULERS: Mapping[str, Any] = {
    "fifo": FIFOScheduler,
    "asha": Asha,
    "hyperband": HyperBandScheduler,
    "median": Median,
}
_REFUSALS = (TypeError, ValueError, AssertionError, NotImplementedError)
_NONE: Mapping[str, Any] = {}
_COUNTING = ("asha", "hyperband")


def algorithm(config: TuneConfig, seed: int, before: list[dict[str, Any]]) -> Any:
    """The search algorithm; one that learns is taught what has been tried `before`.

    Raises:
        MissingPackage: if its package is not installed.
        InvalidParams: if it can't be made of its options.
    """
    chosen = config.search_alg or Chosen(name="basicvariantgenerator")
    module, name, package, seeded_by = _ALGORITHMS[chosen.name]
    if importlib.util.find_spec(package) is None:
        message = f"the search algorithm {chosen.name!r} needs the package {package!r}, which is not installed"
        raise MissingPackage(message)
    given: dict[str, Any] = {seeded_by: seed} if seeded_by else {}
    if is_basic(config):
        given["max_concurrent"] = config.max_concurrent_trials or 0
    elif before:  # what is known already teaches it first
        given["points_to_evaluate"] = before
    kind = getattr(importlib.import_module(f"ray.tune.search.{module}"), name)
    return _made(kind, "tune_config.search_alg", options={**given, **chosen.options})


def is_basic(config: TuneConfig) -> bool:
    """Whether what is tried doesn't depend on what came before."""
    return config.search_alg is None or config.search_alg.name == "basicvariantgenerator"


def scheduler(config: TuneConfig, last_epoch: int | None) -> Any:
    """The scheduler. One that counts is told the last epoch, where that is known, and else counts values.

    Raises:
        InvalidParams: if it can't be made of its options.
    """
    chosen = config.scheduler or Chosen(name="fifo")
    given: dict[str, Any] = {}
    if chosen.name in _COUNTING:
        given["stop_last_trials"] = False  # which would end the trial before what it does behind its last epoch
    if chosen.name in _COUNTING and last_epoch:
        given |= {"time_attr": EPOCH, "max_t": last_epoch}
    return _made(_SCHEDULERS[chosen.name], "tune_config.scheduler", options={**given, **chosen.options})


def space(search: TuneParams) -> dict[str, Any]:
    """The search space, in Ray's own terms.

    Raises:
        InvalidParams: if Ray can't draw from it.
    """
    return {
        entry.name: _made(getattr(tune, entry.type), f"hyperparameters, {entry.name!r}", entry.arguments())
        for entry in search.hyperparameters
    }


def try_out(what: str, made: Any, mode: str, *of_a_search: Any) -> None:
    """Tell an algorithm or a scheduler, which is made for that alone, what Ray would as the search begins.

    Raises:
        InvalidParams: if it doesn't take that.
    """
    try:
        takes_it = made.set_search_properties("any metric", mode, *of_a_search)
    except _REFUSALS as error:
        message = f"{what}: {type(made).__name__} can't search like that: {error}"
        raise InvalidParams(message) from error
    if not takes_it:
        message = f"{what}: the metric, the mode and the space are the search's own; leave them out of the options"
        raise InvalidParams(message)


def _made(kind: Any, what: str, arguments: Sequence[Any] = (), options: Mapping[str, Any] = _NONE) -> Any:
    try:
        return kind(*arguments, **options)
    except _REFUSALS as error:
        message = f"{what}: {kind.__name__} can't be made of {dict(options) or arguments}: {error}"
        raise InvalidParams(message) from error
