"""DMC: straight-through gates, the budget term by hand, frozen weights, open floor."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.dmc import DMC
from sentei.train import TrainConfig, fit
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digit_batches, digits_net, penalty_of, setting_for, train_sparse


def started(model: PlainNet, method: DMC) -> tuple[SparseHook, nn.Parameter]:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook, dict(model.named_parameters())["bn1.parametrizations.weight.0.gates.theta"]


def test_penalty_is_the_log_distance_from_the_budget_and_passes_gradients_straight() -> None:
    model = fill(PlainNet())
    hook, theta = started(model, DMC(strength=2.0))
    with torch.no_grad():
        theta[:2] = -1.0
        theta[6:10] = -2.0

    penalty = penalty_of(hook, model)
    penalty.backward()

    def macs(first: float, second: float) -> float:
        return 64 * first * 27 + 9 * second * first * 9 + second * 4

    distance = macs(4, 4) - macs(6, 8) / 2
    assert float(penalty.detach()) == pytest.approx(2 * math.log(abs(distance) + 1))
    slope = 2 * np.sign(distance) / (abs(distance) + 1)
    # One open channel of the first group costs 64 * 27 + 9 * 4 * 9, of the second 9 * 4 * 9 + 4.
    assert theta.grad is not None
    for channel, saving in ((0, 64 * 27 + 324), (5, 64 * 27 + 324), (7, 328), (13, 328)):
        share = 1 / (1 + math.exp(-float(theta.detach()[channel])))
        assert float(theta.grad[channel]) == pytest.approx(slope * saving * share * (1 - share))


def test_closed_gates_close_their_channels() -> None:
    model = fill(PlainNet())
    _, theta = started(model, DMC())
    with torch.no_grad():
        theta[2] = -0.1

    out = model.bn1(example(2, 6, 4, 4))

    assert float(out[:, 2].detach().abs().max()) == 0
    assert float(out[:, 1].detach().abs().max()) > 0


def test_the_best_of_a_closed_group_are_opened() -> None:
    model = fill(PlainNet())
    hook, theta = started(model, DMC())
    with torch.no_grad():
        theta.copy_(torch.linspace(-2, -1, 14))

    hook.after_step(model)

    assert [i for i, value in enumerate(theta.tolist()) if value >= 0] == [5, 13]


def test_digits_close_gates_towards_the_budget_and_only_gates_change() -> None:
    model = digits_net()
    fit(model, digit_batches(), config=TrainConfig(epochs=6, learning_rate=0.1))
    config = TrainConfig(epochs=10, optimizer="adamw", learning_rate=0.02)
    weight = model.conv2.weight.detach().clone()
    statistics = model.bn2.running_mean
    assert statistics is not None
    mean = statistics.clone()

    trained = train_sparse(DMC(strength=1.0, initial=0.5), model, config=config)

    scores = trained.hook.scores(model)
    assert scores is not None
    widths = np.array(
        [(scores[g.first : g.first + g.width] >= 0).sum() for g in trained.graph.groups]
    )
    setting = trained.hook.setting
    assert 0.4 < setting.costs.macs(widths) / setting.dense["macs"] < 0.65
    assert torch.equal(model.conv2.weight, weight)
    assert torch.equal(statistics, mean)


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="initial=-1; expected a finite number >= 0"):
        DMC(initial=-1)
