"""A result is checked before it is told: a path becomes a text, and what JSON can't hold is named with its place."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from trainer_hooks.actions.results import plain_result
from trainer_hooks.errors import ActionError


class Colour(str, enum.Enum):
    RED = "red"


class PathOfBytes:
    def __fspath__(self) -> bytes:
        return b"/a/\xff"


class Result(BaseModel):
    weights: Path
    map50: float


@pytest.mark.parametrize(
    ("result", "plain"),
    [
        (None, {}),
        ({}, {}),
        ({"path": Path("a") / "b"}, {"path": "a/b"}),
        ({"n": np.int64(3), "x": np.float32(0.5), "yes": np.bool_(True)}, {"n": 3, "x": 0.5, "yes": True}),
        ({"one": np.array(7)}, {"one": 7}),
        ({"nan": math.nan, "up": math.inf, "down": -math.inf}, {"nan": "NaN", "up": "Infinity", "down": "-Infinity"}),
        ({"deep": {"list": [1, (2, Path("c"))]}}, {"deep": {"list": [1, [2, "c"]]}}),
        ({"n\udcff": ["\ud800", Path("a\udcff")]}, {"n\\udcff": ["\\ud800", "a\\udcff"]}),
        ({"b": PathOfBytes()}, {"b": "/a/\\udcff"}),
        ({"colour": Colour.RED}, {"colour": "red"}),
        (Result(weights=Path("w.pt"), map50=0.5), {"weights": "w.pt", "map50": 0.5}),
    ],
)
def test_a_result_is_made_plain(result, plain):
    made = plain_result(result)
    assert made == plain
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert json.loads(json.dumps(made, ensure_ascii=False).encode()) == made


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("best.pt", "the action returned str; return a dict, or nothing"),
        ({1: 2}, "result has the key 1, int; JSON has texts only: use '1'"),
        ({"a": {"b": [object()]}}, "result['a']['b'][0] is object, which JSON can't hold"),
        (
            {"a": np.array([0.5])},
            "result['a'] is numpy.ndarray, an array; return a list, .tolist(), or a number, .item()",
        ),
        ({"a": np.complex64(1)}, "result['a'] is numpy.complex64, which JSON can't hold"),
        ({"a": {1, 2}}, "result['a'] is set, which JSON can't hold"),
        ({"a": b"x"}, "result['a'] is bytes, which JSON can't hold"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(result, said):
    with pytest.raises(ActionError) as caught:
        plain_result(result)
    assert said in str(caught.value)


def test_a_tensor_is_a_number_or_is_named_with_its_place():
    torch = pytest.importorskip("torch")
    assert plain_result({"t": torch.tensor(2.0)}) == {"t": 2.0}
    for tensor, said in [
        (torch.zeros(2), "an array; return a list, .tolist(), or a number, .item()"),
        (torch.zeros(1), "an array"),
        (torch.tensor(1j), "which JSON can't hold"),
    ]:
        with pytest.raises(ActionError) as caught:
            plain_result({"a": tensor})
        assert f"result['a'] is torch.Tensor, {said}" in str(caught.value)


def test_a_result_that_holds_itself_is_refused():
    endless: dict = {}
    endless["again"] = endless
    with pytest.raises(ActionError, match="nested deeper than 50 levels"):
        plain_result(endless)


_texts = st.text(st.characters())  # lone surrogates, too
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(_texts, _json, max_size=3))
def test_any_json_is_a_result(result: Mapping):
    json.dumps(plain_result(result), allow_nan=False, ensure_ascii=False).encode()
