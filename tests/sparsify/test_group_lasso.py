"""Group lasso: value by hand, gradient by differences, prox against its definition."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from sentei.criteria.base import FloatArray
from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.group_lasso import GroupLasso, Mode
from sentei.train import TrainConfig
from tests.support.nets import ResidualNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse


class OneHidden(nn.Module):
    """Three hidden channels: no weight is shared by two of them. [N, 2] -> [N, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2, 3)
        self.leave = nn.Linear(3, 1)
        with torch.no_grad():
            self.enter.weight.copy_(torch.tensor([[2.0, -1.0], [0.3, 0.1], [0.0, 0.0]]))
            self.leave.weight.copy_(torch.tensor([[2.0, -0.2, 0.0]]))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(nn.functional.relu(self.enter(x)))


def started(model: nn.Module, inputs: Tensor, method: GroupLasso) -> SparseHook:
    config = TrainConfig(epochs=1, learning_rate=0.5, schedule="constant")
    hook = method.start(setting_for(trace(model, inputs), config=config, macs=0.9))
    hook.on_start(model)
    return hook


def test_penalty_is_the_sum_of_norms_times_the_root_of_their_sizes() -> None:
    model = OneHidden()
    hook = started(model, torch.zeros(1, 2).double(), GroupLasso(strength=0.1))

    penalty = penalty_of(hook, model)

    # Each channel owns two weights of `enter` and one of `leave`.
    expected = 0.1 * 3**0.5 * (3.0 + np.sqrt(0.09 + 0.01 + 0.04) + 0.0)
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-6)


def test_gradient_of_the_penalty_passes_gradcheck() -> None:
    model = fill(ResidualNet())
    hook = started(model, example(1, 3, 8, 8), GroupLasso(strength=0.1))
    weights = (model.conv1.weight, model.bn2.weight, model.linear.weight)

    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), weights)


def test_prox_mode_is_the_argmin_of_its_definition() -> None:
    model = OneHidden()
    hook = started(model, torch.zeros(1, 2).double(), GroupLasso(strength=0.5, mode="prox"))
    before = torch.cat([model.enter.weight.T, model.leave.weight]).detach().numpy()
    threshold = 0.5 * 0.5 * np.sqrt(3)  # learning rate, strength, root of the size

    hook.after_step(model)

    found = torch.cat([model.enter.weight.T, model.leave.weight]).detach().numpy()
    for channel in range(3):
        start = before[:, channel]

        def objective(w: FloatArray, start: FloatArray = start) -> float:
            return 0.5 * float(np.sum((w - start) ** 2)) + threshold * float(np.linalg.norm(w))

        best = minimize(objective, start * 0.5 + 1e-3, method="Nelder-Mead", tol=1e-10).x
        np.testing.assert_allclose(found[:, channel], best, atol=2e-5)
    assert found[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert hook.penalty(model) is None


def test_prox_zeroes_the_same_channels_where_weights_are_shared() -> None:
    model = fill(ResidualNet())
    hook = started(model, example(1, 3, 8, 8), GroupLasso(strength=0.1, mode="prox"))
    with torch.no_grad():
        model.conv1.weight[2] *= 1e-3
        model.bn1.weight[2] = 1e-3
        model.conv2.weight[:, 2] *= 1e-3

    hook.after_step(model)

    assert model.conv1.weight[2].abs().max() == 0
    assert model.bn1.weight[2] == 0
    assert model.conv2.weight[:, 2].abs().max() == 0
    assert model.conv1.weight[0].abs().max() > 0


@pytest.mark.parametrize("mode", ["subgradient", "prox"])
def test_norms_of_digits_shrink_with_the_strength(mode: Mode) -> None:
    def mean_norm(strength: float) -> float:
        method = GroupLasso(strength=strength, mode=mode)
        trained = train_sparse(method, digits_net())
        scores = trained.hook.scores(trained.model)
        assert scores is not None
        return float(scores.mean())

    assert mean_norm(0.03) < 0.8 * mean_norm(0.0)


def test_an_unknown_mode_is_refused() -> None:
    mode: Any = "hard"

    with pytest.raises(ValueError, match="mode='hard'; expected one of subgradient, prox"):
        GroupLasso(mode=mode)
