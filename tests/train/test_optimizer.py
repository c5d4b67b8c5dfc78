"""Which parameters decay, and the optimizer's state as tensors."""

from typing import Literal

import pytest
import torch
from torch import nn

from sentei.errors import TrainingError
from sentei.train.config import TrainConfig
from sentei.train.optimizer import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    parameter_groups,
)


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_only_conv_and_linear_weights_decay() -> None:
    model = _net()
    decayed, kept = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(p)] for p in decayed["params"]] == ["0.weight", "3.weight"]
    assert [names[id(p)] for p in kept["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_without_gradient_shrinks_weights_and_leaves_biases(
    optimizer: Literal["sgd", "adamw"],
) -> None:
    model = nn.Linear(2, 2)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    config = TrainConfig(
        epochs=1,
        optimizer=optimizer,
        learning_rate=0.5,
        weight_decay=0.1,
        momentum=0.0,
        nesterov=False,
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config).step()
    # Both decays are w - 0.5 * 0.1 * w when the gradient is zero and there is no momentum.
    torch.testing.assert_close(model.weight.detach(), 0.95 * weight, rtol=1e-5, atol=0.0)
    assert torch.equal(model.bias, bias)


def test_frozen_parameters_are_left_out() -> None:
    model = _net()
    model[0].requires_grad_(False)
    decayed, kept = parameter_groups(model, 0.1)
    assert [len(decayed["params"]), len(kept["params"])] == [1, 3]


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(
        TrainingError, match=r"Linear has no trainable parameter; set requires_grad"
    ):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_state_put_back_gives_the_same_next_step(optimizer: Literal["sgd", "adamw"]) -> None:
    config = TrainConfig(epochs=1, optimizer=optimizer)
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    first, second = _net(), _net()
    first_optimizer = make_optimizer(first, config)
    first(x).square().sum().backward()
    first_optimizer.step()

    second.load_state_dict(first.state_dict())
    second_optimizer = make_optimizer(second, config)
    load_optimizer_tensors(second, second_optimizer, optimizer_tensors(first, first_optimizer))
    for model, stepper in ((first, first_optimizer), (second, second_optimizer)):
        stepper.zero_grad()
        model(x).square().sum().backward()
        stepper.step()

    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
