"""SOSP-H: by hand, and against the dense Hessian."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian, jacobian

from sentei.criteria import score
from sentei.criteria.base import FloatArray
from sentei.errors import PruningError
from sentei.graph import trace
from tests.support import curved, nets
from tests.support.curved import IMAGES, LABELS


def dense_scores(net: nn.Sequential) -> list[float]:
    """Return the formula from gradient and Hessian of the flat parameters, channel by channel."""
    flat = curved.flat(net)
    loss = partial(curved.flat_loss, net, IMAGES, LABELS)
    everything = flat.clone()
    everything[curved.UNOWNED] = 0.0
    curvature = hessian(loss, flat) @ everything
    gradient = jacobian(loss, flat)
    return [
        float((flat[own] @ gradient[own]).abs() + (flat[own] @ curvature[own]).abs() / 2)
        for own in curved.OWNED
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_score_is_that_of_the_dense_hessian_whatever_the_batches(size: int) -> None:
    net = curved.curved_net()
    batches = list(zip(IMAGES.split(size), LABELS.split(size), strict=True))

    found = score(trace(net, IMAGES), "sosp-h", batches=batches).by_group["0"]

    np.testing.assert_allclose(found, dense_scores(net), rtol=1e-10)


def product_scores(loss_of_output: float) -> FloatArray:
    net = curved.product_net()
    return score(
        trace(net, curved.NUMBERS),
        "sosp-h",
        batches=[(curved.NUMBERS, torch.zeros(2))],
        loss=lambda outputs, _: loss_of_output * outputs.mean(),
    ).by_group["0"]


def test_weights_that_meet_in_a_product_have_a_curvature() -> None:
    # The mean of x is 2: the gradient by (a, b) is (2 b, 2 a), and so is the Hessian times (a, b): |4ab| + |4ab| / 2.
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


def test_an_operator_without_second_derivative_is_named_with_criteria_that_need_none() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Hardsigmoid(), nn.Conv2d(3, 2, 1), nn.Flatten())
    images = torch.randn(2, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    batches = [(images, torch.tensor([0, 1]))]
    graph = trace(net, images)

    with pytest.raises(
        PruningError, match=r"torch has none of 'hardsigmoid'; score with .*'fisher'"
    ):
        score(graph, "sosp-h", batches=batches)
    assert np.isfinite(score(graph, "fisher", batches=batches).by_group["0"]).all()
