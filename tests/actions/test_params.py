"""Parameters that can't be used are said before anything starts: each by its name, its value and what it should be."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from trainer_hooks.actions import BaseTrainParams
from trainer_hooks.actions.params import read_params
from trainer_hooks.errors import InvalidParams


class Optimizer(BaseModel):
    lr: float = Field(0.1, gt=0)


class Params(BaseTrainParams):
    epochs: int
    data: Path = Path("data.yaml")
    token: str = ""
    optimizer: Optimizer = Optimizer()


def refusal(given: object) -> str:
    with pytest.raises(InvalidParams) as caught:
        read_params(Params, given)  # type: ignore[arg-type]
    return str(caught.value)


def test_parameters_are_read_and_converted():
    params = read_params(Params, {"epochs": "3", "data": "x.yaml", "checkpoint": 7})
    assert (params.epochs, params.data, params.checkpoint) == (3, Path("x.yaml"), 7)


def test_each_mistake_is_named_with_its_value():
    said = refusal({"epochs": "ten", "optimizer": {"lr": -1}})
    assert said.splitlines()[0] == "Params can't be made of the given parameters:"
    assert "  epochs is 'ten': Input should be a valid integer" in said
    assert "  optimizer.lr is -1: Input should be greater than 0" in said


def test_what_is_missing_is_named():
    assert "  epochs: Field required" in refusal({})


def test_a_credential_is_not_shown():
    said = refusal({"epochs": 1, "token": ["hunter2"]})
    assert "token is" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("given", [[], "epochs=3", None, 3])
def test_what_is_no_object_is_refused(given):
    assert f"the parameters are {type(given).__name__}; give an object" in refusal(given)


def test_an_unknown_name_is_warned_of_with_the_nearest(caplog):
    with caplog.at_level(logging.WARNING):
        read_params(Params, {"epochs": 1, "optimiser": {}})
    assert "'optimiser' is not one of Params's, and is ignored; did you mean 'optimizer'?" in caplog.text


class Aliased(BaseModel):
    rate: float = Field(0.1, alias="lr0")
    size: int = Field(640, validation_alias="imgsz")
    batch: int = Field(16, validation_alias=AliasChoices("bs", AliasPath("loader", "batch")))
    first: int = Field(0, validation_alias=AliasPath("devices", 0))


class ByName(Aliased):
    model_config = ConfigDict(populate_by_name=True)


def test_an_alias_is_known(caplog):
    read = read_params(Aliased, {"lr0": 1, "imgsz": 32, "loader": {"batch": 2}, "devices": [3]})
    assert (read.rate, read.size, read.batch, read.first) == (1, 32, 2, 3)
    assert read_params(Aliased, {"bs": 4}).batch == 4
    assert not caplog.records


def test_a_name_that_only_an_alias_stands_for_is_ignored_with_a_warning(caplog):
    assert read_params(Aliased, {"rate": 1}).rate == 0.1
    assert "'rate' is not one of Aliased's, and is ignored" in caplog.text


def test_names_are_known_beside_aliases_where_the_model_takes_both(caplog):
    read = read_params(ByName, {"rate": 1, "size": 32, "bs": 2})
    assert (read.rate, read.size, read.batch) == (1, 32, 2)
    assert not caplog.records


def test_a_model_that_takes_anything_is_not_warned_of(caplog):
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    assert read_params(Open, {"more": 1}).more == 1  # type: ignore[attr-defined]
    assert not caplog.records
