"""SSS: the accelerated step against its first form, and exact zeros."""

import numpy as np
import pytest
import torch
from torch import nn

from sentei.criteria.base import FloatArray
from sentei.graph import trace
from sentei.sparsify.sss import SSS
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, setting_for, train_sparse


def soft(values: FloatArray, threshold: float) -> FloatArray:
    shrunk: FloatArray = np.sign(values) * np.maximum(np.abs(values) - threshold, 0)
    return shrunk


def test_steps_are_nesterov_steps_on_the_proximal_points() -> None:
    # The textbook form: s_k = prox(y_k - rate * g(y_k)), y_{k+1} = s_k + mu * (s_k - s_{k-1}).
    model = fill(PlainNet())
    config = TrainConfig(epochs=1, learning_rate=0.2, schedule="constant", momentum=0.7)
    setting = setting_for(trace(model, example(1, 3, 8, 8)), config=config, steps_per_epoch=6)
    hook = SSS(strength=0.3).start(setting)
    hook.on_start(model)
    gates = dict(model.named_parameters())["bn1.parametrizations.weight.0.gates.values"]
    centre = np.linspace(-0.1, 1.5, 14)
    points, last = np.ones(14), np.ones(14)

    for _ in range(6):
        gates.grad = gates.detach() - torch.from_numpy(centre)  # of half the squared distance
        hook.after_backward(model)
        assert gates.grad is None
        hook.after_step(model)
        new = soft(points - 0.2 * (points - centre), 0.2 * 0.3)
        points, last = new + 0.7 * (new - last), new

    np.testing.assert_allclose(gates.detach().numpy(), points, rtol=1e-10)


def test_a_step_whose_gradient_overflowed_is_passed_over() -> None:
    model = fill(PlainNet())
    hook = SSS(strength=0.3).start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    gates = dict(model.named_parameters())["bn1.parametrizations.weight.0.gates.values"]
    gates.grad = torch.full_like(gates, torch.inf)

    hook.after_backward(model)
    hook.after_step(model)

    assert gates.tolist() == [1.0] * 14
    assert hook.step == 1


def test_factors_of_digits_shrink_with_the_strength() -> None:
    def mean_factor(strength: float) -> float:
        trained = train_sparse(SSS(strength=strength), digits_net())
        scores = trained.hook.scores(trained.model)
        assert scores is not None
        return float(scores.mean())

    assert mean_factor(0.3) < 0.8 * mean_factor(0.0)


def test_a_strong_penalty_closes_channels_exactly_and_folds_them_into_zeros() -> None:
    config = TrainConfig(epochs=6, learning_rate=0.1, schedule="constant", momentum=0.5)
    model = digits_net()
    trained = train_sparse(SSS(strength=0.6), model, config=config)
    scores = trained.hook.scores(model)
    assert scores is not None

    trained.hook.finish(model)

    closed = scores[:16] == 0
    assert closed.sum() > 0
    assert isinstance(model.bn1, nn.BatchNorm2d)
    assert bool((model.bn1.weight[torch.from_numpy(closed)] == 0).all())
    assert bool((model.bn1.bias[torch.from_numpy(closed)] == 0).all())


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SSS: strength=-1; expected a finite number >= 0"):
        SSS(strength=-1)
