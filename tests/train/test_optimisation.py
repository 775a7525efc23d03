"""Learning rates, clipped steps and averaged parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from train.method.optimisation import Average, clipped_step, learning_rate, set_rate


def test_learning_rate_warms_up_then_falls() -> None:
    rates = [learning_rate(i, peak=2.0, warmup=10, fall=(10, 110), floor=0.01) for i in range(1, 112)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == max(rates) == 2
    assert rates[59] == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rates[109] == rates[110] == pytest.approx(0.02)  # it stays at the floor
    assert sorted(rates[:10]) == rates[:10]
    assert sorted(rates[9:], reverse=True) == rates[9:]


def test_learning_rate_without_a_fall_or_a_warmup() -> None:
    assert [learning_rate(i, peak=3.0, warmup=2) for i in range(1, 5)] == [1.5, 3, 3, 3]
    assert learning_rate(1, peak=3.0, warmup=0) == 3
    assert learning_rate(1, peak=3.0, warmup=0, fall=(1, 5)) == 3


def test_a_step_is_clipped_and_clears_the_gradient() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    optimiser = torch.optim.SGD(parameters, lr=1.0)
    set_rate([optimiser], 0.5)
    parameters[0].grad, parameters[1].grad = torch.tensor([6.0, 0.0]), torch.tensor([8.0])
    assert clipped_step(optimiser, parameters, 1.0) == pytest.approx(10)
    torch.testing.assert_close(parameters[0].data, torch.tensor([-0.3, 0.0]))
    torch.testing.assert_close(parameters[1].data, torch.tensor([-0.4]))
    assert parameters[0].grad is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(value: float) -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([parameter], lr=1.0)
    parameter.grad = torch.tensor([1.0, value])
    assert not clipped_step(optimiser, [parameter], 1.0) < float("inf")
    assert torch.equal(parameter.data, torch.ones(2))
    assert not optimiser.state
    assert parameter.grad is None


def test_average() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = Average({"a": parameter})
    parameter.data.fill_(3)
    average.update(0.75)
    assert average.values["a"].item() == 1.5
    with average.applied():
        assert parameter.item() == 1.5
    assert parameter.item() == 3
    other = Average({"a": parameter})
    other.restore(average.values)
    assert other.values["a"].item() == 1.5
    other.restart()
    assert other.values["a"].item() == 3
