"""Dropout: rate, scale, and when it does nothing."""

import pytest
import torch

from modicum.errors import SettingError
from modicum.nn.dropout import Dropout


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_rate_and_scale(rate):
    torch.manual_seed(0)
    dropped = Dropout(rate)(torch.ones(400_001))
    realised = min(round(rate * 256), 255) / 256
    values = torch.unique(dropped)
    assert values.tolist() == pytest.approx([0.0, 1 / (1 - realised)])
    assert float((dropped == 0).float().mean()) == pytest.approx(realised, abs=0.004)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.1)


def test_gradients_pass_where_values_do():
    x = torch.ones(1000, requires_grad=True)
    torch.manual_seed(0)
    kept = Dropout(0.5)(x)
    kept.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, kept.detach())


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = Dropout(0.5)(torch.ones(200_000)) > 0
    for lag in (1, 7, 8, 64):
        assert float((kept[lag:] == kept[:-lag]).float().mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (3, 5, 7)])
def test_any_shape(shape):
    assert Dropout(0.3)(torch.ones(shape)).shape == shape


def test_it_does_nothing_in_evaluation_or_at_rate_zero():
    x = torch.ones(50)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x


def test_the_seed_decides_the_mask():
    module, x = Dropout(0.5), torch.ones(99)
    torch.manual_seed(4)
    first = module(x)
    torch.manual_seed(4)
    assert torch.equal(module(x), first)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(SettingError, match="dropout"):
        Dropout(rate)
