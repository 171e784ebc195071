"""Whatever a host calls a metric: its value is told as it is, or it is named with the reason why not; never guessed."""

from __future__ import annotations

import decimal
import enum
import fractions
import types

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.events import EpochEnded, MetricsSkipped
from trainer_hooks.journal import Journal, read_records
from trainer_hooks.metrics import Unreadable, read_metrics, read_number


class Colour(enum.IntEnum):
    RED = 3


READABLE = [
    (1, 1),
    (0.25, 0.25),
    (True, 1),
    (False, 0),
    (-0.0, -0.0),
    (5e-324, 5e-324),
    (Colour.RED, 3),
    (2**63 - 1, 2**63 - 1),
    (2**63, float(2**63)),
    (-(2**63), float(-(2**63))),
    (10**300, 1e300),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    (float("1e400"), "Infinity"),
    (decimal.Decimal("0.5"), 0.5),
    (decimal.Decimal("NaN"), "NaN"),
    (fractions.Fraction(1, 4), 0.25),
    (np.float16(0.5), 0.5),
    (np.float32("nan"), "NaN"),
    (np.float64(-np.inf), "-Infinity"),
    (np.longdouble(0.5), 0.5),
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), float(2**64 - 1)),
    (np.bool_(True), 1),
    (np.array(7), 7),
    (np.array([7.5]), 7.5),
    (np.array([[[2]]]), 2),
]


@pytest.mark.parametrize(("value", "number"), READABLE, ids=lambda value: repr(value)[:30])
def test_a_number_of_any_kind_is_told_as_it_is(value, number):
    metrics, skipped = read_metrics({"it": value})
    assert skipped == {}
    assert metrics == {"it": number}
    assert type(metrics["it"]) is type(number)


class Raises:
    """A foreign object that raises at whatever is asked of it."""

    def __float__(self):
        raise RuntimeError("no float " + "x" * 10_000 + "\ud800")

    def __str__(self):
        raise RuntimeError("no text")


class RaisesWithoutWords(Exception):
    def __str__(self):
        raise ValueError("no words either")


class Hostile:
    def __getattr__(self, name):
        raise RaisesWithoutWords


def on_device(device: object) -> object:
    def refuse() -> float:
        raise AssertionError("asked for its value")

    return types.SimpleNamespace(device=device, shape=(), item=refuse)


UNREADABLE = [
    (None, "NoneType is not a number"),
    ("0.5", "str is not a number"),
    (b"1", "bytes is not a number"),
    (1j, "complex is not a number"),
    ({"a": 1}, "dict is not a number"),
    ([1], "list is not a number"),
    ((1,), "tuple is not a number"),
    ({1}, "set is not a number"),
    (np.array([1, 2]), "ndarray of shape (2,), not a single number"),
    (np.array([]), "ndarray of shape (0,), not a single number"),
    (np.complex64(1j), "complex is not a number"),
    (np.str_("1"), "is not a number"),
    (np.datetime64("2024-01-01"), "can't be read as a number: TypeError"),
    (np.array([np.array([1, 2]), None], dtype=object)[:1], "can't be read as a number: TypeError"),
    (on_device("cuda:0"), "a tensor on cuda:0"),
    (on_device("/job:localhost/replica:0/task:0/device:GPU:0"), "a tensor on /job"),
    (Raises(), "can't be read as a number: RuntimeError: no float xxx"),
    (Hostile(), "can't be read as a number: RaisesWithoutWords"),
    (object(), "can't be read as a number: TypeError"),
    (10**400, "can't be read as a number: OverflowError"),
    (decimal.Decimal("sNaN"), "can't be read as a number: ValueError"),
    (lambda: 1, "can't be read as a number: TypeError"),
]


@pytest.mark.parametrize(("value", "reason"), UNREADABLE, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_named_with_the_reason(value, reason):
    metrics, skipped = read_metrics({"loss": 0.5, "it": value})
    assert metrics == {"loss": 0.5}
    assert reason in skipped["it"]
    assert len(skipped["it"]) <= 300
    with pytest.raises(Unreadable):
        read_number(value)


def test_a_tensor_on_the_cpu_is_read_and_one_on_an_accelerator_never_asked():
    cpu = types.SimpleNamespace(device=types.SimpleNamespace(type="cpu"), shape=(), item=lambda: 4)
    jax_on_cpu = types.SimpleNamespace(device="TFRT_CPU_0", shape=(), item=lambda: 4)
    gpu = on_device(types.SimpleNamespace(type="cuda"))
    metrics, skipped = read_metrics({"cpu": cpu, "jax": jax_on_cpu, "gpu": gpu})
    assert metrics == {"cpu": 4, "jax": 4}
    assert set(skipped) == {"gpu"}


def test_names_of_any_kind_become_valid_text():
    metrics, skipped = read_metrics({"\ud800loss": 1, 7: 2, ("a", 1): 3, "정확도": 4, Raises(): 5, "a\x00b": 6})
    assert metrics == {"?loss": 1, "7": 2, "('a', 1)": 3, "정확도": 4, "<Raises>": 5, "a\x00b": 6}
    assert skipped == {}


def test_twenty_thousand_metrics_are_all_told(tmp_path):
    told = {f"class_{number}/ap": number / 7 for number in range(20_000)}
    metrics, skipped = read_metrics(told)
    assert (metrics, skipped) == (told, {})
    journal = Journal(tmp_path, run="run", attempt=1, writer="training")
    journal.append(EpochEnded(epoch=1, metrics=metrics))
    assert list(read_records(tmp_path))[-1].event.metrics == told


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.lists(st.integers(), max_size=2),
    st.floats(width=16).map(np.float16),
    st.lists(st.floats(), max_size=3).map(np.array),
    st.sampled_from([Raises(), Hostile(), object(), int, len, ..., NotImplemented]),
)
NAMES = st.one_of(st.text(st.characters()), st.integers(), st.none(), st.tuples(st.integers()))


@given(st.dictionaries(NAMES, ANYTHING, max_size=8))
def test_any_mapping_gives_numbers_and_reasons_that_cover_all_names(values):
    metrics, skipped = read_metrics(values)
    names = {str(name).encode("utf-8", "replace").decode() for name in values}
    assert set(metrics) | set(skipped) == names
    assert msgspec.json.decode(msgspec.json.encode(EpochEnded(epoch=1, metrics=metrics)), type=EpochEnded)
    assert msgspec.json.decode(msgspec.json.encode(MetricsSkipped(reasons=skipped)), type=MetricsSkipped)
    for name, value in values.items():
        if type(value) in (int, float, bool) and type(name) is str and name.isascii():
            assert skipped.get(name, "OverflowError").endswith(("OverflowError", "float"))
            if name in metrics:
                assert float(metrics[name]) == float(value) or value != value  # noqa: PLR0124 - NaN


def test_the_users_keyboard_interrupt_passes():
    class Pressed:
        def __float__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_metrics({"it": Pressed()})
