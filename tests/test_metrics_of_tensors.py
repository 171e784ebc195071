"""A tensor is read where that costs nothing; one on an accelerator is named, and never asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.metrics import Unreadable, read_metrics, read_number

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("tensor", "number"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor([3]), 3),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(True), 1),
        (torch.tensor(float("nan")), "NaN"),
        (torch.nn.Parameter(torch.ones(1)), 1.0),
    ],
)
def test_a_tensor_of_one_number_is_told_as_it_is(tensor, number):
    metrics, skipped = read_metrics({"it": tensor})
    assert (metrics, skipped) == ({"it": number}, {})
    assert type(metrics["it"]) is type(number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_any_number_is_the_same_as_a_tensor_of_it(number):
    assert read_number(torch.tensor(number)) == number


class Mute(torch.Tensor):
    """It must not be asked, for it stands for one on an accelerator."""

    def item(self):
        raise AssertionError("asked for its value, which makes the host wait for the device")

    def __float__(self):
        raise AssertionError("asked for its value, which makes the host wait for the device")


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(2, 2), "Tensor of shape (2, 2), not a single number"),
        (torch.zeros(0), "Tensor of shape (0,), not a single number"),
        (
            torch.empty((), device="meta").as_subclass(Mute),
            "a tensor on meta; call .item() where you can afford to wait for the device",
        ),
    ],
    ids=["matrix", "empty", "meta"],
)
def test_a_tensor_that_is_no_number_or_elsewhere_is_named_with_the_reason(tensor, reason):
    metrics, skipped = read_metrics({"loss": 0.5, "it": tensor})
    assert metrics == {"loss": 0.5}
    assert reason in skipped["it"]
    with pytest.raises(Unreadable):
        read_number(tensor)
