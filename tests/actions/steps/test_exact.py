"""Values that are kept exactly, or refused."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.actions.steps.exact import NotExact, decoded, encoded

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
paths = st.sampled_from(["/a/b", ".", "a b", "\udcff"]).map(Path)
values = st.recursive(
    plain | paths,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["$path", "$dict", "$"]), inner, max_size=4)
    ),
)


class Colour(str, enum.Enum):
    RED = "red"


def shape(value: Any) -> Any:
    """The value with its types: 1, 1.0 and True are equal, and not the same."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return [shape(part) for part in value] if isinstance(value, list) else (type(value), repr(value))


@given(values)
def test_what_is_taken_comes_back_as_it_was(value):
    back = decoded(json.loads(json.dumps(encoded(value, "it"))))
    assert shape(back) == shape(value)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), (1, 2), {1}, {1: 2}, b"", np.float64(1), Colour.RED, bytearray(), int],
    ids=repr,
)
def test_what_json_would_change_is_refused_and_where_it_is_is_said(value):
    with pytest.raises(NotExact, match=r"the context's model\['parts'\]\[0\] is "):
        encoded({"parts": [value]}, "the context's model")


def test_what_holds_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotExact, match="nested too deeply"):
        encoded(endless, "it")
