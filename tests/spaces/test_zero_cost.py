"""Each proxy by hand on a net of two layers; and none changes the network."""

import copy
import math

import pytest
import torch
from torch import nn

from sentei.errors import PruningError
from sentei.models import load_model
from sentei.spaces.zero_cost import PROXIES

FIRST = torch.tensor([[1.0, -2.0], [0.0, 0.5], [3.0, 4.0]])
SECOND = torch.tensor([[-5.0, 0.0, 1.0], [1.0, 2.0, 1.0]])
IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([1, 0])


def net(*between: nn.Module) -> nn.Sequential:
    first, second = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(FIRST)
        second.weight.copy_(SECOND)
    return nn.Sequential(first, *between, second)


def proxy(name: str, model: nn.Module, images: torch.Tensor = IMAGES) -> float:
    return PROXIES[name](model, images, LABELS)


def test_num_parameters_counts_all() -> None:
    assert proxy("num_parameters", net()) == 12


def test_synflow_is_twice_the_flow_through_two_layers_and_leaves_norms_out() -> None:
    # |W1| 1 = (3, 0.5, 7); |W2| of it = (22, 11): 33 flows through each layer.
    assert proxy("synflow", net()) == pytest.approx(66)
    assert proxy("synflow", net(nn.ReLU(), nn.BatchNorm1d(3))) == pytest.approx(66)


def gradients() -> tuple[torch.Tensor, torch.Tensor]:
    """Of the mean cross entropy of the linear net: (p - y) / N, back through both layers."""
    hidden = IMAGES @ FIRST.T
    error = ((hidden @ SECOND.T).softmax(dim=1) - nn.functional.one_hot(LABELS)) / 2
    return (error @ SECOND).T @ IMAGES, error.T @ hidden


def test_snip_is_the_sum_of_weights_times_gradients() -> None:
    first, second = gradients()
    expected = (FIRST * first).abs().sum() + (SECOND * second).abs().sum()

    assert proxy("snip", net()) == pytest.approx(float(expected), rel=1e-5)


def test_grad_norm_is_the_sum_of_the_norms_of_both_layers() -> None:
    first, second = gradients()

    assert proxy("grad_norm", net()) == pytest.approx(float(first.norm() + second.norm()), rel=1e-5)


def test_jacob_cov_of_two_images_has_eigenvalues_one_plus_and_minus_their_correlation() -> None:
    images = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 2.0, 0.0]])
    first, second = nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 3.0]]))
        second.weight.copy_(torch.tensor([[1.0, 1.0]]))
    # The first image lights unit 0 only, the second unit 1 only: rows (1, -1, 0) and (0, 1, 3).
    a, b = torch.tensor([1.0, -1.0, 0.0]), torch.tensor([0.0, 1.0, 3.0]) - 4 / 3
    r = float(a @ b / (a.norm() * b.norm()))
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in (1 + r, 1 - r))

    found = proxy("jacob_cov", nn.Sequential(first, nn.ReLU(), second), images)

    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rectifier", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()])
def test_naswot_counts_the_units_two_images_agree_on(rectifier: nn.Module) -> None:
    # Image 1 lights units 0 and 2 (1, 0, 3); image 2 lights 1 and 2 (-2, 0.5, 4): one agrees.
    assert proxy("naswot", net(rectifier)) == pytest.approx(math.log(3 * 3 - 1 * 1))


def test_naswot_sees_rectifiers_that_are_functions() -> None:
    model = load_model("digits_cnn", num_classes=10).model

    assert math.isfinite(proxy("naswot", model, torch.randn(2, 1, 8, 8)))


def test_a_proxy_refuses_a_network_it_says_nothing_of() -> None:
    with pytest.raises(PruningError, match=r"no rectifier .* ran in this network"):
        proxy("naswot", net())
    with pytest.raises(PruningError, match="the output does not change with the pixels"):
        proxy("jacob_cov", nn.Sequential(nn.Linear(2, 3), nn.Threshold(1e9, 0.0)))


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_gives_a_number_and_changes_nothing(name: str) -> None:
    model = load_model("digits_cnn", num_classes=10).model
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]

    assert math.isfinite(proxy(name, model, torch.randn(2, 1, 8, 8)))

    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
