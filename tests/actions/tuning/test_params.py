"""What a search is asked for: read and checked before anything starts, without Ray."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import BaseModel, Field

from trainer_hooks.actions.tuning.params import check_space, own_params, read_search
from trainer_hooks.actions.tuning.spaces import number_of_variants, probes
from trainer_hooks.errors import InvalidParams

RATE = {"name": "rate", "type": "loguniform", "min": 1e-4, "max": 0.1, "base": 10}
CONFIG = {"metric": "loss", "mode": "min", "num_samples": 8}


class Params(BaseModel):
    rate: float = Field(default=0.01, gt=0, lt=1)
    epochs: int = Field(default=3, ge=1)
    optimizer: str = "sgd"


def search(*entries: dict[str, Any], **config: Any) -> Any:
    return read_search({"is_tune": True, "tune_config": {**CONFIG, **config}, "hyperparameters": list(entries)})


def test_a_search_is_read_as_predecessor_a_sends_it():
    found = search(
        RATE,
        {"name": "epochs", "type": "randint", "min": 5, "max": 10},
        {"name": "optimizer", "type": "choice", "options": ["sgd", "adam"]},
        scheduler={"name": "HyperBand", "options": {"max_t": 9}},
        search_alg="basicVariantGenerator",
    )
    assert [entry.arguments() for entry in found.hyperparameters] == [(1e-4, 0.1), (5, 10), (["sgd", "adam"],)]
    assert (found.tune_config.scheduler.name, found.tune_config.scheduler.options) == ("hyperband", {"max_t": 9})
    assert found.tune_config.search_alg.name == "basicvariantgenerator"
    assert (found.num_cpus, found.num_gpus) == (1.0, None)


def test_without_is_tune_there_is_no_search():
    assert read_search({"rate": 0.1}) is None
    assert read_search({"is_tune": False, "hyperparameters": [{"rate": 0.1}]}) is None


def test_the_values_of_a_training_may_stand_in_hyperparameters_and_its_own_go_first():
    given = {"is_tune": False, "epochs": 4, "hyperparameters": [{"rate": 0.1, "epochs": 9}]}
    assert own_params(given, Params, None) == {"rate": 0.1, "epochs": 4}


def test_the_space_of_a_search_that_is_switched_off_is_nothing_to_the_action():
    class Named(Params):
        name: str = "resnet"

    given = {"is_tune": False, "rate": 0.1, "tune_config": CONFIG, "hyperparameters": [RATE]}
    assert own_params(given, Named, None) == {"rate": 0.1}


def test_what_an_action_is_given_without_a_search_is_all_its_own():
    assert own_params({"is_tune": False, "epochs": 4, "num_gpus": 2}, Params, None) == {"epochs": 4, "num_gpus": 2}


def test_what_is_the_searchs_is_not_the_actions_unless_it_has_it_too():
    class Knowing(Params):
        num_cpus: int = 1

    given = {"is_tune": True, "epochs": 4, "num_cpus": 2, "hyperparameters": [RATE], "tune_config": CONFIG}
    asked = read_search(given)
    assert own_params(given, Params, asked) == {"epochs": 4}
    assert own_params(given, Knowing, asked) == {"epochs": 4, "num_cpus": 2}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"type": "uniform", "min": 1, "max": 1}, "min is 1 and max 1; min must be below max"),
        ({"type": "loguniform", "min": 0, "max": 1}, "min is 0; loguniform needs one above 0"),
        ({"type": "quniform", "min": 0, "max": 1}, "quniform needs q, of which all values are multiples"),
        ({"type": "quniform", "min": 0, "max": 1, "q": 0}, "q is 0; it must be above 0"),
        ({"type": "uniform", "min": 0, "max": 1, "q": 0.1}, "uniform takes no q; did you mean 'quniform'?"),
        ({"type": "quniform", "min": 0.1, "max": 0.3, "q": 0.5}, "there is no multiple of q, 0.5, from min, 0.1"),
        ({"type": "randint", "min": 0.5, "max": 3}, "randint needs whole numbers for min, max and q"),
        ({"type": "randn", "sd": 0}, "greater than 0"),
        ({"type": "qrandn"}, "qrandn needs q"),
        ({"type": "choice", "options": []}, "at least 1 item"),
        ({"type": "uniform", "min": float("nan"), "max": 1}, "finite"),
        ({"type": "loguniforn", "min": 1, "max": 2}, "did you mean 'loguniform'?"),
        ({"min": 1, "max": 2}, "hyperparameters.0"),
    ],
)
def test_a_space_that_can_not_be_drawn_from_is_refused(entry, told):
    with pytest.raises(InvalidParams) as caught:
        search({"name": "rate", **entry})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"mode": "most"}, "'min' or 'max'"),
        ({"metric": ""}, "tune_config.metric"),
        ({"num_samples": 0}, "greater than or equal to 1"),
        ({"num_sample": 8}, "tune_config.num_sample"),
        ({"scheduler": "hyperbnad"}, "did you mean 'hyperband'?"),
        ({"scheduler": "pbt"}, "puts one trial's weights into another"),
        ({"search_alg": "optuna"}, "did you mean 'optunasearch'?"),
    ],
)
def test_a_search_that_can_not_be_made_is_refused(config, told):
    with pytest.raises(InvalidParams) as caught:
        search(RATE, **config)
    assert told in str(caught.value)


def test_ray_is_given_bounds_that_it_takes():
    (entry,) = search({"name": "rate", "type": "quniform", "min": 1, "max": 10, "q": 4}).hyperparameters
    assert entry.arguments() == (4.0, 8.0, 4.0)


def test_a_grid_of_one_option_is_a_grid_too():
    with pytest.raises(InvalidParams, match="grid_search goes with basicvariantgenerator only"):
        search({"name": "rate", "type": "grid_search", "options": [0.1]}, search_alg="optunasearch")


def test_a_hyper_parameter_that_is_there_twice_is_refused():
    with pytest.raises(InvalidParams, match="'rate' is there twice"):
        search(RATE, RATE)


def test_a_hyper_parameter_that_the_action_does_not_have_is_refused_with_what_was_meant():
    with pytest.raises(InvalidParams, match=r"Params has no 'raet' .*; did you mean 'rate'\?"):
        check_space(Params, {}, search({**RATE, "name": "raet"}))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"name": "rate", "type": "uniform", "min": 0, "max": 0.5}, "rate is 0.0"),
        ({"name": "rate", "type": "uniform", "min": 0.1, "max": 1.5}, "rate is 1.4"),
        ({"name": "epochs", "type": "choice", "options": [1, 2, "many"]}, "epochs is 'many'"),
        ({"name": "epochs", "type": "uniform", "min": 1.5, "max": 2}, "epochs is 1.5"),
    ],
)
def test_what_the_action_can_not_take_is_said_before_anything_starts(entry, told):
    with pytest.raises(InvalidParams) as caught:
        check_space(Params, {}, search(entry))
    assert told in str(caught.value)


def test_an_upper_bound_that_never_comes_need_not_be_taken():
    check_space(Params, {}, search({"name": "rate", "type": "uniform", "min": 0.1, "max": 1.0}))


def test_a_parameter_that_is_ignored_is_warned_of_once(caplog):
    with caplog.at_level(logging.WARNING):
        check_space(Params, {"batch": 8}, search({"name": "epochs", "type": "choice", "options": [1, 2, 3]}))
    assert [record.message for record in caplog.records if "'batch'" in record.message] != []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("entry", "examples"),
    [
        ({"type": "randint", "min": 1, "max": 4}, [1, 3]),
        ({"type": "qrandint", "min": 1, "max": 9, "q": 4}, [4, 8]),
        ({"type": "qrandint", "min": 1, "max": 9, "q": 1}, [1, 8]),
        ({"type": "quniform", "min": 0, "max": 1, "q": 0.25}, [0.0, 1.0]),
        ({"type": "quniform", "min": 1, "max": 10, "q": 4}, [4.0, 8.0]),
        ({"type": "quniform", "min": 1, "max": 10, "q": 1}, [1.0, 10.0]),
        ({"type": "quniform", "min": 0, "max": 0.3, "q": 0.1}, [0.0, 3 * 0.1]),
        ({"type": "qrandn", "mean": 3, "sd": 1, "q": 2}, [4]),
        ({"type": "grid_search", "options": ["a", "b", "c"]}, ["a", "b", "c"]),
    ],
)
def test_the_outermost_values_of_a_space_are_known(entry, examples):
    asked = search({"name": "x", **entry})
    assert [probe["x"] for probe in probes(asked.hyperparameters)] == examples


def test_a_grid_multiplies_the_samples():
    grid = {"type": "grid_search", "options": [1, 2, 3]}
    asked = search({"name": "a", **grid}, {"name": "b", **grid}, RATE)
    assert number_of_variants(asked.hyperparameters) == 9
    assert number_of_variants(search(RATE).hyperparameters) == 1
