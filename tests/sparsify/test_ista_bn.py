"""ISTA: prox against its definition, memory weights, and rescaling that preserves the function."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.models.digits_cnn import DigitsCNN
from sentei.sparsify.base import SparseHook
from sentei.sparsify.ista_bn import IstaBn, memory_costs
from sentei.train import TrainConfig
from tests.support.nets import DepthwiseNet, PlainNet, ResidualNet, example, fill
from tests.support.sparse import digits_net, setting_for, train_sparse


class DepthwiseReLU(nn.Module):
    """Pointwise, depthwise, pointwise, each with norm and ReLU. [N, 3, 8, 8] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def started(model: nn.Module, method: IstaBn, learning_rate: float = 0.1) -> SparseHook:
    config = TrainConfig(epochs=1, learning_rate=learning_rate, schedule="constant")
    graph = trace(model, example(2, 3, 8, 8))
    hook = method.start(setting_for(graph, config=config, macs=0.9))
    hook.on_start(model)
    return hook


def test_memory_costs_are_bytes_of_one_channel_with_mean_one() -> None:
    model = fill(PlainNet())
    setting = setting_for(trace(model, example(1, 3, 8, 8)))

    costs = memory_costs(setting)

    # conv1: 27 weights, 8 filters of 9 read it, 4 numbers of its norm; maps of 8x8 from
    # convolution, norm and ReLU. conv2: 54 weights, bias, norm, 4 weights of the classifier;
    # maps of 3x3 (4x4 / stride 2 without padding) and a mean.
    first = 27 + 72 + 4 + 3 * 64
    second = 54 + 1 + 4 + 4 + 3 * 9 + 1
    mean = (6 * first + 8 * second) / 14
    assert costs[:6] == pytest.approx([first / mean] * 6)
    assert costs[6:] == pytest.approx([second / mean] * 8)


def test_step_is_the_argmin_of_its_definition() -> None:
    model = fill(PlainNet())
    hook = started(model, IstaBn(strength=4.0))
    before = model.bn1.weight.detach().clone().numpy()
    threshold = 0.1 * 4.0 * memory_costs(hook.setting)[0]

    hook.after_step(model)

    for start, found in zip(before, model.bn1.weight.tolist(), strict=True):

        def objective(gamma: float, start: float = start) -> float:
            return 0.5 * (gamma - start) ** 2 + threshold * abs(gamma)

        best = minimize_scalar(objective, bounds=(-9, 9), method="bounded", options={"xatol": 1e-9})
        assert found == pytest.approx(best.x, abs=1e-6)
    assert (model.bn1.weight == 0).any()
    assert (model.bn1.weight != 0).any()


@pytest.mark.parametrize("kind", [PlainNet, ResidualNet, DepthwiseReLU])
def test_rescaling_preserves_the_function_and_is_undone(kind: type[nn.Module]) -> None:
    if kind is ResidualNet:
        model: nn.Module = fill(DigitsCNN(num_classes=4, in_channels=3))
    else:
        model = fill(kind())
    x = example(2, 3, 8, 8)
    expected, weights = model(x), {n: p.detach().clone() for n, p in model.named_parameters()}

    hook = started(model, IstaBn(alpha=0.03125))
    rescaled = model(x)
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, weights[n])]
    hook.finish(model)

    torch.testing.assert_close(rescaled, expected, rtol=1e-10, atol=1e-12)
    assert len(moved) > 4
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())


def test_a_network_that_is_not_homogeneous_is_refused_and_left_as_it_was() -> None:
    class Smooth(PlainNet):
        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.silu(self.bn1(self.conv1(x)))
            return self.linear(self.bn2(self.conv2(x)).mean((2, 3)))

    model = fill(Smooth())
    before = {n: p.detach().clone() for n, p in model.named_parameters()}

    with pytest.raises(PruningError, match=r"alpha=0.5 changes the outputs by .* set alpha=1"):
        started(model, IstaBn(alpha=0.5))

    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_clipping_is_refused_even_where_the_example_does_not_show_it() -> None:
    class Clipped(PlainNet):
        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.relu6(self.bn1(self.conv1(x)) * 0.01)
            return self.linear(nn.functional.relu(self.bn2(self.conv2(x))).mean((2, 3)))

    with pytest.raises(PruningError, match=r"clips its input .* alpha=0.5 .* set alpha=1"):
        started(fill(Clipped()), IstaBn(alpha=0.5))


def test_a_norm_in_the_group_is_enough_for_the_depthwise_net() -> None:
    model = fill(DepthwiseNet())

    started(model, IstaBn(strength=100.0)).after_step(model)

    assert model.bn.weight.tolist() == [0.0] * 6


def test_scales_of_digits_reach_zero_exactly() -> None:
    trained = train_sparse(IstaBn(strength=0.5, alpha=0.25), digits_net())

    scores = trained.hook.scores(trained.model)
    trained.hook.finish(trained.model)

    assert scores is not None
    assert 0 < np.mean(scores == 0) < 1


def test_alpha_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha=1.5; expected a number in \(0, 1\]"):
        IstaBn(alpha=1.5)
