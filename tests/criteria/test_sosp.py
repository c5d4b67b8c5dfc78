"""SOSP-H: by hand, and against the dense Hessian."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from sentei.criteria import score
from sentei.criteria.base import FloatArray
from sentei.graph import trace
from tests.support import nets
from tests.support.small import linear_net

IMAGES = torch.tensor([[1.0, 0.5], [0.0, -1.0], [2.0, 1.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


def curved_net() -> nn.Sequential:
    """Return 2 - 3 - 2 features with a tanh, so that no second derivative is zero."""
    first, second = linear_net(
        [[0.5, -0.2], [0.1, 0.4], [-0.7, 0.3]], [[1.0, -0.5, 0.2], [0, 1, 2]]
    )
    net = nn.Sequential(first, nn.Tanh(), second).double()
    with torch.no_grad():
        net.get_parameter("0.bias").copy_(torch.tensor([0.3, -0.1, 0.2]))
        net.get_parameter("2.bias").copy_(torch.tensor([0.1, -0.4]))
    return net


def dense_scores(net: nn.Sequential) -> list[float]:
    """Return the formula from gradient and Hessian of the flat parameters, channel by channel."""
    parameters = {k: p.detach() for k, p in net.named_parameters()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in parameters.values()])
        own = {k: v.view_as(parameters[k]) for k, v in zip(parameters, parts, strict=True)}
        logits = functional_call(net, own, (IMAGES,))
        return nn.functional.cross_entropy(logits, LABELS)

    # Flat: weight [3, 2], bias [3], weight [2, 3], bias [2]; the last bias goes with no channel.
    flat = torch.cat([p.flatten() for p in parameters.values()])
    owned = [[2 * c, 2 * c + 1, 6 + c, 9 + c, 12 + c] for c in range(3)]
    everything = torch.zeros_like(flat)
    everything[:15] = flat[:15]
    (gradient,) = torch.autograd.grad(loss(flat.requires_grad_()), flat)
    flat = flat.detach()
    curvature = hessian(loss, flat) @ everything
    return [
        float((flat[own] @ gradient[own]).abs() + (flat[own] @ curvature[own]).abs() / 2)
        for own in owned
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_score_is_that_of_the_dense_hessian_whatever_the_batches(size: int) -> None:
    net = curved_net()
    batches = list(zip(IMAGES.split(size), LABELS.split(size), strict=True))

    found = score(trace(net, IMAGES), "sosp-h", batches=batches).by_group["0"]

    np.testing.assert_allclose(found, dense_scores(net), rtol=1e-10)


def product_scores(loss_of_output: float) -> FloatArray:
    # y = sum of a b x, the mean of x is 2.
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    with torch.no_grad():
        net.get_parameter("0.weight").copy_(torch.tensor([[1.0], [-2.0], [0.5]]))
        net.get_parameter("1.weight").copy_(torch.tensor([[3.0, 1.0, 0.0]]))
    images = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    batches = [(images, torch.zeros(2))]
    return score(
        trace(net, images),
        "sosp-h",
        batches=batches,
        loss=lambda outputs, _: loss_of_output * outputs.mean(),
    ).by_group["0"]


def test_weights_that_meet_in_a_product_have_a_curvature() -> None:
    # The gradient by (a, b) is (2 b, 2 a), and so is the Hessian times (a, b): |4ab| + |4ab| / 2.
    np.testing.assert_allclose(product_scores(1.0), [18.0, 12.0, 0.0], rtol=1e-12)


def test_scores_grow_with_the_loss_whatever_its_sign() -> None:
    np.testing.assert_allclose(product_scores(-3.0), [54.0, 36.0, 0.0], rtol=1e-12)


def test_a_loss_that_is_linear_in_all_weights_has_no_curvature() -> None:
    net = nn.Conv1d(2, 3, 1, bias=False).double()
    images = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
    graph = trace(net, images, shrink_outputs=True)
    found = score(
        graph, "sosp-h", batches=[(images, LABELS[:1])], loss=lambda outputs, _: outputs.sum()
    ).by_group[graph.groups[0].name]

    expected = (net.weight[:, :, 0] @ images[0, :, 0]).abs()
    np.testing.assert_allclose(found, expected.tolist(), rtol=1e-12)


@pytest.mark.parametrize("name", ["sdpa", "multihead", "lstm", "depthwise", "tied"])
def test_networks_of_all_kinds_have_second_derivatives(name: str) -> None:
    net = nets.case(name)
    graph = trace(net.model, net.inputs)
    inputs = net.inputs

    found = score(
        graph,
        "sosp-h",
        batches=[(inputs, torch.zeros(len(inputs)))],
        loss=lambda outputs, _: outputs.square().mean(),
    )

    assert all((own >= 0).all() and (own > 0).any() for own in found.by_group.values())
